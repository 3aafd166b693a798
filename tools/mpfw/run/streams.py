# SPDX-License-Identifier: MIT
"""Joins a guest's program to this process's standard streams, and learns how it ended.

One thread, one poll(): nothing is waited for longer than it takes, and nothing is read before
what was read last has been passed on, so that memory does not grow with what others leave unread.
"""

import errno
import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable

from mpfw.guest import channel

_CHUNK = 1 << 18  # bytes read at once
_INPUT_CHUNK = 1 << 16
_PIECE = 4096  # bytes that a pipe which can be written to takes without blocking (PIPE_BUF)
_CONSOLE_KEPT = 1 << 16  # bytes
_LONGEST = 86400.0  # seconds of one wait: poll() takes no more than an int's milliseconds
_NOBODY = (errno.EPIPE, errno.EIO)  # why a write fails once a pipe's reader, a terminal, has gone
_STDIN, _STDOUT, _STDERR = 0, 1, 2


class _Output:
    """A standard stream of ours. Truth: something is still to be written."""

    def __init__(self, number: int):
        self.number = number
        self.closed = False
        self.failed = ""  # why, unless it is only that nobody reads any more
        self._pending = memoryview(b"")
        self._piece = _CHUNK if stat.S_ISREG(os.fstat(number).st_mode) else _PIECE
        self._ready = select.poll()
        self._ready.register(number, select.POLLOUT)

    def __bool__(self) -> bool:
        return len(self._pending) > 0

    def put(self, data: bytes) -> None:
        """Write what can be without blocking; nothing else is to be put meanwhile."""
        self._pending = memoryview(b"" if self.closed else data)
        self.write()

    def write(self) -> None:
        """Go on with it."""
        while self and self._ready.poll(0):
            try:
                done = os.write(self.number, self._pending[: self._piece])
            except BlockingIOError:  # somebody else made it so
                return
            except OSError as error:
                self.closed = True
                if error.errno not in _NOBODY:
                    self.failed = os.strerror(error.errno or 0)
                done = len(self._pending)
            self._pending = self._pending[done:]


class _Source:
    """A stream from the guest."""

    def __init__(self, sock: socket.socket):
        sock.setblocking(False)
        self.sock = sock
        self.number = sock.fileno()
        self.over = False

    def receive(self) -> bytes:
        """What has come; nothing also at the end."""
        try:
            data = self.sock.recv(_CHUNK)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        self.over = not data
        return data

    def send(self, data: bytes) -> int:
        """Send what can be without blocking; the number of bytes, all if nobody reads."""
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)


class Streams:
    """The streams of one run."""

    def __init__(self, io: socket.socket, err: socket.socket, console: socket.socket):
        """Our ends of the guest's program's two streams, and of its console."""
        self._io, self._err, self._com1 = map(_Source, (io, err, console))
        self._frames = channel.Frames()
        self._out = _Output(_STDOUT)
        # Where both are the same file or terminal, what is seen there is in the program's order.
        self._error = self._out if os.path.sameopenfile(_STDOUT, _STDERR) else _Output(_STDERR)
        self._waiting = b""  # standard output that has come
        self._errors: deque[tuple[int, bytes]] = deque()  # (place in it, standard error)
        self._place = 0
        self._passed = 0  # bytes of standard output that went to self._out
        self._input = b""  # read from standard input, not yet the guest's
        self._wanted = False  # the guest waits for input
        self._input_over = False
        self._sent = 0  # bytes of standard input since the script started
        self._received = 0  # bytes of standard output since then
        self._written = 0  # the same, as the guest says in the end
        self.starts = 0  # how often the script started: more than once if the guest was reset
        self.status: int | None = None  # the script's
        self.console = bytearray()  # what COM1 said last
        self.on_console: Callable[[bytes], object] | None = None  # called with what COM1 says
        self.watched: dict[int, Callable[[], object]] = {}  # what to call for what others send

    @property
    def complete(self) -> bool:
        """Whether the program has ended and all that it wrote has been passed on."""
        # With resets, what came before one may have been counted after it: only the end is sure.
        everything = self._io.over or (self.starts == 1 and self._received >= self._written)
        return self.status is not None and everything and not self._unwritten

    @property
    def closed(self) -> bool:
        """Whether the guest is off, and all that the program wrote has been passed on."""
        return self._err.over and self._io.over and not self._unwritten

    @property
    def _unwritten(self) -> bool:
        """Whether something that has come has not been passed on."""
        return bool(self._waiting or self._errors or self._out or self._error)

    @property
    def failed(self) -> str:
        """Why output is lost that somebody wants, as on a full disk."""
        return self._out.failed

    def type(self, data: bytes) -> None:
        """Type something on the console."""
        self._com1.send(data)

    def step(self, deadline: float | None = None) -> None:
        """Wait for something to happen and deal with it; until `deadline` at the longest."""
        poll = select.poll()
        for number, events in self._interests().items():
            poll.register(number, events)
        left = None if deadline is None else min(max(0.0, deadline - time.monotonic()), _LONGEST)
        ready = {number for number, _ in poll.poll(None if left is None else left * 1000 + 1)}
        self._out.write()
        self._error.write()
        if self._err.number in ready:
            self._take_frames()
        if self._io.number in ready:
            self._exchange()
            if self._error is self._out:
                # What was printed after an error may have come with what was printed before it;
                # then the error is here as well, for QEMU hands on things in their order.
                self._take_frames()
        self._pass_on()
        if self._com1.number in ready:
            self._hear()
        if _STDIN in ready:
            self._take_input()
        for number in ready & self.watched.keys():
            self.watched[number]()

    def _interests(self) -> dict[int, int]:
        """What poll() is to tell, by descriptor."""
        events = dict.fromkeys(self.watched, select.POLLIN)
        for output in (self._out, self._error):
            if output:
                events[output.number] = select.POLLOUT
        if not self._io.over and (self._input or not self._waiting):
            events[self._io.number] = select.POLLOUT if self._input else 0
            events[self._io.number] |= 0 if self._waiting else select.POLLIN
        if not self._err.over and not self._errors:
            events[self._err.number] = select.POLLIN
        if not self._com1.over:
            events[self._com1.number] = select.POLLIN
        if self._wanted and not self._input and not self._input_over:
            events[_STDIN] = select.POLLIN
        return events

    def _exchange(self) -> None:
        """Pass input to the guest, and output from it."""
        if self._input:
            done = self._io.send(self._input)
            self._sent += done
            self._input = self._input[done:]
        if not self._waiting:
            self._waiting = self._io.receive()
            self._received += len(self._waiting)
        if self._out.closed and not self._io.over:
            self._io.sock.close()  # so that the guest's next write fails, as CPython's would
            self._io.over = True

    def _take_frames(self) -> None:
        for kind, payload in self._frames.feed(self._err.receive()):
            if kind == channel.ERR:
                self._errors.append((self._place, payload))
            elif kind == channel.PLACE:
                self._place = channel.place(payload)
            elif kind == channel.STATUS:
                self.status, self._written = channel.status(payload)
            elif kind == channel.STARTED:
                self.starts += 1
                self._sent = self._place = self._passed = 0
            elif kind == channel.INPUT_WANTED:
                self._wanted = True
                if self._input_over:
                    self._tell_end()

    def _pass_on(self) -> None:
        """Write what has come, as far as that goes without blocking."""
        while self._pass_errors() or self._pass_output():
            pass

    def _pass_errors(self) -> bool:
        if not self._errors or self._error:
            return False
        place, data = self._errors[0]
        to_come = self._waiting or not self._io.over
        if self._error is self._out and self._passed < place and to_come:
            return False
        self._errors.popleft()
        self._error.put(data)
        return True

    def _pass_output(self) -> bool:
        if not self._waiting or self._out:
            return False
        until = self._errors[0][0] - self._passed if self._errors else 0
        data = self._waiting[:until] if until > 0 else self._waiting
        self._waiting = self._waiting[len(data) :]
        self._passed += len(data)
        self._out.put(data)
        return True

    def _hear(self) -> None:
        said = self._com1.receive()
        self.console += said
        del self.console[:-_CONSOLE_KEPT]
        if self.on_console is not None:
            self.on_console(said)

    def _take_input(self) -> None:
        try:
            self._input = os.read(_STDIN, _INPUT_CHUNK)
        except BlockingIOError:  # somebody else made it so
            return
        except OSError:
            self._input = b""
        self._wanted = False
        if not self._input:
            self._input_over = True
            self._tell_end()

    def _tell_end(self) -> None:
        self._err.send(channel.end_of_input(self._sent))
