# SPDX-License-Identifier: MIT
"""Batches of lies to a device: each in a world of its own, with a look at who must not notice."""

import gc
import os
import sys
import traceback
from typing import Protocol

from mpfw.fuzz.cases import Case
from mpfw.fuzz.classes import Outcome
from mpfw.fuzz.device.world import TICK, World

LOOK = 25  # inputs from one look at the polite guest to the next
GROWTH = 2000  # blocks of Python's memory that batches may leave behind, all together
_SOME = 6  # batches, of which the one counts that has left the least behind


class Lies(Protocol):
    """A class of inputs in a world."""

    def __init__(self, world: World):
        """What the batch begins with."""

    def step(self) -> None:
        """One input. Raises Noticed."""

    def close(self) -> None:
        """Give back what it holds."""


class DeviceRunner:
    """Batches of one class."""

    def __init__(self, name: str, lies: type[Lies]):
        self._name = name
        self._lies = lies
        self._left: list[tuple[int, int]] = []  # blocks and descriptors after each batch

    def run(self, seed: int, count: int, measure: bool) -> Outcome:
        """A batch, from its seed."""
        what = detail = ""
        done = 0
        try:
            with World(seed) as world:
                lies = self._lies(world)
                try:
                    for done in range(1, count + 1):
                        world.now += TICK
                        lies.step()
                        if done % LOOK == 0:
                            world.check()
                    world.check()
                finally:
                    lies.close()
        except Exception as error:
            what = f"input {done}: {type(error).__name__}: {error}"
            detail = traceback.format_exc()
        else:
            what = self._grown()
        failure = Case("device", self._name, seed, count, what, detail) if what else None
        return Outcome(done, failure)

    def repeat(self, case: Case) -> Outcome:
        """The batch of a case: all of it follows from the seed."""
        return self.run(case.seed, case.count, False)

    def close(self) -> None:
        """Nothing outlives a batch."""

    def _grown(self) -> str:
        """What is wrong if batches leave ever more behind."""
        gc.collect()
        self._left.append((sys.getallocatedblocks(), len(os.listdir("/proc/self/fd"))))
        for what, index, most in (("memory", 0, GROWTH), ("descriptors", 1, 0)):
            left = [each[index] for each in self._left]
            if len(left) >= 2 * _SOME and min(left[-_SOME:]) - min(left[:_SOME]) > most:
                return f"{what} grow from batch to batch: {left[-2 * _SOME :]}"
        return ""
