# SPDX-License-Identifier: MIT
"""What a guest's program says, read by a thread as it comes, and waking those who wait for it.

Two kinds of programs: a script with streams of its own (Script, docs/run.md), and the agent that
answers requests (mpfw.guest.agent). Any thread may ask.
"""

import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from mpfw.guest import channel

Found = TypeVar("Found")
_CHUNK = 1 << 16


class Talk:
    """Output of a guest's program: `out` and `err` are all bytes that it has written so far."""

    def __init__(self, handlers: Mapping[socket.socket, Callable[[bytes], None]], name: str):
        """`handlers`: what takes the bytes of each socket; called with the lock held."""
        self.out = bytearray()
        self.err = bytearray()
        self._seen = 0  # bytes of output that expect() has looked at
        self.ready = False  # the program runs, or waits for requests
        self.news = threading.Condition()
        self._open = dict(handlers)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._listen, daemon=True, name=name)
        self._thread.start()

    @property
    def closed(self) -> bool:
        """Whether the guest is off, and all that it wrote has been read."""
        return not self._open

    def wait_for(self, found: Callable[[], Found | None], timeout: float) -> Found | None:
        """Call found(), with the lock held, after everything that comes until it gives something;
        what it gave, None after `timeout` seconds or when nothing more can come."""
        deadline = time.monotonic() + timeout
        with self.news:
            while True:
                answer = found()
                if answer or self.closed:
                    return answer
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self.news.wait(left)

    def expect(self, pattern: str, timeout: float) -> re.Match[bytes] | None:
        """Wait until the regular expression occurs in what was printed; the next call looks behind
        that. None after `timeout` seconds or at the end."""
        regex = re.compile(pattern.encode(), re.DOTALL)
        match = self.wait_for(lambda: regex.search(self.out, self._seen), timeout)
        if match is not None:
            self._seen = match.end()
        return match

    def close(self) -> None:
        """Stop listening; the sockets are closed by whoever has them."""
        if self._stop < 0:
            return
        os.eventfd_write(self._stop, 1)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        os.close(self._stop)
        self._stop = -1

    def _over(self) -> None:
        """Nothing more will come; the lock is held."""

    def _listen(self) -> None:
        poll = select.poll()
        sockets = {sock.fileno(): sock for sock in self._open}
        for number in (self._stop, *sockets):
            poll.register(number, select.POLLIN)
        while self._open:
            for number, _ in poll.poll():
                if number == self._stop:
                    with self.news:
                        self._open.clear()
                        self._over()
                        self.news.notify_all()
                    return
                self._take(sockets[number], poll)

    def _take(self, sock: socket.socket, poll: "select.poll") -> None:
        try:
            data = sock.recv(_CHUNK)
        except OSError:
            data = b""
        with self.news:
            if data:
                self._open[sock](data)
            else:
                poll.unregister(sock)
                del self._open[sock]
                if self.closed:
                    self._over()
            self.news.notify_all()


class Script(Talk):
    """A script that runs as a program: its standard streams, and its exit status."""

    def __init__(self, io: socket.socket, err: socket.socket, stdin: bytes = b""):
        """Our ends of its two streams; `stdin` is all of its standard input."""
        self.status: int | None = None  # once it has ended by itself
        self._io, self._err_socket = io, err
        self._stdin = memoryview(stdin)
        self._sent = 0
        self._written = 0
        self._frames = channel.Frames()
        super().__init__({io: self._take_output, err: self._take_frames}, "script")

    @property
    def complete(self) -> bool:
        """Whether it has ended and all that it wrote is here."""
        return self.status is not None and (len(self.out) >= self._written or self.closed)

    def _take_output(self, data: bytes) -> None:
        self.out += data

    def _take_frames(self, data: bytes) -> None:
        for kind, payload in self._frames.feed(data):
            if kind == channel.ERR:
                self.err += payload
            elif kind == channel.STATUS:
                self.status, self._written = channel.status(payload)
            elif kind == channel.STARTED:
                self.ready = True
                self._sent = 0
            elif kind == channel.INPUT_WANTED:
                self._feed()

    def _feed(self) -> None:
        """Send the next piece of standard input, which the guest waits for, or tell its end."""
        piece = self._stdin[self._sent : self._sent + _CHUNK]
        try:
            if piece:
                self._io.sendall(piece)
                self._sent += len(piece)
            else:
                self._err_socket.sendall(channel.end_of_input(self._sent))
        except OSError:
            pass  # it is off


def text(data: bytes | bytearray) -> str:
    """Bytes that a program has printed as text; what is not UTF-8 is shown escaped."""
    return bytes(data).decode(errors="backslashreplace")
