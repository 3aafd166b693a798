# SPDX-License-Identifier: MIT
"""`make image`: nothing to do takes no time, and what changed is all that is built again."""

import os
import re
import subprocess

import pytest

from mpfw import paths
from mpfw.build import deps

PRODUCTS = [paths.IMAGE, paths.BUILD / "port/micropython.elf", paths.BUILD / "firmware/ipl.elf"]
INCLUDED_BY_UPSTREAM = {"modmachine.c", "modos.c", "modtime.c"}  # by extmod's files of these names


def make_image() -> str:
    """Run `make image`; what it printed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    command = ["make", "-C", str(paths.ROOT), "image"]
    return subprocess.run(command, env=clean, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def built():
    """An image that is up to date."""
    make_image()


def test_second_make_image_does_nothing(built):
    before = [path.stat().st_mtime_ns for path in PRODUCTS]
    make_image()
    assert [path.stat().st_mtime_ns for path in PRODUCTS] == before


def test_a_changed_frozen_module_compiles_nothing_else(built):
    image = paths.IMAGE.read_bytes()
    (paths.ROOT / "mpy_modules/apps/echo.py").touch()
    printed = make_image()
    assert re.findall(r"^MPY (\S+)", printed, re.MULTILINE) == ["apps/echo.py"]
    compiled = {line.rpartition("/")[2] for line in re.findall(r"^CC (\S+)", printed, re.M)}
    assert compiled <= {"frozen_content.c"}
    assert paths.IMAGE.read_bytes() == image  # the same sources give the same image


def test_help_lists_the_targets():
    printed = subprocess.run(
        ["make", "-C", str(paths.ROOT), "help"], check=True, capture_output=True, text=True
    ).stdout
    for target in ("image", "run", "check", "test", "clean", "distclean"):
        assert re.search(rf"make {target} +\w", printed), target


def test_warnings_are_errors_in_our_own_sources_only(built):
    source, build = deps.provide("micropython"), paths.BUILD / "port"
    ours = {path.name for path in (paths.ROOT / "port").glob("*.c")} - INCLUDED_BY_UPSTREAM
    command = ["make", "-C", str(paths.ROOT / "port"), f"MICROPYTHON_DIR={source}"]
    # If ours were changed: they may bring new qstrs, so that all the others are compiled too.
    command += [f"BUILD={build}", "V=1", "--dry-run", *[f"--what-if={name}" for name in ours]]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    compilers = re.findall(r"^(gcc .* -c .*?)(?: \|\| |$)", printed, re.MULTILINE)
    strict = {
        flags[-1].removeprefix(f"{source}/").removeprefix(f"{build}/")
        for flags in map(str.split, compilers)
        if "-Werror" in flags and not {"-Wno-error", "-w"} & set(flags)
    }
    including = {f"extmod/{name}" for name in INCLUDED_BY_UPSTREAM}
    assert strict == ours | including | {"frozen_content.c"}
    assert len(compilers) > len(strict) + 100
