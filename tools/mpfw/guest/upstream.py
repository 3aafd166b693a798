# SPDX-License-Identifier: MIT
"""MicroPython's own test suite, run by upstream's run-tests.py, unchanged, and its totals.

The firmware is tested over a terminal that is its serial port; the unix port from the same source
gives the numbers to compare with.
"""

import fcntl
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import click

from mpfw import paths
from mpfw.build import deps
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.usage import examples

DIRECTORIES = "basics extmod float import io micropython misc stress unicode inlineasm".split()
# Upstream sends native code to a target only as .mpy.
MODES: dict[str, list[str]] = {
    "plain": [],
    "via-mpy": ["--via-mpy"],
    "native": ["--via-mpy", "--emit", "native"],
}
# What cannot hold on a target at the end of a serial line, whatever the target: regular expression
# -> why. Upstream runs these directories on PCs only and has no feature check for it.
EXCLUDED = {
    "^io/argv[.]py$": "prints the path that the PC's command line has",
    "^import/import_file[.]py$": "prints the path that the module has on the PC",
}
# As a .mpy, a test runs with an injected file system as its current directory.
EXCLUDED_VIA_MPY = {
    "^(io|unicode)/(file|open)_?[a-z0-9_]*[.]py$": "opens files beside it",
    "^import/builtin_ext[.]py$": "imports from a directory beside it",
}
# Expected output is what this machine's CPython prints; from this version on it prints something
# else. After 1.25 upstream keeps that output in files (micropython#18673).
EXCLUDED_SINCE = {
    (3, 14): {
        "^float/math_fun(_special)?[.]py$": "math's errors name the argument that was expected",
    },
}
TIMED = "extmod/(asyncio|time|machine_timer)_"
LIBRARY = paths.ROOT / "tests/upstream/lib"  # unittest, which upstream keeps in another repository
RESULTS = paths.BUILD / "upstream"
MPY_CROSS = paths.BUILD / "mpy-cross/mpy-cross"


class UpstreamError(Exception):
    """run-tests.py did not come to its end; the message is its output's tail."""


@dataclass(frozen=True)
class Totals:
    """What run-tests.py reports at its end."""

    tests: int  # performed: passed or failed
    cases: int  # lines of expected output and unittest methods
    passed: int
    skipped: tuple[str, ...]
    failed: tuple[str, ...]  # paths
    repeated: tuple[str, ...] = ()  # paths of those that failed at first


def run_suite(
    source: Path,
    instance: str,
    mode: str,
    results: Path,
    excluded: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    files: tuple[str, ...] = (),
    timeout: float = 1200,
) -> Totals:
    """Run upstream's tests against `instance` ("unix" or a terminal's path).

    `source` is MicroPython's tree; `results` takes the expected and actual output of tests that
    fail; `excluded` are regular expressions of paths; `files` are run instead of all
    directories. Raises UpstreamError.
    """
    results.mkdir(parents=True, exist_ok=True)
    # As in upstream's CI: a test opens more files than it may, and expects to be told.
    command = [
        "prlimit",
        "--nofile=1024",
        sys.executable,
        "run-tests.py",
        "-t",
        instance,
        "-r",
        str(results),
    ]
    command += [*MODES[mode], "--keep-path"]
    command += list(files) or ["-d", *DIRECTORIES]
    command += [f"--exclude={pattern}" for pattern in (*excluded, *outdated())]
    settings = {
        "MICROPYPATH": f".frozen:{source / 'extmod'}:{LIBRARY}",
        "MICROPY_CPYTHON3": sys.executable,
        "MICROPY_MPYCROSS": str(MPY_CROSS),
        # What a newer CPython thinks of a test's source is no part of the expected output.
        "PYTHONWARNINGS": "ignore",
    }
    (results / "_results.json").unlink(missing_ok=True)
    with open(results / "run-tests.log", "w+") as log:
        try:
            subprocess.run(
                command,
                cwd=source / "tests",
                env=os.environ | settings | (environment or {}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            log.write(f"\nstopped after {timeout} s\n")
        log.seek(0)
        return _parse(log.read(), results / "_results.json")


def outdated(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> list[str]:
    """Patterns of the tests whose expected output this version of CPython no longer gives."""
    return [
        pattern
        for since, patterns in EXCLUDED_SINCE.items()
        if version >= since
        for pattern in patterns
    ]


def _parse(output: str, results: Path) -> Totals:
    performed = re.search(r"^(\d+) tests performed \((\d+) individual", output, re.MULTILINE)
    passed = re.search(r"^(\d+) tests passed$", output, re.MULTILINE)
    if not (performed and passed and results.exists()):
        raise UpstreamError("run-tests.py broke off:\n" + "\n".join(output.splitlines()[-20:]))
    skipped = re.search(r"^\d+ tests skipped: (.*)$", output, re.MULTILINE)
    return Totals(
        tests=int(performed.group(1)),
        cases=int(performed.group(2)),
        passed=int(passed.group(1)),
        skipped=tuple(skipped.group(1).split()) if skipped else (),
        failed=tuple(json.loads(results.read_text())["failed_tests"]),
    )


def differences(results: Path, lines: int = 60) -> str:
    """What the failed tests printed against what they should have, from the results' files."""
    parts = []
    for actual in sorted(results.glob("*.out")):
        expected = actual.with_suffix(".exp")
        first = str(expected) if expected.exists() else os.devnull
        diff = subprocess.run(
            ["diff", "-u", first, str(actual)], capture_output=True, text=True, check=False
        )
        parts.append("\n".join(diff.stdout.splitlines()[:lines]))
    return "\n".join(parts)


def build_unix_port(source: Path) -> Path:
    """The unix port of `source`, built under build/ by one caller at a time; the program."""
    place = paths.BUILD / "upstream/unix"
    manifest = paths.ROOT / "tests/upstream/unix_manifest.py"
    without = [f"MICROPY_PY_{name}=0" for name in ("FFI", "SSL", "BTREE")]
    command = ["make", "-s", "-C", str(source / "ports/unix"), f"-j{os.cpu_count()}"]
    command += [f"BUILD={place}", f"FROZEN_MANIFEST={manifest}", f"MPY_LIB_DIR={source}", *without]
    # -w: upstream makes errors of warnings, and newer compilers know more of them.
    command += [f"MICROPY_MPYCROSS={MPY_CROSS}", "CFLAGS_EXTRA=-w"]
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return place / "micropython"


def run_unix(source: Path, mode: str) -> Totals:
    """Totals of the unix port in one mode; build_unix_port() comes first."""
    environment = {"MICROPY_MICROPYTHON": str(paths.BUILD / "upstream/unix/micropython")}
    excluded = () if mode == "plain" else tuple(EXCLUDED)
    return run_suite(source, "unix", mode, RESULTS / f"unix-{mode}", excluded, environment)


def target(image: Path) -> Guest:
    """A guest for `run_firmware`, not yet started.

    micropython/extreme_exc.py fills the heap, in silence, for which upstream waits ten seconds:
    64 MiB take six on a machine that does nothing else.
    """
    return Guest(Machine(image=image, memory="32M"), console="pty")


def run_firmware(source: Path, mode: str, guest: Guest, results: Path) -> Totals:
    """Totals of the firmware in `guest`, a `target`.

    Tests that measure wall time to a tenth of a second fail when the host lends the guest no
    processor for that long; if nothing else failed they are run once more, by themselves.
    """
    excluded = EXCLUDED if mode == "plain" else EXCLUDED | EXCLUDED_VIA_MPY
    upload(source, guest.pty)
    totals = run_suite(source, guest.pty, mode, results, tuple(excluded))
    if not totals.failed or not all(re.match(TIMED, path) for path in totals.failed):
        return totals
    again = run_suite(source, guest.pty, mode, results / "again", files=totals.failed)
    return replace(
        totals, passed=totals.passed + again.passed, failed=again.failed, repeated=totals.failed
    )


def upload(source: Path, terminal: str) -> None:
    """Copy what tests import and open to the target's file system: unittest, modules, data."""
    tests = source / "tests"
    imported = [path for path in sorted((tests / "import").iterdir()) if path.name != "ext"]
    beside = [tests / "import/ext", tests / "io/data", tests / "unicode/data"]
    command = [sys.executable, "-m", "mpremote", "connect", terminal, "mkdir", ":lib"]
    command += ["+", "cp", "-r", *map(str, [LIBRARY / "unittest.py", *imported]), ":lib/"]
    command += ["+", "cp", "-r", *map(str, beside), ":"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if result.returncode != 0:
        raise UpstreamError(f"mpremote cannot copy the tests' files:\n{result.stderr}")


def source_tree() -> Path:
    """MicroPython's source: the user's own or the fetched one."""
    return deps.provide("micropython")


@click.group(epilog=examples("mpfw upstream run --mode native    one mode, on the firmware"))
def upstream() -> None:
    """Run MicroPython's own test suite."""


@upstream.command(epilog=examples("mpfw upstream build"))
def build() -> None:
    """Build the unix port, which unit tests run as well; print where it is."""
    print(build_unix_port(source_tree()))


@upstream.command(epilog=examples("mpfw upstream run --mode via-mpy"))
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--mode", type=click.Choice(sorted(MODES)), default="plain", show_default=True)
def run(image: Path, mode: str) -> None:
    """Run it on the firmware in one mode; show what failed."""
    results = RESULTS / f"firmware-{mode}"
    with target(image) as guest:
        totals = run_firmware(source_tree(), mode, guest, results)
    print(differences(results))
    print(_row(f"firmware, {mode}", totals))
    raise SystemExit(bool(totals.failed))


@upstream.command(epilog=examples("mpfw upstream totals             the README's table"))
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
def totals(image: Path) -> None:
    """Run it on the firmware and on the unix port in every mode; print a Markdown table."""
    source = source_tree()
    build_unix_port(source)

    def on_firmware(mode: str) -> Totals:
        with target(image) as guest:
            return run_firmware(source, mode, guest, RESULTS / f"firmware-{mode}")

    print("| target, mode | tests | passed | failed | skipped | individual cases |")
    print("| --- | --- | --- | --- | --- | --- |")
    for mode in MODES:
        with ThreadPoolExecutor() as pool:
            firmware = pool.submit(on_firmware, mode)
            print(_row(f"unix port, {mode}", run_unix(source, mode)), flush=True)
            print(_row(f"firmware, {mode}", firmware.result()), flush=True)


def _row(name: str, totals: Totals) -> str:
    numbers = (totals.tests, totals.passed, len(totals.failed), len(totals.skipped), totals.cases)
    return f"| {name} | " + " | ".join(map(str, numbers)) + " |"
