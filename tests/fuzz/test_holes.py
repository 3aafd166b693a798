# SPDX-License-Identifier: MIT
"""The fuzzer finds holes that were closed: each is put back, and a run without a hint fails.

A hole is a patch of mpy_modules in holes/, with a sentence before it. It is applied to a copy.
That all of them still fit the modules is looked at in every run, that they are found in long ones.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mpfw import paths

HOLES = sorted((Path(__file__).parent / "holes").glob("*.patch"))
MINUTES = 10  # that it may take

each_hole = pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole.stem)


def apply(hole: Path, tree: Path, *options: str) -> None:
    """Put a hole into the modules of `tree`. Fails with git's words if it does not fit."""
    # Without the ceiling git takes a tree for a part of any checkout that it lies in, and then
    # leaves out, without a word, what the patch names.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.resolve().parent)}
    command = ["git", "apply", *options, str(hole)]
    done = subprocess.run(
        command, cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def modules(tmp_path):
    """A copy of the firmware's modules."""
    shutil.copytree(paths.ROOT / "mpy_modules", tmp_path / "mpy_modules")
    return tmp_path / "mpy_modules"


def mpfw_fuzz(modules: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command with these modules; files of cases go to `folder`."""
    environment = os.environ | {"UNIT_MODULES": str(modules), "FUZZ_CASES": str(folder)}
    command = [sys.executable, "-m", "mpfw", "fuzz", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@each_hole
def test_a_hole_fits_the_modules(hole):
    apply(hole, paths.ROOT, "--check")


@pytest.mark.long
@pytest.mark.timeout(60 * MINUTES + 300)
@each_hole
def test_a_hole_is_found(hole, modules, tmp_path):
    apply(hole, modules.parent)
    found = mpfw_fuzz(modules, tmp_path, "--minutes", str(MINUTES), "--seed", "11")
    assert found.returncode == 1, found.stdout + found.stderr
    assert "does it again" in found.stderr, found.stderr
    (case,) = tmp_path.glob("*.json")
    again = mpfw_fuzz(modules, tmp_path, "--repeat", str(case))
    assert again.returncode == 1, again.stdout + again.stderr
    mended = mpfw_fuzz(paths.ROOT / "mpy_modules", tmp_path, "--repeat", str(case))
    assert mended.returncode == 0, mended.stdout + mended.stderr


def test_there_are_holes():
    assert len(HOLES) >= 12
