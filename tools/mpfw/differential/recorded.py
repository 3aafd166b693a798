# SPDX-License-Identifier: MIT
"""What Linux printed, in the tree: a file for each scenario, an entry for each release and part.

An entry is a head line and what was printed, two columns to the right:

    == bookworm guest, Linux 6.1.0-50-cloud-amd64, 2026-11-22, script 0123456789ab
      connect ECONNRESET

`script` is the beginning of the SHA-256 of the scenario's file: an entry of another script than
today's is stale, which is an error. Only `mpfw differential --record` writes these files.
"""

import datetime
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.differential.scenarios import Scenario

FOLDER = paths.ROOT / "tests" / "differential" / "recorded"
_HEAD = re.compile(r"== (\w+) (\w+), Linux (\S+), (\S+), script (\w+)")
_INDENT = "  "


class RecordError(Exception):
    """A scenario has no record that can be used; the message says what to do."""


@dataclass(frozen=True)
class Entry:
    """What one part ("script", "guest", "host") printed on one release's kernel."""

    release: str
    part: str
    kernel: str
    date: str
    script: str
    printed: str

    def __str__(self) -> str:
        head = f"== {self.release} {self.part}, Linux {self.kernel}, {self.date}"
        lines = [f"{head}, script {self.script}", *self._lines()]
        return "".join(f"{line}\n" for line in lines)

    def _lines(self) -> list[str]:
        return [_INDENT + line for line in self.printed.splitlines()]


def digest(text: str) -> str:
    """What an entry knows a script by."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read(name: str, folder: Path = FOLDER) -> list[Entry]:
    """All entries of a scenario, none if it was never recorded. Raises RecordError."""
    path = folder / f"{name}.txt"
    if not path.exists():
        return []
    entries: list[Entry] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        head = _HEAD.fullmatch(line)
        if head:
            entries.append(Entry(*head.groups(), printed=""))  # type: ignore[misc]
        elif entries and line.startswith(_INDENT):
            *before, last = entries
            more = last.printed + line.removeprefix(_INDENT) + "\n"
            entries = [*before, Entry(**{**last.__dict__, "printed": more})]
        else:
            raise RecordError(
                f"{path.name}:{number} is neither an entry's head nor what it prints"
            )
    return entries


def printed(scenario: Scenario, part: str, folder: Path = FOLDER) -> dict[str, str]:
    """Release: what that part printed there. Raises RecordError if it is not known for today's
    script."""
    entries = [entry for entry in read(scenario.name, folder) if entry.part == part]
    again = f"record it: mpfw differential --record {scenario.name}"
    if not entries:
        raise RecordError(f"{scenario.name} was not recorded on Linux; {again}")
    if {entry.script for entry in entries} != {digest(scenario.text)}:
        raise RecordError(f"{scenario.name} was changed after it was recorded; {again}")
    return {entry.release: entry.printed for entry in entries}


def write(
    scenario: Scenario, release: str, kernel: str, parts: dict[str, str], folder: Path = FOLDER
) -> None:
    """Put a release's entries in the place of its earlier ones; those of older scripts go."""
    script, today = digest(scenario.text), datetime.date.today().isoformat()
    kept = [
        entry
        for entry in read(scenario.name, folder)
        if entry.release != release and entry.script == script
    ]
    made = [Entry(release, part, kernel, today, script, text) for part, text in parts.items()]
    entries = sorted([*kept, *made], key=lambda entry: (entry.release, entry.part))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{scenario.name}.txt").write_text("".join(str(entry) for entry in entries))
