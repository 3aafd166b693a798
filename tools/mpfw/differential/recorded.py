# SPDX-License-Identifier: MIT
"""What Linux printed, in the tree: a file for each of the scenarios' files.

An entry is a part of a scenario, the releases that printed the same there, and what they printed,
two columns to the right:

    == refused script 0123456789ab
    -- bookworm, Linux 6.1.0-50-cloud-amd64, 2026-11-22
      connect ECONNRESET

The number is the beginning of the SHA-256 of what ran: an entry of another script than today's is
stale, which is an error. Only `mpfw differential --record` writes these files.
"""

import datetime
import functools
import hashlib
import re
from collections.abc import Container
from dataclasses import dataclass, replace
from pathlib import Path

from mpfw import paths
from mpfw.differential.scenarios import Scenario

FOLDER = paths.ROOT / "tests" / "differential" / "recorded"
_PART = re.compile(r"== (\S+) (\w+) (\w+)")
_RELEASE = re.compile(r"-- (\w+), Linux (\S+), (\S+)")
_INDENT = "  "
_NOTHING = "(nothing)\n"


class RecordError(Exception):
    """A scenario has no record that can be used; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """What one part ("script", "guest", "host") of a scenario printed on one release's kernel."""

    name: str
    part: str
    script: str
    release: str = ""
    kernel: str = ""
    date: str = ""
    printed: str = ""

    @property
    def what(self) -> tuple[str, str, str]:
        """What several releases may print the same of."""
        return self.name, self.part, self.script


def digest(text: str) -> str:
    """What an entry knows a script by."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(file: str, folder: Path = FOLDER) -> list[Entry]:
    """All entries of a file, none if nothing of it was ever recorded. Raises RecordError."""
    path = folder / f"{file}.txt"
    return list(_parsed(path.name, path.read_text())) if path.exists() else []


@functools.lru_cache(maxsize=128)
def _parsed(name: str, text: str) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    what, same, lines = None, 0, []
    for number, line in enumerate([*text.splitlines(), "== end script 0"], 1):
        part, release = _PART.fullmatch(line), _RELEASE.fullmatch(line)
        if line.startswith(_INDENT) and same:
            lines.append(line.removeprefix(_INDENT) + "\n")
        elif part or release and lines:
            text = "".join(lines).replace(_NOTHING, "")
            entries[len(entries) - same :] = [replace(e, printed=text) for e in entries[-same:]]
            same, lines = 0, []
        if part:
            what = Entry(*part.groups())
        elif release and what is not None:
            entries.append(replace(what, **dict(zip(_OF_RELEASE, release.groups(), strict=True))))
            same += 1
        elif not line.startswith(_INDENT):
            raise RecordError(f"{name}:{number} is neither a head nor what was printed")
    return tuple(entries)


_OF_RELEASE = ("release", "kernel", "date")


def printed(scenario: Scenario, part: str, folder: Path = FOLDER) -> dict[str, str]:
    """Release: what that part printed there. Raises RecordError if it is not known for today's
    script."""
    found = [
        entry
        for entry in read(scenario.file, folder)
        if (entry.name, entry.part) == (scenario.name, part)
    ]
    again = f"record it: mpfw differential --record {scenario.name}"
    if not found:
        raise RecordError(f"{scenario.name} was not recorded on Linux; {again}")
    if {entry.script for entry in found} != {digest(scenario.text)}:
        raise RecordError(f"{scenario.name} was changed after it was recorded; {again}")
    return {entry.release: entry.printed for entry in found}


def known(scenario: Scenario, release: str, folder: Path = FOLDER) -> bool:
    """Whether a release has a record of today's script."""
    return any(
        (entry.name, entry.release, entry.script)
        == (scenario.name, release, digest(scenario.text))
        for entry in read(scenario.file, folder)
    )


def write(
    scenario: Scenario, release: str, kernel: str, parts: dict[str, str], folder: Path = FOLDER
) -> None:
    """Put a release's entries in the place of its earlier ones; those of older scripts go."""
    script, today = digest(scenario.text), datetime.date.today().isoformat()
    kept = [
        entry
        for entry in read(scenario.file, folder)
        if entry.name != scenario.name or entry.release != release and entry.script == script
    ]
    kept += [
        Entry(scenario.name, part, script, release, kernel, today, text)
        for part, text in parts.items()
    ]
    _put(scenario.file, kept, folder)


def prune(file: str, names: Container[str], folder: Path = FOLDER) -> None:
    """Leave out of a file what belongs to none of these scenarios."""
    _put(file, [entry for entry in read(file, folder) if entry.name in names], folder)


def _put(file: str, entries: list[Entry], folder: Path) -> None:
    groups: dict[tuple[str, str, str], dict[str, list[Entry]]] = {}
    for entry in sorted(entries, key=lambda entry: (*entry.what, entry.release)):
        groups.setdefault(entry.what, {}).setdefault(entry.printed, []).append(entry)
    lines = []
    for what, texts in groups.items():
        lines.append(f"== {' '.join(what)}")
        for text, same in texts.items():
            lines += [f"-- {e.release}, Linux {e.kernel}, {e.date}" for e in same]
            lines += [_INDENT + line for line in (text or _NOTHING).splitlines()]
    path = folder / f"{file}.txt"
    folder.mkdir(parents=True, exist_ok=True)
    if lines:
        path.write_text("".join(f"{line}\n" for line in lines))
    else:
        path.unlink(missing_ok=True)
