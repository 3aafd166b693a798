# SPDX-License-Identifier: MIT
"""Which of many sockets has news, without asking each: what a server with 1,000 connections needs.

`select.poll` asks every registered object on every call. Here a packet puts its connection into a
list, so that an idle socket costs nothing at all.
"""

import errnos
from portable import micropython
from vsock.wait import deadline, left


class Ready:
    """A set of sockets of one stack: `register` them, then `wait` for the next with news.

    Edge-triggered: a socket comes up once after something happened to it (connections and data
    arriving, credit that a send had too little of, the end). Read and write until it would block,
    then wait again.
    """

    def __init__(self, stack):
        self._stack = stack
        self._first = None
        self._last = None

    @micropython.native
    def register(self, sock):
        """Watch a socket (or anything with an `endpoint`); it comes up once at once.

        Raises ENOTCONN if it neither listens nor has a connection, or has none any more.
        """
        end = sock.endpoint
        if end is None:
            raise OSError(errnos.ENOTCONN)
        end.hear(self)
        end.socket = sock
        if not end.queued:
            end.behind = None  # its own from now on: `add` must not allocate, packets call it
            self.add(end)

    @micropython.native
    def unregister(self, sock):
        end = sock.endpoint
        if end is not None:
            end.hear(None)
            end.socket = None

    @micropython.native
    def add(self, end):
        """Called by the stack: news for this connection or listener."""
        end.queued = True
        if self._first is None:
            self._first = end
        else:
            self._last.behind = end
        self._last = end

    @micropython.native
    def next(self):
        """The next socket with news, None if there is none now."""
        end = self._first
        while end is not None:
            self._first = end.behind
            end.behind = None
            end.queued = False
            if end.watch is self:
                return end.socket
            end = self._first
        return None

    @micropython.native
    def wait(self, seconds=None):
        """Wait for the next socket with news; None after `seconds`."""
        if self._first is None and seconds != 0:
            self._stack.waiter.spin()
        sock = self.next()
        if sock is not None:
            return sock
        end = deadline(seconds)
        while True:
            remaining = left(end)
            self._stack.waiter.wait(remaining)
            sock = self.next()
            if sock is not None or remaining == 0:
                return sock
