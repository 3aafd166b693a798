# SPDX-License-Identifier: MIT
"""Which lines of the firmware's modules count for `mpfw fuzz`, and how many of them ran.

The receive road, the queue, PCI: what stands between a lying host and a program.
"""

import ast
import functools

from coverage.python import PythonParser

from mpfw import paths
from mpfw.fuzz.classes import Lines

MODULES = paths.ROOT / "mpy_modules"
# Constants only, a table for texts, and what writes captures.
_APART = {"words.py", "names.py", "packet.py"}
_APART |= {"pcap.py", "pcapng.py", "blocks.py"}
SUBJECTS = sorted(
    str(each.relative_to(MODULES))
    for each in (
        *(MODULES / "vsock").glob("*.py"),
        *(MODULES / "virtio").glob("*.py"),
        *(MODULES / "pci").glob("*.py"),
        MODULES / "fw_cfg.py",
    )
    if each.name not in _APART
)


@functools.cache
def _parsed(path: str) -> PythonParser:
    parser = PythonParser(filename=str(MODULES / path), exclude=r"raise NotImplementedError")
    parser.parse_source()
    return parser


@functools.cache
def statements(path: str) -> frozenset[int]:
    """The lines of a module's functions that can run: the others do when it is imported."""
    inside: set[int] = set()
    for node in ast.walk(ast.parse((MODULES / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            inside.update(range(node.body[0].lineno, (node.end_lineno or 0) + 1))
    return frozenset(_parsed(path).statements & inside)


def _reached(path: str, covered: Lines) -> set[int]:
    """Those of them that ran; of a statement of several lines the first stands for all."""
    return set(_parsed(path).translate_lines(covered.get(path, set()))) & statements(path)


def share(covered: Lines) -> float | None:
    """How many percent of all those lines are there; None if nothing was measured."""
    if not covered:
        return None
    reached = sum(len(_reached(path, covered)) for path in SUBJECTS)
    return 100 * reached / sum(len(statements(path)) for path in SUBJECTS)


def missed(covered: Lines) -> dict[str, list[int]]:
    """The lines that did not run, by module."""
    found = {path: sorted(statements(path) - _reached(path, covered)) for path in SUBJECTS}
    return {path: lines for path, lines in found.items() if lines}
