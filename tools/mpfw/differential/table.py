# SPDX-License-Identifier: MIT
"""Purposeful differences: the rows of tests/differential/differences.toml.

A row excuses one line of output against another, and only where it says: of the scenarios that it
names, or of the generated calls whose name, state and argument it gives. It counts how often.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mpfw import paths

FILE = paths.ROOT / "tests" / "differential" / "differences.toml"
BEGIN = "<!-- differences -->"
END = "<!-- end of differences -->"
_KEYS = {"call", "state", "arguments", "why", "linux", "ours", "scenarios", "generated"}


class TableError(Exception):
    """The table is not well-formed; the message says which row and why."""


@dataclass(frozen=True)
class Call:
    """What a line of output is about: a call, the state of its socket, its argument; and, if that
    is written down, the scenario."""

    name: str
    state: str
    argument: int | None = None
    scenario: str = ""


Where = Callable[[int], str | Call]  # what the line of that index is about: a scenario, a call


@dataclass
class Row:
    """One purposeful difference.

    `linux` and `ours` are regular expressions for a scenario's whole line or a call's result;
    `low` and `high` bound the argument of generated calls, None: any.
    """

    call: str
    state: str
    why: str
    linux: str
    ours: str
    low: int | None = None
    high: int | None = None
    scenarios: tuple[str, ...] = ()
    generated: bool = False
    used: int = field(default=0, compare=False)

    def excuses(self, theirs: str, ours: str, where: str | Call) -> bool:
        """Whether it is about this pair of lines: of a scenario by name, or of a call."""
        if isinstance(where, Call):
            generated = self.generated and not where.scenario
            if not generated and where.scenario not in self.scenarios:
                return False
            if (where.name, where.state) != (self.call, self.state):
                return False
            if self.low is not None and not self._within(where.argument):
                return False
            theirs, ours = theirs.partition(": ")[2], ours.partition(": ")[2]
        elif where not in self.scenarios:
            return False
        return bool(re.fullmatch(self.linux, theirs) and re.fullmatch(self.ours, ours))

    def _within(self, argument: int | None) -> bool:
        assert self.low is not None and self.high is not None
        return argument is not None and self.low <= argument <= self.high

    @property
    def arguments(self) -> str:
        """The range as a reader sees it."""
        if self.low is None:
            return "any"
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"


def _row(number: int, given: dict[str, object]) -> Row:
    known = dict(given)
    strange = sorted(set(known) - _KEYS)
    missing = sorted({"call", "state", "why", "linux", "ours"} - set(known))
    if strange or missing:
        what = f"has no {', '.join(missing)}" if missing else f"does not know {', '.join(strange)}"
        raise TableError(f"row {number} of {FILE.name} {what}")
    bounds = known.pop("arguments", None)
    if bounds is not None:
        if not isinstance(bounds, list) or len(bounds) != 2 or bounds[0] > bounds[1]:
            raise TableError(f"row {number} of {FILE.name}: arguments is [lowest, highest]")
        known["low"], known["high"] = bounds
    known["scenarios"] = tuple(known.get("scenarios", ()))  # type: ignore[arg-type]
    row = Row(**known)  # type: ignore[arg-type]
    if not row.scenarios and not row.generated:
        raise TableError(f"row {number} of {FILE.name} is for no scenario and no generated call")
    return row


@dataclass
class Table:
    """All rows, and the scenarios whose difference is known and not yet mended."""

    rows: list[Row]
    unmended: dict[str, str]

    def row(self, theirs: str, ours: str, where: str | Call) -> Row | None:
        """The row that excuses this pair of lines; it has counted that."""
        for row in self.rows:
            if row.excuses(theirs, ours, where):
                row.used += 1
                return row
        return None


def load(path: Path = FILE) -> Table:
    """The table in a file. Raises TableError."""
    try:
        data = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{path.name} is not TOML: {error}") from error
    rows = [_row(number, given) for number, given in enumerate(data.get("row", []), 1)]
    return Table(rows, _by_name(data.get("unmended", {})))


def _by_name(unmended: dict[str, list[str]]) -> dict[str, str]:
    """The reason of each scenario."""
    return {name: why for why, names in unmended.items() for name in names}


def render(table: Table) -> str:
    """The rows as docs/errno.md has them, between BEGIN and END."""
    lines = [BEGIN, ""]
    if table.rows:
        lines += ["| call | state | argument | why |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{row.call}` | {row.state} | {row.arguments} | {row.why} |" for row in table.rows
        ]
    else:
        lines.append("None.")
    return "\n".join([*lines, "", END])


def rendered_into(document: str, table: Table) -> str:
    """A document with its part between BEGIN and END made anew. Raises TableError without one."""
    return between(document, BEGIN, END, render(table))


def between(document: str, begin: str, end: str, text: str) -> str:
    """A document with the text, which has these remarks, in the place of its part between them."""
    if begin not in document or end not in document:
        raise TableError(f"the document has no {begin} and {end}")
    before, rest = document.split(begin, 1)
    return before + text + rest.split(end, 1)[1]
