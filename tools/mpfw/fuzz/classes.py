# SPDX-License-Identifier: MIT
"""What a class of inputs is, and which there are.

A level is a module with `CLASSES`, a list of FuzzClass. A class makes a Runner, which does
batches: a batch begins from nothing, and all that happens in it follows from its seed.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mpfw.fuzz.cases import Case

# Level -> the module that has its CLASSES.
LEVELS = {"fast": "mpfw.fuzz.fast", "real": "mpfw.fuzz.real", "device": "mpfw.fuzz.device"}

Lines = dict[str, set[int]]  # of each module (its path in mpy_modules) the lines that ran


class UnknownClass(Exception):
    """There is no such class or level: one sentence."""


@dataclass
class Outcome:
    """What a batch came to."""

    inputs: int
    failure: Case | None = None
    covered: Lines = field(default_factory=dict)  # reached in this batch; {}: not measured


class Runner(Protocol):
    """A class of inputs at work. It may keep what costs time to start from batch to batch."""

    def run(self, seed: int, count: int, measure: bool) -> Outcome:
        """A batch of about `count` inputs. `measure`: tell which lines it reached, if it can."""

    def repeat(self, case: Case) -> Outcome:
        """The batch of a case that failed, once more."""

    def close(self) -> None:
        """End what it has started. Raises nothing."""


@dataclass(frozen=True)
class FuzzClass:
    """A class of inputs: `what` they are, in a few words.

    `share`: how many of all inputs are of it, against the other classes of its level. `batch`: how
    many there are in a batch. `parallel`: whether several runners may work at a time.
    """

    name: str
    level: str
    what: str
    open: Callable[[], Runner]
    share: int = 1
    batch: int = 1000
    parallel: bool = True


def level_classes(level: str) -> list[FuzzClass]:
    """The classes of a level. Raises UnknownClass."""
    if level not in LEVELS:
        raise UnknownClass(f"no level {level!r}: there are {', '.join(LEVELS)}")
    try:
        found: list[FuzzClass] = importlib.import_module(LEVELS[level]).CLASSES
    except ModuleNotFoundError as error:
        if error.name != LEVELS[level]:
            raise
        raise UnknownClass(f"this tree has no level {level!r}: take LEVEL=fast") from error
    return found


def choose(level: str, names: Sequence[str] = ()) -> list[FuzzClass]:
    """The classes of those names, or all of the level. Raises UnknownClass."""
    every = {each.name: each for each in level_classes(level)}
    for name in names:
        if name not in every:
            raise UnknownClass(f"no class {name!r} in level {level!r}: it has {', '.join(every)}")
    return [each for name, each in every.items() if not names or name in names]
