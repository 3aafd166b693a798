# SPDX-License-Identifier: MIT
"""How many inputs of which class, in batches: each batch's seed follows from the run's."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mpfw.fuzz.classes import FuzzClass

# Of so many batches one is measured, which costs the half of its speed: of a class's first ones,
# which reach what there is to reach, and of those that follow.
MEASURED, MEASURED_LATER = 4, 16
_FIRST = 64


@dataclass(frozen=True)
class Batch:
    """So many inputs of a class, from a seed; `measure`: look which lines they reach."""

    kind: FuzzClass
    seed: int
    count: int
    measure: bool


def seed_of(seed: int, name: str, number: int) -> int:
    """The seed of a class's batch of that number."""
    digest = hashlib.sha256(f"{seed} {name} {number}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def shares(classes: Sequence[FuzzClass], count: int) -> dict[str, int]:
    """`count` inputs divided among the classes."""
    total = sum(each.share for each in classes)
    return {each.name: -(-count * each.share // total) for each in classes}


def batches(classes: Sequence[FuzzClass], seed: int, count: int | None) -> Iterator[Batch]:
    """The batches of a run, in turns, so that all classes are equally far; None: no end."""
    left = shares(classes, count) if count is not None else {}
    made = {each.name: 0 for each in classes}  # inputs
    numbers = {each.name: 0 for each in classes}  # batches
    while True:
        going = [each for each in classes if count is None or left[each.name] > made[each.name]]
        if not going:
            return
        kind = min(going, key=lambda each: made[each.name] / each.share)
        n = kind.batch
        if count is not None:
            n = min(n, left[kind.name] - made[kind.name])
        number = numbers[kind.name]
        measured = number % (MEASURED if number < _FIRST else MEASURED_LATER) == 0
        yield Batch(kind, seed_of(seed, kind.name, number), n, measured)
        numbers[kind.name] += 1
        made[kind.name] += n
