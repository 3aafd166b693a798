# SPDX-License-Identifier: MIT
"""Scenarios: the files of tests/differential/scenarios as values. Runs nothing.

A file is one scenario, a plain script or one with `guest` and `host`, or a group of them: then it
has functions `alone_NAME(port)`, or pairs `guest_NAME` and `host_NAME` with (cid, port, meet), and
what stands beside those is for all of them. wording.py goes before each of a group.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.differential import meeting, wording
from mpfw.differential.table import Where

FOLDER = paths.ROOT / "tests" / "differential" / "scenarios"
LOOPBACK = "loopback"
HOST = "host"
SETTINGS = (LOOPBACK, HOST)
PORTS = 3  # that a scenario between guest and host may use
_FIRST_PORT = 20000
HOST_CID = 2
MEETING = Path(meeting.__file__).read_text()
WORDING = Path(wording.__file__).read_text()
_ALONE, _GUEST, _HOST = "alone_", "guest_", "host_"


@dataclass(frozen=True)
class Scenario:
    """One scenario: its name, its setting, its text, and what its functions' names end with."""

    name: str
    setting: str
    text: str
    suffix: str = ""

    @property
    def file(self) -> str:
        """The name of the file it is from, and of that with its records, without ending."""
        return self.name.partition(".")[0]

    def script(self, port: int) -> str:
        """What runs over the loopback; `port` and the two above it are its own."""
        return f"{self.text}\n{_ALONE}{self.suffix}({port})\n" if self.suffix else self.text

    def part(self, which: str, other: int, port: int) -> str:
        """The script of "guest" or "host", told the other's CID and the first of its ports."""
        function = f"{which}_{self.suffix}" if self.suffix else which
        call = f"take_part_in_{which}({function}, {other}, {port})\n"
        return f"{MEETING}\n{self.text}\n{call}"

    def joined(self, parts: dict[str, str]) -> dict[str, str]:
        """What its parts printed as it is recorded."""
        return parts

    def about(self, _linux: str) -> str | Where:
        """What the table knows a line of it by."""
        return self.name


def setting(text: str) -> str:
    """Which setting a script is for: those with both parts are for HOST."""
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    return HOST if {"guest", "host"} <= names else LOOPBACK


def of_file(stem: str, text: str) -> list[Scenario]:
    """The scenarios of a file, by name. Raises SyntaxError for what CPython does not take."""
    own: dict[tuple[str, str], list[ast.stmt]] = {}
    shared: list[ast.stmt] = []
    for node in ast.parse(text).body:
        kind = _of_group(node)
        (own.setdefault(kind, []) if kind else shared).append(node)
    if not own:
        return [Scenario(stem, setting(text), text)]
    common = [ast.get_source_segment(text, node) or "" for node in shared]
    found = []
    for (suffix, where), nodes in sorted(own.items()):
        pieces = [ast.get_source_segment(text, node) or "" for node in nodes]
        whole = "\n\n".join([WORDING, *common, *pieces])
        found.append(Scenario(f"{stem}.{suffix}", where, whole, suffix))
    return found


def _of_group(node: ast.stmt) -> tuple[str, str] | None:
    """(what the scenario's name ends with, its setting) if that is a function of a group."""
    if isinstance(node, ast.FunctionDef):
        for prefix, where in ((_ALONE, LOOPBACK), (_GUEST, HOST), (_HOST, HOST)):
            if node.name.startswith(prefix):
                return node.name.removeprefix(prefix), where
    return None


def load(folder: Path = FOLDER, wanted: str | None = None) -> list[Scenario]:
    """All scenarios of a folder, or those of one setting, by name.

    Raises SyntaxError for a file that CPython does not take.
    """
    found = []
    for path in sorted(folder.rglob("*.py")):
        found += of_file(path.stem, path.read_text())
    return [each for each in found if wanted in (None, each.setting)]


def port_of(number: int) -> int:
    """The first port of the scenario or sequence that runs as the number-th."""
    return _FIRST_PORT + PORTS * (number % 10_000)
