# SPDX-License-Identifier: MIT
"""Packets of one direction that wait for their time, or for others to overtake them."""

import heapq
import itertools
import math
import time
from collections.abc import Callable

from mpfw.device.faults.actions import Passing
from mpfw.device.loop import Loop

Ports = tuple[int, int]


class Lane:
    """Packets of a connection leave in the order in which they came, but for those that are to be
    overtaken. `wake` is called when the next one's time has come."""

    def __init__(self, loop: Loop, wake: Callable[[], None]):
        self._loop = loop
        self._wake = wake
        self._waiting: list[tuple[float, int, Passing]] = []  # a heap: when, in which order
        self._aside: list[Passing] = []  # `overtaken` counts down
        self._last: dict[Ports, float] = {}  # when a connection's last one leaves
        self._count = itertools.count()
        self._next_look = math.inf

    def __len__(self) -> int:
        return len(self._waiting) + len(self._aside)

    def add(self, passing: Passing) -> None:
        """One more; it leaves at once if nothing holds it."""
        if passing.overtaken:
            self._aside.append(passing)
            self._loop.after(passing.patience, lambda: self._give_up(passing))
            return
        self._push(passing)
        for each in list(self._aside):
            each.overtaken -= 1
            if not each.overtaken:
                self._aside.remove(each)
                self._push(each)

    @property
    def is_due(self) -> bool:
        """Whether take() has one."""
        return bool(self._waiting) and self._waiting[0][0] <= time.monotonic()

    def take(self) -> Passing:
        """The next one, which is due."""
        passing = heapq.heappop(self._waiting)[2]
        if self._waiting:
            self._look_at(self._waiting[0][0])
        else:
            self._last.clear()
        return passing

    def clear(self) -> None:
        """Forget them all."""
        self._waiting.clear()
        self._aside.clear()
        self._last.clear()

    def _push(self, passing: Passing) -> None:
        now = time.monotonic()
        due = now + passing.delay
        for pace in passing.paces:
            due = pace.take(passing.packet, due)
        ports = passing.packet.src_port, passing.packet.dst_port
        due = max(due, self._last.get(ports, 0.0))
        if due > now:
            self._last[ports] = due
            self._look_at(due)
        heapq.heappush(self._waiting, (due, next(self._count), passing))

    def _give_up(self, passing: Passing) -> None:
        """Nobody has overtaken it in time."""
        if any(each is passing for each in self._aside):
            self._aside = [each for each in self._aside if each is not passing]
            self._push(passing)
            self._wake()

    def _look_at(self, due: float) -> None:
        now = time.monotonic()
        if now < due < self._next_look:
            self._next_look = due
            self._loop.after(due - now, self._look)

    def _look(self) -> None:
        if self._next_look <= time.monotonic():  # else an earlier look has set this one again
            self._next_look = math.inf
            self._wake()
