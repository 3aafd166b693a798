# SPDX-License-Identifier: MIT
"""tests/unit/mutants.toml: the mutants that change nothing that anybody could see, and why not.

[[equivalent]]
path = "vsock/store.py"
function = "Store.keep"
was = "if n <= w.COPYBREAK or seg < 0:"
becomes = "if n < w.COPYBREAK or seg < 0:"
nth = 2                                     # of such lines in the function; 1 may be left out
why = "what it costs, not what happens"
"""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpfw import paths
from mpfw.mutate.mutants import Mutant

TABLE = paths.ROOT / "tests/unit/mutants.toml"
Key = tuple[str, str, str, str, int]


class TableError(Exception):
    """The table is not what it should be; says where."""


@dataclass(frozen=True)
class Entry:
    """A mutant in the table."""

    key: Key
    why: str


def read(table: Path = TABLE) -> list[Entry]:
    """The table. Raises TableError."""
    try:
        rows = tomllib.loads(table.read_text(encoding="utf-8")).get("equivalent", [])
    except tomllib.TOMLDecodeError as error:
        raise TableError(f"{table.name}: {error}") from None
    return [_entry(table, row) for row in rows]


def _entry(table: Path, row: dict[str, Any]) -> Entry:
    try:
        key = (row["path"], row["function"], row["was"], row["becomes"], row.get("nth", 1))
        why = row["why"]
    except KeyError as error:
        raise TableError(f"{table.name}: an entry lacks {error}: {row}") from None
    if not why:
        raise TableError(f"{table.name}: an entry does not say why: {row}")
    return Entry(key, why)


def stale(entries: Iterable[Entry], known: Iterable[Mutant]) -> list[Entry]:
    """Entries that are no mutants any more."""
    keys = {each.key for each in known}
    return [each for each in entries if each.key not in keys]


def write(found: Iterable[Mutant], target: Path) -> None:
    """Mutants as the table has them, but for the reasons, which are a person's to find."""
    rows = []
    for each in found:
        names = ("path", "function", "was", "becomes")
        lines = [f"{name} = {json.dumps(getattr(each, name))}" for name in names]
        nth = [f"nth = {each.nth}"] if each.nth != 1 else []
        rows.append("\n".join(["[[equivalent]]", *lines, *nth, 'why = ""', ""]))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text("\n".join(rows), encoding="utf-8")


def keys(table: Path) -> set[Key]:
    """Which mutants a file of that form names."""
    rows = tomllib.loads(table.read_text(encoding="utf-8")).get("equivalent", [])
    return {(r["path"], r["function"], r["was"], r["becomes"], r.get("nth", 1)) for r in rows}
