# SPDX-License-Identifier: MIT
"""What poll sees of a socket, and waiting for it: events as Linux's vsock_poll sets them."""

import io

import errnos
import machine
from portable import const, micropython
from vsock import control, credit
from vsock import words as w
from vsock.wait import deadline, left

from . import numbers as num
from .arguments import timed_out

_IOCTL_FLUSH = const(1)  # MicroPython's stream protocol, py/stream.h
_IOCTL_POLL = const(3)
_IOCTL_CLOSE = const(4)


def _space(conn):
    """Bytes that the peer has room for, also if it reads no more: Linux's poll does not ask."""
    room = conn.room()
    block = conn.block
    if room < 0 and block[w.SHUT] & w.SHUT_PEER_RCV:
        return min(block[w.PEER_ALLOC], block[w.SEND_LIMIT]) - credit.unread(conn.at)
    return room


class Polled(io.IOBase):
    """The part of a socket (endpoint.py) that select, asyncio and its own waiting calls ask."""

    def _until(self, condition):
        """Wait until `condition()`; EAGAIN if the socket never waits or SO_RCVTIMEO is over,
        timeout if its own is."""
        seconds = self._timeout
        if seconds is None and self.options.receive_us is not None:
            seconds = self.options.receive_us / 1000000
        if self._timeout == 0:
            raise OSError(errnos.EAGAIN)
        end = deadline(seconds)
        while not condition():
            rest = left(end)
            if rest == 0:
                if self._timeout is None:
                    raise OSError(errnos.EAGAIN)
                raise timed_out()
            self._stack.waiter.wait(rest)

    def _poll_first(self, mask):
        """With a time-out CPython waits until poll would tell of the socket, whatever the call.

        Where the kernel never does, as for recv without a connection, the call times out.
        """
        if self._timeout:
            mask |= num.POLLERR | num.POLLHUP | num.POLLNVAL
            self._until(lambda: self.ioctl(_IOCTL_POLL, mask) & mask)

    @micropython.native
    def ioctl(self, request, argument):
        """MicroPython's stream protocol: what select.poll and asyncio ask."""
        if request == _IOCTL_POLL:
            stack = self._stack
            device = stack.device
            if device is not None:
                device.attend()
            if stack.lingering or stack.late:
                stack.waiter.tend()
            if self._state == num.IS_LISTENING:
                end = self.endpoint
                ready = argument & num.POLL_READ if end.pending else 0
                return ready | num.POLLERR if end.error else ready
            ready = num.POLLNVAL if self._closed else self._ready()
            return ready & (argument | num.POLLERR | num.POLLHUP | num.POLLNVAL)
        if request == _IOCTL_CLOSE:
            self.close()
            return 0
        return 0 if request == _IOCTL_FLUSH else -errnos.EINVAL

    def _ready(self):
        """POLL* bits, as Linux's vsock_poll sets them."""
        self._check_connect()
        conn = self.connection
        if conn is None:
            return self._ready_alone()
        state = conn.block[w.STATE]
        if state == w.CONNECTING:
            machine.alarm(left(self._give_up))  # the poll that asks us ends then, to ask again
            return 0
        shut = conn.block[w.SHUT]
        events = num.POLLERR if conn.block[w.ERROR] else 0
        if shut & (w.SHUT_LOCAL_RCV | w.SHUT_PEER_SEND):
            events |= num.POLL_READ | num.POLLRDHUP
        elif control.readable(conn.at):
            events |= num.POLL_READ
        else:
            conn.tell()
        local_end = w.SHUT_LOCAL_SEND
        ended = shut & w.SHUT_LOCAL == w.SHUT_LOCAL or shut & w.SHUT_LOST
        if ended or (shut & local_end and shut & w.SHUT_PEER_SEND):
            events |= num.POLLHUP
        if shut & w.SHUT_PEER == w.SHUT_PEER:
            room = not shut & w.SHUT_FULL
        else:
            room = _space(conn) > 0
        if not shut & local_end and room:
            events |= num.POLL_WRITE
        elif not shut & local_end and conn.out.full():
            self._stack.device.sending_done()
        return events

    def _ready_alone(self):
        """The same for a socket without a connection, which may have failed and been shut."""
        if self.mailbox is not None:
            return self.mailbox.ready()
        events = num.POLLERR if self._error else 0
        if self._ended & w.SHUT_LOCAL_RCV:
            events |= num.POLL_READ | num.POLLRDHUP
        if not self._ended & w.SHUT_LOCAL_SEND:
            events |= num.POLL_WRITE
        elif self._ended == w.SHUT_LOCAL:
            events |= num.POLLHUP
        return events
