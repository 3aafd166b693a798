# SPDX-License-Identifier: MIT
"""For tests of `mpfw expand`: trees of modules, as they are and as they are frozen."""

import contextlib
import importlib
import sys
import textwrap

STANDINS = {"micropython.py": "def const(n):\n    return n\n"}


def lay(root, files):
    """Write files, and return `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).removeprefix("\n"))
    return root


@contextlib.contextmanager
def importable(*directories):
    """Directories to import from; what was imported from them is forgotten."""
    before = set(sys.modules)
    paths = [str(each) for each in directories]
    sys.path[:0] = paths
    importlib.invalidate_caches()
    try:
        yield
    finally:
        del sys.path[: len(paths)]
        for name in set(sys.modules) - before:
            del sys.modules[name]


def run(root, function="pack.user.work"):
    """What a function returns in the tree under `root`, under CPython."""
    standins = lay(root.parent / "standins", STANDINS)
    module, _, name = function.rpartition(".")
    with importable(root, standins):
        return getattr(importlib.import_module(module), name)()
