# SPDX-License-Identifier: MIT
"""`make dist`: the wheel and the source distribution, both with the image that was built.

Both are made by setuptools, from a copy of the tree to which the package's data is added. The
wheel needs no compiler and no source tree; the source distribution is the tree, and pip makes the
same wheel of it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mpfw import paths
from mpfw.device.firmware import PARTS
from mpfw.image import origin

DIST = paths.BUILD / "dist"
_STAGE = paths.BUILD / "dist-tree"
_BACKEND = "import sys; from setuptools import build_meta; build_meta.{}(sys.argv[1])"
_LEFT = {"__pycache__", ".hypothesis", "mpfw.egg-info"}  # by tools that ran in the tree
_MANIFEST = "graft .\nglobal-exclude *.py[cod]\nprune build\n"


def main() -> None:
    """Make both, and print their paths."""
    made = make(DIST)
    for path in made:
        print(path)


def make(target: Path, stage: Path = _STAGE) -> list[Path]:
    """Make both in the directory `target`; their paths."""
    _stage(stage)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for build in ("build_sdist", "build_wheel"):
        command = [sys.executable, "-c", _BACKEND.format(build), str(target.absolute())]
        run = subprocess.run(command, cwd=stage, capture_output=True, text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"make dist: setuptools failed\n{run.stdout}{run.stderr}")
    shutil.rmtree(stage)
    return sorted(target.iterdir())


def _stage(stage: Path) -> None:
    """A copy of the tree, with the package's data in it, and one date for every file."""
    shutil.rmtree(stage, ignore_errors=True)
    for name in _sources():
        (stage / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(paths.ROOT / name, stage / name)
    origin.record(paths.IMAGE)
    data = stage / "tools/mpfw/data"
    data.mkdir(exist_ok=True)
    for file in (
        paths.IMAGE,
        paths.IMAGE.with_suffix(".json"),
        paths.ROOT / "firmware" / paths.LAYOUT,
        paths.ROOT / paths.DEPS_MANIFEST,
    ):
        shutil.copy(file, data / file.name)
    for part in PARTS:  # of the stage: there is nothing in it that a tool left
        source, copied = stage / "mpy_modules" / part, data / "mpy_modules" / part
        for file in source.rglob("*.py") if source.is_dir() else (source,):
            to = copied / file.relative_to(source)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, to)
    (stage / "MANIFEST.in").write_text(_MANIFEST)
    date = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    for path in stage.rglob("*") if date else ():
        os.utime(path, (date, date), follow_symlinks=False)


def _sources() -> list[Path]:
    """The tree's files, relative to its top: those that git has, or all without git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        run = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True)
        found = [Path(name) for name in run.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        found = [path.relative_to(paths.ROOT) for path in paths.ROOT.rglob("*")]
    return [path for path in found if _is_source(path)]


def _is_source(path: Path) -> bool:
    made = path.parts[0] in ("build", ".git") or path.parts[:3] == ("tools", "mpfw", "data")
    return not made and not _LEFT & set(path.parts) and (paths.ROOT / path).is_file()


if __name__ == "__main__":
    main()
