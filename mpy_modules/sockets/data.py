# SPDX-License-Identifier: MIT
"""The class behind `socket.socket`: moving bytes and messages, and MicroPython's stream calls."""

import errnos
import vsock
from portable import addressof, const, micropython
from portable import nbytes as bytes_in
from vsock import control, credit
from vsock import words as w
from vsock.wait import SENDING, deadline, left

from . import messages
from . import numbers as num
from .arguments import checked_address, checked_timeout, timed_out
from .endpoint import Endpoint
from .types import SOCK_STREAM
from .view import TWO_DEVICES, View

_FIRST_CHUNK = const(65536)  # bytes that read() asks for when it wants everything
_SIZE_BITS = const(61)  # more than any size of memory has
_LINE_CHUNK = const(256)  # bytes that readline() looks at
_UNUSUAL = const(num.MSG_OOB | num.MSG_ERRQUEUE)

_default_timeout = None


def setdefaulttimeout(seconds):
    """The time-out that new sockets have: None waits for ever."""
    global _default_timeout
    _default_timeout = checked_timeout(seconds)


def getdefaulttimeout():
    """What setdefaulttimeout was told last."""
    return _default_timeout


@micropython.native
def may_take(us, flags):
    """Seconds that Linux waits: SO_RCVTIMEO's or SO_SNDTIMEO's `us`, None for ever."""
    if flags & num.MSG_DONTWAIT:
        return 0
    return None if us is None else us / 1000000


class socket(Endpoint):
    """A vsock socket. `stack` names another vsock device than the first: vsock.get(1)."""

    # Names that every connection and every poll need are found here, not two classes further on:
    # that took 1,000 instructions of the 4,600 that poll needs for a socket.
    accept = Endpoint.accept
    close = Endpoint.close
    ioctl = Endpoint.ioctl

    def __init__(self, family=num.AF_VSOCK, type=SOCK_STREAM, proto=0, fileno=None, *, stack=None):
        Endpoint.__init__(self, stack or vsock.get(), family, type, proto, _default_timeout)
        if fileno is not None:
            self._adopt(fileno)

    def _accepted(self):
        sock = socket(self.family, self.type, stack=self._stack)
        sock.options.inherit(self.options)
        return sock

    # -- receiving --------------------------------------------------------------------------------

    @micropython.native
    def recv_into(self, buffer, nbytes=0, flags=0):
        """Receive up to `nbytes` (0: all that fit) into `buffer`; 0 at the peer's end."""
        conn = self.connection
        if conn is not None and not flags:
            n = conn.receive_now(buffer, nbytes, self._timeout != 0)
            if n > 0:
                return n
            if n < 0 and self._state == num.IS_CONNECTED:
                return 0
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        n = bytes_in(buffer, True)
        if nbytes > n:
            raise ValueError("buffer too small for requested bytes")
        n = nbytes or n
        if conn is None and self.mailbox is not None:
            return self.mailbox.recvfrom_into(buffer, n, flags)[0] if n else 0
        return self._receive(addressof(buffer), n, flags) if n else 0

    @micropython.native
    def recv(self, bufsize, flags=0):
        """Receive up to `bufsize` bytes; b"" at the peer's end."""
        if bufsize >> _SIZE_BITS:  # not `< 0`: that would take floats
            if bufsize < 0:
                raise ValueError("negative buffersize in recv")
            raise OverflowError("no memory has so many bytes")
        if not bufsize:
            return b""  # CPython does not even ask
        conn = self.connection
        if conn is None or self._state != num.IS_CONNECTED or flags & _UNUSUAL:
            if self.mailbox is not None:
                return self.mailbox.recvfrom(bufsize, flags)[0]
            conn = self._receiver(flags)
        if not conn.block[w.BORDERS] and not flags & num.MSG_WAITALL:
            # Not a buffer of `bufsize` bytes, but of as many as there are.
            queued = credit.queued(conn.at)
            options = self.options
            target = min(options.lowat, bufsize)
            if target >= options.size:
                self._check_target(conn)
            if queued < target:
                queued = self._receive_wait(conn, flags, target)
            bufsize = min(bufsize, queued)
        buffer = bytearray(+bufsize)
        n = 0 if flags else conn.receive_now(buffer, 0, False)
        if bufsize and n <= 0:
            n = self._receive(addressof(buffer), bufsize, flags)
        return bytes(buffer) if n >= bufsize else bytes(memoryview(buffer)[:n])

    def recvfrom(self, bufsize, flags=0):
        """(data, its sender's (cid, port)); of a connection, whose peer is known, None."""
        if self.mailbox is not None:
            if bufsize < 0:
                raise ValueError("negative buffersize in recvfrom")
            return self.mailbox.recvfrom(bufsize, flags)
        if bufsize == 0:
            messages.receive_nothing(self, flags)  # it is recv that does not even ask
        return self.recv(bufsize, flags), None

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        if self.mailbox is not None:
            n = bytes_in(buffer, True)
            if not 0 <= nbytes <= n:
                raise ValueError("nbytes is negative or greater than the length of the buffer")
            return self.mailbox.recvfrom_into(buffer, nbytes or n, flags)
        if not bytes_in(buffer, True):
            messages.receive_nothing(self, flags)
        return self.recv_into(buffer, nbytes, flags), None

    def recvmsg(self, bufsize, ancbufsize=0, flags=0):
        """(data, [], flags, None): of the flags MSG_TRUNC and MSG_EOR tell of a message.

        A datagram's sender stands in the last place.
        """
        if bufsize < 0 or ancbufsize < 0:
            raise ValueError("negative buffer size in recvmsg()")
        buffer = bytearray(bufsize)
        n, _, told, sender = messages.receive(self, buffer, flags)
        return bytes(memoryview(buffer)[:n]), [], told, sender

    def recvmsg_into(self, buffers, ancbufsize=0, flags=0):
        """The same into several buffers, one after the other: (length, [], flags, None)."""
        if ancbufsize < 0:
            raise ValueError("negative buffer size in recvmsg_into()")
        n, told, sender = messages.receive_into(self, buffers, flags)
        return n, [], told, sender

    def recv_view(self, flags=0):
        """Borrow received bytes where the device put them: a View, or None at the peer's end.

        Use it in a `with` statement or call its `release()`; closing the socket does that too.
        """
        conn = self._receiver(flags)
        if not credit.queued(conn.at) and not self._receive_wait(conn, flags, 1):
            return None
        return View(conn)

    @micropython.native
    def _receiver(self, flags):
        """The connection to receive from. Raises ENOTCONN, and what `flags` cannot have."""
        self._open()
        if flags & num.MSG_ERRQUEUE:
            if self._timeout:
                self._until(lambda: self._closed)
            raise OSError(errnos.EAGAIN)  # nothing is ever in it
        conn = self.connection
        if self._state != num.IS_CONNECTED:
            self._poll_first(num.POLL_READ)
            self._check_connect()
            if self._state != num.IS_CONNECTED:
                raise OSError(errnos.ENOTCONN)
            conn = self.connection
        if flags & num.MSG_OOB and control.stays(conn.at):
            self._poll_first(num.POLL_READ)
            raise OSError(errnos.EOPNOTSUPP)
        return conn

    @micropython.native
    def _receive(self, into, want, flags):
        conn = self._receiver(flags)
        block = conn.block
        if block[w.BORDERS]:
            n, length, _ = self._receive_message(conn, into, want, flags)
            return length if flags & num.MSG_TRUNC else n
        target = min(self.options.lowat, want)
        if flags & num.MSG_WAITALL:
            target = want
        if target >= self.options.size:
            self._check_target(conn)
        done = 0
        while True:
            if not self._receive_wait(conn, flags, target - done):
                return done
            done += conn.receive(into + done, want - done, flags & num.MSG_PEEK)
            if done >= target or flags & (num.MSG_PEEK | num.MSG_DONTWAIT):
                return done
            if self._timeout is not None or self.options.receive_us is not None:
                return done

    def _check_target(self, conn):
        """Linux does not wait for as much as the buffer may hold: ENOMEM, at once."""
        if control.stays(conn.at) and not conn.block[w.SHUT] & w.SHUT_LOCAL_RCV:
            self._poll_first(num.POLL_READ)
            raise OSError(errnos.ENOMEM)

    @micropython.native
    def _receive_message(self, conn, into, want, flags):
        """(copied, length of the message, its SEQ_* flags); nothing at the end."""
        if not self._receive_wait(conn, flags, 1):
            return 0, 0, 0
        return conn.receive_message(into, want, flags & num.MSG_PEEK)

    @micropython.native
    def _receive_wait(self, conn, flags, target):
        """Wait until bytes can be taken; how many are queued, 0 at the end of the stream.

        With a time-out it is CPython that waits, whatever the flags, until SO_RCVLOWAT is
        reached; then it takes what is there. Without one Linux waits for `target` bytes, at most
        for SO_RCVTIMEO, and gives what came.
        """
        end = None
        timed = False
        block = conn.block
        at = conn.at
        borders = block[w.BORDERS]
        seconds = self._timeout
        if seconds is None:
            if flags & num.MSG_PEEK:
                target = 1
            seconds = may_take(self.options.receive_us, flags)
        else:
            target = 1 if seconds == 0 else self.options.lowat
        while True:
            queued = credit.queued(at)
            if queued:
                if target > block[w.BUF_ALLOC]:
                    target = block[w.BUF_ALLOC]  # no more will come before some is read
                if borders:
                    if block[w.MESSAGES] and (queued >= target or not self._timeout):
                        return queued
                elif queued >= target:
                    return queued
            if block[w.STATE] == w.CLOSED or block[w.SHUT] & w.SHUT_NO_MORE:
                if borders and not block[w.MESSAGES]:
                    queued = 0  # of a message whose end will not come
                if not queued and block[w.SHUT] & w.SHUT_LOST:
                    self._lost()
                if not queued and block[w.ERROR]:
                    raise OSError(block[w.ERROR])
                return queued
            rest = -1
            if seconds is not None:
                if not timed:
                    end = deadline(seconds)
                    timed = True
                rest = left(end)
            if rest == 0:
                if queued and not borders and not self._timeout:
                    return queued
                conn.tell()
                raise self._over()
            self._stack.waiter.wait(rest, conn)
            if self._closed:
                return 0

    def _over(self):
        """What a call that may wait no longer raises."""
        return timed_out() if self._timeout else OSError(errnos.EAGAIN)

    # -- sending ----------------------------------------------------------------------------------

    @micropython.native
    def send(self, data, flags=0):
        """Send all of `data` (blocking) or what fits now; returns how much, as Linux does.

        `data` is the caller's again when send returns; if Ctrl-C ends it, the device may read it
        still. It is fastest as bytes: the device reads those where they lie.
        """
        done = 0
        if not flags and self._state == num.IS_CONNECTED:
            done = self.connection.send_now(data)
            if done > 0:
                return done
        return self._send(data, flags, False, -done)

    @micropython.native
    def sendall(self, data, flags=0):
        """Send all of `data`; if that fails, also by a time-out, some of it may have gone out."""
        done = 0
        if not flags and self._state == num.IS_CONNECTED:
            done = self.connection.send_now(data)
        if done <= 0:
            self._send(data, flags, True, -done)

    def sendmsg(self, buffers, ancdata=(), flags=0, address=None):
        """Send the bytes of several buffers as one piece, or on seqpacket as one message."""
        return messages.send(self, buffers, flags, address)

    def sendto(self, data, *arguments):
        """sendto(data[, flags], address): connections take none: EISCONN, or EOPNOTSUPP before."""
        bytes_in(data)
        if len(arguments) not in (1, 2):
            raise TypeError("sendto() takes 2 or 3 arguments (%d given)" % (len(arguments) + 1))
        if len(arguments) == 2:
            arguments[0] & 0  # a TypeError if it is no integer
        to = checked_address(arguments[-1])
        self._open()
        if self.mailbox is not None:
            return self.mailbox.send(data, arguments[0] if len(arguments) > 1 else 0, to)
        self._refuse_address()

    def sendfile(self, file, offset=0, count=None):
        """Send what a binary file has from `offset` on, `count` bytes at most; how many."""
        return messages.send_file(self, file, offset, count)

    def _refuse_address(self):
        self._poll_first(num.POLL_WRITE)
        self._check_connect()
        conn = self.connection
        there = self._state == num.IS_CONNECTED and control.stays(conn.at)
        raise OSError(errnos.EISCONN if there else errnos.EOPNOTSUPP)

    @micropython.native
    def _sender(self, flags):
        self._open()
        self._poll_first(num.POLL_WRITE)
        if flags & num.MSG_OOB:
            raise OSError(errnos.EOPNOTSUPP)
        if self._state != num.IS_CONNECTED:
            self._check_connect()
            if self._state != num.IS_CONNECTED:
                raise OSError(errnos.EPIPE if self._ended & w.SHUT_LOCAL_SEND else errnos.ENOTCONN)
        return self.connection

    @micropython.native
    def _send(self, data, flags, everything, done=0):
        """Send what is left of `data` behind its first `done` bytes; how many have gone then."""
        conn = self.connection
        if self._state != num.IS_CONNECTED or flags & num.MSG_OOB:
            if self.mailbox is not None:
                return self.mailbox.send(data, flags, None)
            conn = self._sender(flags)
        n, start = bytes_in(data), addressof(data)
        mark, end, staged = 0, None, False
        seconds = self._timeout
        if seconds is None and (flags or self.options.send_us is not None):
            seconds = may_take(self.options.send_us, flags)
        waits = seconds != 0
        copies = not waits or seconds is not None  # what is lent is back when the device likes
        if conn.block[w.BORDERS]:
            mark = w.SEQ_EOM | (w.SEQ_EOR if flags & num.MSG_EOR else 0)
            self._check_message(conn, n, waits)
        patience = 2  # first spin, then wait a moment, then ask the peer; again after progress
        while True:
            if conn.out is self._stack.loopback and n - done > credit.room(conn.at):
                conn.out.told(conn)
            if staged:
                sent = conn.send_staged()
            else:
                sent = conn.send(start + done, n - done, data, mark, copies)
            if sent < 0 or n == 0:
                self._no_more(conn)
            done += sent
            if done >= n:
                break
            begun = done and mark  # the rest of a message must follow, once there are slots
            if done and not begun and not everything and (not waits or self._timeout):
                break  # with a time-out CPython waits for room, then sends what there is room for
            if not waits and not begun:
                if conn.room() != 0:  # a full transmit ring has just been emptied
                    continue
                raise OSError(errnos.EAGAIN)
            if sent:
                patience = 2
            if patience == 2:
                patience = 1
                if not staged and mark == 0 and type(data) is not bytes:
                    staged = conn.stage(start + done, n - done)
                if self._stack.waiter.spin(SENDING):
                    continue
            if patience == 1 and conn.room() == 0:
                patience = 0  # the peer may have room and not have said so: asked once
                self._ask_credit(conn)
                continue
            if waits and end is None:
                end = deadline(seconds)
            rest = left(end)
            if rest == 0:
                if done and not everything and not begun:
                    break
                raise self._over()
            self._wait_room(conn, rest)
        if not copies and conn.block[w.LENT]:
            self._wait_returned(conn)
        return done

    def _ask_credit(self, conn):
        """Wait a moment for credit, then ask for it."""
        self._stack.waiter.wait(1000, None, SENDING)
        # Over the loopback nobody has forgotten: what Linux does not tell yet is not to be had.
        if conn.room() == 0 and (self._timeout is None or conn.out is not self._stack.loopback):
            conn.ask_credit()

    @micropython.native
    def _wait_room(self, conn, rest):
        """Wait for credit, or for slots in the transmit ring."""
        if conn.out.full():
            self._stack.waiter.wait_sent(rest)
        elif conn.room() == 0:
            self._stack.waiter.wait(rest, None, SENDING)

    def _wait_returned(self, conn):
        """Wait until the device has given our buffer back; it owes us that at once."""
        waiter = self._stack.waiter
        device = self._stack.device
        while conn.block[w.LENT] and device is not None and device.broken is None:
            waiter.wait_sent(1000000)

    def _no_more(self, conn):
        """Nothing can be sent any more: EPIPE, or what became of the device.

        Returns if that is not so: there was nothing to send.
        """
        self._poll_first(num.POLL_WRITE)
        if conn.room() != -errnos.EPIPE:
            return
        if conn.block[w.SHUT] & w.SHUT_LOST:
            self._lost()
        raise OSError(errnos.EPIPE)

    def _check_message(self, conn, n, waits):
        """Seqpacket: a message goes as a whole or not at all."""
        block = conn.block
        room = conn.room()
        if room == -errnos.EPIPE:
            self._no_more(conn)
        if n > min(block[w.SEND_LIMIT], block[w.PEER_ALLOC]) and (room or waits):
            if not room:
                self._poll_first(num.POLL_WRITE)
            raise OSError(errnos.EMSGSIZE)
        if n > room and not waits:
            if conn.out is not self._stack.loopback or not conn.out.told(conn) or n > conn.room():
                raise OSError(errnos.EAGAIN)

    @micropython.native
    def splice(self, to):
        """Send what has been received on through the socket `to`, without a copy and waiting.

        `to` may be the socket itself. Returns how many bytes; 0 if there was nothing or no room
        (wait for news on both); -1 once the peer's last byte is through or `to` takes no more.
        EINVAL: `to` is a socket of another device.
        """
        conn = self.connection
        other = to.connection
        if conn is None or other is None:
            raise OSError(errnos.ENOTCONN)
        if to._stack is not self._stack:
            raise OSError(errnos.EINVAL, TWO_DEVICES)
        return conn.splice(other)

    # -- MicroPython's stream methods: asyncio, print(file=), json.dump --------------------------

    def _would_block(self, failure):
        """Return if `failure` is EAGAIN, else raise it.

        asyncio's open_connection does not ask whether it has connected: its first call of these
        says why not (SO_ERROR), and not just ENOTCONN.
        """
        if failure.errno == errnos.ENOTCONN and self._error:
            error, self._error = self._error, 0
            raise OSError(error)
        if failure.errno != errnos.EAGAIN:
            raise failure

    def read(self, size=-1):
        """Up to `size` bytes, everything until the end by default; None if it would block.

        Of datagrams the next one.
        """
        if self.mailbox is not None:
            return self.mailbox.read(size)
        parts = []
        while size:
            try:
                part = self.recv(_FIRST_CHUNK if size < 0 else size)
            except OSError as failure:
                self._would_block(failure)
                if not parts:
                    return None
                break
            if not part:
                break
            parts.append(part)
            if size > 0:
                size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def read_once(self, size):
        """recv; None if it would block."""
        try:
            return self.recv(size)
        except OSError as failure:
            self._would_block(failure)
            return None

    def readinto(self, buffer, nbytes=0):
        """recv_into, of at most as many bytes as fit; None if it would block."""
        try:
            return self.recv_into(buffer, min(nbytes, bytes_in(buffer, True)))
        except OSError as failure:
            self._would_block(failure)
            return None

    def readline(self, size=-1):
        """Up to and with the next newline; what there is if it would block, None if nothing."""
        line = bytearray()
        while size < 0 or len(line) < size:
            try:
                ahead = self.recv(_LINE_CHUNK, num.MSG_PEEK)
            except OSError as failure:
                self._would_block(failure)
                if not line:
                    return None
                break
            if not ahead:
                break
            stop = ahead.find(b"\n") + 1
            n = stop or len(ahead)
            if 0 <= size < len(line) + n:
                n, stop = size - len(line), 1
            line += self.recv(n)
            if stop:
                break
        return bytes(line)

    def write(self, data):
        """send, of text too, as all of MicroPython's streams; None if it would block."""
        if isinstance(data, str):
            data = data.encode()
        try:
            return self._send(data, 0, False)
        except OSError as failure:
            self._would_block(failure)
            return None

    def makefile(self, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
        """A file object over this socket; "r" and "w" in text, with "b" in bytes."""
        from . import file

        return file.make(self, mode, buffering, encoding, errors, newline)
