# SPDX-License-Identifier: MIT
"""One thread that waits for everything: sockets, notifications of queues, times.

Handlers never wait. What they ask for with `soon` runs when all that has happened is handled.
"""

import heapq
import itertools
import os
import select
import socket
import time
from collections.abc import Callable

Handler = Callable[[int], None]  # is told the EPOLL* that happened

IN, OUT = select.EPOLLIN, select.EPOLLOUT
RDHUP, HUP, ERR = select.EPOLLRDHUP, select.EPOLLHUP, select.EPOLLERR
EDGE = select.EPOLLET
_MOST = 64  # events at a time


class Loop:
    """An event loop over epoll. All methods but `stop` belong to the thread that runs it."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._soon: list[Callable[[], None]] = []
        self._times: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._gone: list[socket.socket] = []
        self._ended = False
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.add(self._wake, IN, lambda _: None)

    def add(self, descriptor: int, events: int, handler: Handler) -> None:
        """Have handler(events) called when one of `events` happens there."""
        self._handlers[descriptor] = handler
        self._epoll.register(descriptor, events)

    def change(self, descriptor: int, events: int) -> None:
        """Other events from now on; those that are there already are told again."""
        self._epoll.modify(descriptor, events)

    def knows(self, descriptor: int) -> bool:
        """Whether somebody hears of it."""
        return descriptor in self._handlers

    def hand_over(self, descriptor: int, handler: Handler) -> None:
        """The same events go to another handler."""
        self._handlers[descriptor] = handler

    def remove(self, descriptor: int) -> None:
        """Nothing more is heard of it; it stays open."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self, gone: socket.socket) -> None:
        """Close a socket once all is handled that has happened: its number is not given to another
        one while somebody may still speak of it. Closing takes it out of epoll, too."""
        self._handlers.pop(gone.fileno(), None)
        self._gone.append(gone)

    def soon(self, function: Callable[[], None]) -> None:
        """Call function() before anybody waits again; also for a signal's handler."""
        self._soon.append(function)

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        """Call function() after a while."""
        heapq.heappush(self._times, (time.monotonic() + seconds, next(self._count), function))

    def run(self) -> None:
        """Serve until somebody calls `stop`."""
        while not self._ended:
            self.turn()

    def stop(self) -> None:
        """Have `run` return: from a handler, a signal's handler or another thread."""
        self._ended = True
        os.eventfd_write(self._wake, 1)

    def turn(self) -> None:
        """Wait for something to happen and handle it."""
        handlers = self._handlers
        left = self._times[0][0] - time.monotonic() if self._times else None
        patience = left
        if self._soon or (left is not None and left < 0):
            patience = 0.0
        happened = self._epoll.poll(patience, _MOST)
        for descriptor, events in happened:
            handler = handlers.get(descriptor)
            if handler is not None:
                handler(events)
        if self._soon:
            soon, self._soon = self._soon, []
            for function in soon:
                function()
        if left is not None and (left <= 0 or not happened):
            self._look_at_the_clock()
        if self._gone:
            self._bury()

    def end(self) -> None:
        """Give back what the loop itself holds."""
        self._bury()
        self._handlers.clear()
        self._epoll.close()
        os.close(self._wake)

    def _look_at_the_clock(self) -> None:
        now = time.monotonic()
        while self._times and self._times[0][0] <= now:
            heapq.heappop(self._times)[2]()

    def _bury(self) -> None:
        for gone in self._gone:
            gone.close()
        self._gone.clear()
