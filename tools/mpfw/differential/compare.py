# SPDX-License-Identifier: MIT
"""What the firmware printed against what Linux printed, line by line, with the table's rows.

Where kernels differ from one another each of them is right, for each line by itself; how many
lines there are must be as with one of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mpfw.differential import recorded
from mpfw.differential.scenarios import Scenario
from mpfw.differential.table import Call, Table, Where


@dataclass(frozen=True)
class Difference:
    """The first line that no kernel printed and no row excuses; None: there are fewer lines."""

    line: int  # counted from 1
    linux: tuple[str | None, ...]  # what the kernels printed there
    ours: str | None

    def __str__(self) -> str:
        theirs = " or ".join(repr(each) for each in self.linux)
        return f"line {self.line}: Linux {theirs}, here {self.ours!r}"


def first_difference(
    kernels: Sequence[str], ours: str, where: str | Where, table: Table
) -> Difference | None:
    """The first difference between what the kernels printed and what the firmware did, or None.

    `where`: the scenario's name, or what tells the call of a line.
    """
    theirs = [text.splitlines() for text in kernels]
    mine = ours.splitlines()
    for index in range(max(len(mine), *(len(lines) for lines in theirs))):
        at = [lines[index] if index < len(lines) else None for lines in theirs]
        here = mine[index] if index < len(mine) else None
        about = where if isinstance(where, str) else where(index)
        if here not in at and not _excused(at, here, about, table):
            return Difference(index + 1, tuple(dict.fromkeys(at)), here)
        if here is None:
            break  # as long as one of them
    return None


def differences(
    scenario: Scenario, ours: dict[str, str], table: Table
) -> list[tuple[str, Difference]]:
    """(part, its first difference) for each part of a scenario that differs from its record.

    Raises RecordError if there is no record.
    """
    found = []
    for part, text in ours.items():
        kernels = list(recorded.printed(scenario, part).values())
        difference = first_difference(kernels, text, scenario.about(kernels[0]), table)
        if difference is not None:
            found.append((part, difference))
    return found


def confirmed(
    scenario: Scenario, ours: dict[str, str], again: Callable[[], dict[str, str]], table: Table
) -> list[tuple[str, Difference]]:
    """The differences of a scenario; what differs is run once more and has to differ again.

    On a starved machine a time-out passes before what it waits for has come. What is known to
    differ needs no second look.
    """
    found = differences(scenario, ours, table)
    if found and scenario.name not in table.unmended:
        return differences(scenario, again(), table)
    return found


def _excused(at: list[str | None], here: str | None, about: str | Call, table: Table) -> bool:
    if here is None:
        return False
    return any(line is not None and table.row(line, here, about) for line in at)
