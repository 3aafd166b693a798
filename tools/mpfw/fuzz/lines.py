# SPDX-License-Identifier: MIT
"""Which lines of the firmware's modules count for `mpfw fuzz`, and how many of them ran.

The receive road, the queue, PCI: what stands between a lying host and a program.
"""

import functools

from coverage.python import PythonParser

from mpfw import paths
from mpfw.fuzz.classes import Lines

MODULES = paths.ROOT / "mpy_modules"
# words.py are constants only, names.py is a table for `pci.devices()`'s text.
SUBJECTS = sorted(
    str(each.relative_to(MODULES))
    for each in (
        *(MODULES / "vsock").glob("*.py"),
        *(MODULES / "virtio").glob("*.py"),
        *(MODULES / "pci").glob("*.py"),
        MODULES / "fw_cfg.py",
    )
    if each.name not in ("words.py", "names.py")
)


@functools.cache
def statements(path: str) -> frozenset[int]:
    """The lines of a module that can run."""
    parser = PythonParser(filename=str(MODULES / path), exclude=r"raise NotImplementedError")
    parser.parse_source()
    return frozenset(parser.statements)


def share(covered: Lines) -> float | None:
    """How many percent of all those lines are there; None if nothing was measured."""
    if not covered:
        return None
    reached = sum(len(statements(path) & covered.get(path, set())) for path in SUBJECTS)
    return 100 * reached / sum(len(statements(path)) for path in SUBJECTS)


def missed(covered: Lines) -> dict[str, list[int]]:
    """The lines that did not run, by module."""
    found = {path: sorted(statements(path) - covered.get(path, set())) for path in SUBJECTS}
    return {path: lines for path, lines in found.items() if lines}
