# SPDX-License-Identifier: MIT
"""Scenarios: the files of tests/differential/scenarios as values. Runs nothing."""

import ast
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.differential import meeting

FOLDER = paths.ROOT / "tests" / "differential" / "scenarios"
LOOPBACK = "loopback"
HOST = "host"
SETTINGS = (LOOPBACK, HOST)
PORTS = 3  # that a scenario between guest and host may use
_FIRST_PORT = 20000
HOST_CID = 2
MEETING = Path(meeting.__file__).read_text()


@dataclass(frozen=True)
class Scenario:
    """One scenario: its name, its setting, the text of its file."""

    name: str
    setting: str
    text: str

    def part(self, which: str, other: int, port: int) -> str:
        """The script of "guest" or "host", told the other's CID and the first of its ports."""
        call = f"take_part_in_{which}({which}, {other}, {port})\n"
        return f"{MEETING}\n{self.text}\n{call}"


def setting(text: str) -> str:
    """Which setting a script is for: those with both parts are for HOST."""
    names = {node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)}
    return HOST if {"guest", "host"} <= names else LOOPBACK


def load(folder: Path = FOLDER, wanted: str | None = None) -> list[Scenario]:
    """All scenarios of a folder, or those of one setting, by name.

    Raises SyntaxError for a file that CPython does not take.
    """
    texts = {path.stem: path.read_text() for path in sorted(folder.rglob("*.py"))}
    found = [Scenario(name, setting(text), text) for name, text in texts.items()]
    return [each for each in found if wanted in (None, each.setting)]


def port_of(number: int) -> int:
    """The first port of the scenario or sequence that runs as the number-th."""
    return _FIRST_PORT + PORTS * (number % 10_000)
