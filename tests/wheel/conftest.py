# SPDX-License-Identifier: MIT
"""Fixtures: the wheel in a fresh environment, and a user who has that and nothing else.

As root the user is another one, who cannot write to the tree; where the tests do not run as root,
the user is their own, in a home directory of its own.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from mpfw import paths
from mpfw.build import deps, dist

NOBODY = 65534
TOOLS = ("mypy", "pytest", "pytest-xdist")


def pytest_collection_modifyitems(items):
    """They make an environment, with pip: not for every `make test`."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.long)


class User:
    """Somebody who has installed the wheel. `home` is theirs, `bin` is the environment's."""

    def __init__(self, site: Path, home: Path):
        self.home = home
        self.bin = site / "bin"
        self._identity: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(home, NOBODY, NOBODY)
            self._identity = {"user": NOBODY, "group": NOBODY, "extra_groups": []}

    def environment(self, **changes):
        return {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **changes}

    def run(self, *command, timeout=100, **options):
        """Run a program of the environment to its end, in the home directory."""
        environment = self.environment(**options.pop("env", {}))
        argv = [str(self.bin / command[0]), *command[1:]]
        return subprocess.run(
            argv,
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            **self._identity,
            **options,
        )

    def write(self, name, text):
        """A file in the home directory."""
        path = self.home / name
        path.write_text(text)
        path.chmod(0o644)
        return path


@pytest.fixture(scope="session")
def place():
    """A directory that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="mpfw wheel "))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def wheel(place):
    """The wheel, just made."""
    made = dist.make(place / "dist", place / "tree")
    return next(path for path in made if path.suffix == ".whl")


@pytest.fixture(scope="session")
def site(place, wheel):
    """A fresh virtual environment with the wheel, and pytest as its users have it."""
    path = place / "env"
    subprocess.run([python_for_all(), "-m", "venv", "--without-pip", path], check=True)
    wanted = [each for each in locked() if each.partition("==")[0] in TOOLS]
    pip = [paths.VENV / "bin/python", "-m", "pip", "--python", path / "bin/python", "install"]
    subprocess.run([*pip, "--quiet", wheel, *wanted], check=True, stderr=subprocess.DEVNULL)
    return path


def python_for_all():
    """An interpreter that every user may run: ours may lie in somebody's home directory."""
    ours = Path(sys.base_prefix, "bin/python3").resolve()
    readable = all(each.stat().st_mode & 0o005 == 0o005 for each in ours.parents)
    return ours if readable else Path("/usr/bin/python3")


def locked():
    """What the lock pins: name==version."""
    lines = (paths.ROOT / "requirements.lock").read_text().splitlines()
    return [line.removesuffix(" \\") for line in lines if "==" in line]


@pytest.fixture
def newcomer(site, place):
    """A user with an empty home directory."""
    home = Path(tempfile.mkdtemp(prefix="home ", dir=place))
    home.chmod(0o755)
    return User(site, home)


@pytest.fixture
def user(newcomer):
    """A user whose cache has the daemon's package already: nothing is downloaded."""
    package = deps.dependency("vhost-device-vsock")
    downloads = newcomer.home / ".cache/mpfw/downloads"
    downloads.mkdir(parents=True)
    shutil.copy(deps.fetch(package, paths.BUILD), downloads)
    if os.geteuid() == 0:
        for each in (newcomer.home / ".cache").rglob("*"):
            os.chown(each, NOBODY, NOBODY)
        os.chown(newcomer.home / ".cache", NOBODY, NOBODY)
    return newcomer
