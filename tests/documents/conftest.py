# SPDX-License-Identifier: MIT
"""A place where documents are tried: the tree by links, and the files that readers have."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminals import Reader

from mpfw import paths
from mpfw.guest import daemon

# What make runs has another one, or tests that run one of trees of their own would get this tree.
MAKE = f"""#!/bin/sh
PATH=${{PATH#*:}} exec {shutil.which("make")} --no-print-directory -C "{paths.ROOT}" "$@"
"""
# What documents call by a name, for a reader's own.
APP = 'import sys\nprint("app.py", *sys.argv[1:])\n'
REPORT = """\
CPU exception 14 (page fault), error code 0 at 260259
  read of 700000000014: not mapped
  return addresses: 21c4bd 232d78
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that looks like the tree; what is written there is gone afterwards."""
    top = Path(tempfile.mkdtemp(prefix="doc-"))
    tree = top / "tree"
    for directory in (tree, top / "tmp", top / "bin"):
        directory.mkdir()
    for one in paths.ROOT.iterdir():
        if not one.name.startswith("."):
            (tree / one.name).symlink_to(one)
    (top / "bin/make").write_text(MAKE)
    (top / "bin/make").chmod(0o755)
    (tree / "app.py").write_text(APP)
    (tree / "debug.log").write_text(REPORT)
    (tree / "OLD.bin").symlink_to(paths.IMAGE)
    (tree / "directory/pci").mkdir(parents=True)
    (tree / "directory/main.py").write_text(APP)
    (tree / "package").mkdir()
    (tree / "package/module.py").write_text(APP)
    shutil.copy(paths.ROOT / "mpy_modules/pci/names.py", tree / "directory/pci/names.py")
    yield tree
    shutil.rmtree(top)


@pytest.fixture
def environment(place: Path) -> dict[str, str]:
    """What a reader's shell has: the project's commands by their names, and little else."""
    carrier = Path(daemon.program()).parent
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "USER") if name in os.environ}
    path = [str(place.parent / "bin"), str(paths.VENV / "bin"), str(carrier), os.environ["PATH"]]
    return {
        **kept,
        "PATH": ":".join(path),
        "TMPDIR": str(place.parent / "tmp"),
        "LC_ALL": "C.UTF-8",
        "VIRTUAL_ENV_DISABLE_PROMPT": "1",
    }


@pytest.fixture
def reader(place: Path, environment: dict[str, str]) -> Iterator[Reader]:
    """Somebody who types what documents have typed."""
    one = Reader(place, environment)
    yield one
    one.close()
