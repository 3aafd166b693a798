# SPDX-License-Identifier: MIT
"""Fixtures of the seat's tests: `mpfw run` as its users start it, on every kind of host that this
machine has; and that nothing is left of it, no process and no file."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from mpfw.guest.vsockhost import kernel_device_usable

MARK = "MPFW_TEST_MARK"  # a variable that every process of a test inherits


def pytest_generate_tests(metafunc):
    """Unless a host is chosen, over all that this machine has and that the test is for (its marker
    `hosts`); the lab, which each run boots anew, in the long tests."""
    if "kind" not in metafunc.fixturenames:
        return
    chosen = metafunc.config.getoption("--host")
    there = ["none", "vhost-user", "device", *["vhost-vsock"] * kernel_device_usable(), "lab"]
    marker = metafunc.definition.get_closest_marker("hosts")
    meant = marker.args if marker else there
    kinds = [one for one in there if one in meant and chosen in ("auto", one)]
    marks = [pytest.mark.long, pytest.mark.timeout(300)] if chosen == "auto" else []
    metafunc.parametrize(
        "kind",
        [
            pytest.param(one, marks=marks if one == "lab" else [])
            for one in kinds or [one for one in there if one in meant][:1]
        ],
    )


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    code: int
    out: bytes
    err: bytes


class Seat:
    """Starts `mpfw run` with a host's kind; knows what belongs to it."""

    def __init__(self, kind, image):
        self.kind = kind
        self.mark = secrets.token_hex(8)
        self.tmp = Path(tempfile.mkdtemp(prefix="s-", dir="/tmp"))  # short: sockets lie below it
        self.environment = {**os.environ, MARK: self.mark, "TMPDIR": str(self.tmp)}
        self._options = ["--host", kind, "--image", str(image)]

    def command(self, *words):
        """The command line: options, then a program."""
        return [sys.executable, "-m", "mpfw", "run", *self._options, *map(str, words)]

    def start(self, *words, **options):
        """A run as a subprocess.Popen."""
        options = {"stdin": subprocess.DEVNULL, "env": self.environment, **options}
        return subprocess.Popen(self.command(*words), **options)

    def __call__(self, *words, stdin=b"", timeout=200, **options):
        """A run to its end."""
        pipe = subprocess.PIPE
        process = self.start(*words, stdin=pipe, stdout=pipe, stderr=pipe, **options)
        try:
            out, err = process.communicate(stdin, timeout)
        finally:
            process.kill()
        return Result(process.returncode, out, err)

    def processes(self):
        """Those that are left, {number: command line}."""
        found = {}
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() in (place / "environ").read_bytes():
                    found[int(place.name)] = (place / "cmdline").read_bytes()
        return found

    def wait_for_nothing(self, seconds=5):
        """Fail unless no process and no file is left, soon."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) or list(self.tmp.iterdir()):
            assert time.monotonic() < deadline, (left, list(self.tmp.iterdir()))
            time.sleep(0.01)


@contextlib.contextmanager
def seated(kind, image):
    """A Seat, of which nothing is left in the end."""
    seat = Seat(kind, image)
    try:
        yield seat
        assert not seat.processes()
        assert not list(seat.tmp.iterdir())
    finally:
        for number in seat.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, 9)
        shutil.rmtree(seat.tmp)


@pytest.fixture(scope="session", autouse=True)
def signals_count():
    """Runs do not ignore signals because the tests' shell does (`&`, nohup)."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # an exec makes the default of it


@pytest.fixture
def seat(kind, image):
    """seat(words...): `mpfw run words...` with a host of some kind, to its end: a Result."""
    with seated(kind, image) as seat:
        yield seat


@pytest.fixture
def quick(image):
    """The same without a vsock device, for what has nothing to do with one."""
    with seated("none", image) as seat:
        yield seat


@pytest.fixture
def write(tmp_path):
    """write(name, text or bytes): a file's path."""

    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write
