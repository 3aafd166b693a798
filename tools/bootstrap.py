#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bring a fresh Debian machine to where make can go on: packages, build/venv, outside sources.

Standard library only, Python 3.11 or newer. Does nothing, quickly, where all is in place.

usage: bootstrap.py STAGE...    stages: image (what a build needs), run, test
"""

import sys

if sys.version_info < (3, 11):
    sys.exit(f"bootstrap: {sys.executable} is Python {sys.version.split()[0]}; 3.11 is needed")

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from mpfw import deps, lab_initramfs, paths

# What each stage needs beyond its own packages.
STAGES = {"image": ["image"], "run": ["image", "run"], "test": ["image", "run", "test"]}


def main(stages: list[str]) -> None:
    """Provide everything for the stages named."""
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown or not stages:
        sys.exit(__doc__.split("usage: ")[1].strip())
    wanted = {need for stage in stages for need in STAGES[stage]}
    install_packages(missing_packages(wanted))
    make_venv()
    deps.provide("micropython")
    if "run" in wanted and not Path("/dev/vhost-vsock").exists():
        deps.provide("vhost-device-vsock")
    if "test" in wanted:
        lab_initramfs.provide()


def missing_packages(stages: set[str]) -> list[str]:
    """Debian packages that the stages need and the machine lacks."""
    packages = {
        name: entry
        for name, entry in deps.manifest()["packages"].items()
        if stages & set(entry["stages"])
    }
    absent = [name for name, entry in packages.items() if not _present(entry)]
    if importlib.util.find_spec("ensurepip") is None and not (paths.VENV / "bin/python").exists():
        absent.append("python3-venv")
    if not absent:
        return []
    query = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *absent],
        capture_output=True,
        text=True,
        check=False,
    )
    return [name for name in absent if f"{name} installed" not in query.stdout.splitlines()]


def _present(entry: dict) -> bool:
    if "command" in entry:
        return shutil.which(entry["command"]) is not None
    return "path" in entry and Path(entry["path"]).exists()


def install_packages(packages: list[str]) -> None:
    """Install Debian packages as root or through sudo; else name them in one line and stop."""
    if not packages:
        return
    names = " ".join(packages)
    manual = f"bootstrap: as root, run: apt-get install --no-install-recommends {names}"
    if shutil.which("apt-get") is None:
        sys.exit(f"bootstrap: this is no Debian machine; install what Debian calls: {names}")
    prefix = []
    if os.geteuid() != 0:
        prefix = ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]
        if shutil.which("sudo") is None:
            sys.exit(manual)
    say(f"installing Debian packages: {names}")
    apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    install = [*apt, "install", "-y", "--no-install-recommends", *packages]
    if subprocess.run([*apt, "update"], check=False).returncode != 0 and prefix:
        sys.exit(manual)
    if subprocess.run(install, check=False, stdout=subprocess.DEVNULL).returncode != 0:
        sys.exit(f"bootstrap: apt could not install: {names}\n{manual}")


def make_venv() -> None:
    """build/venv with the project (editable) and everything in requirements.lock."""
    lock = paths.ROOT / deps.manifest()["python"]["lock"]
    stamp = paths.VENV / ".mpfw-inputs"
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())
    # A venv holds absolute paths: it is good only where it was made.
    inputs = [project["build-system"], project["project"], lock.read_text(), str(paths.VENV)]
    key = hashlib.sha256(repr(inputs).encode())
    if stamp.exists() and stamp.read_text() == key.hexdigest() and _works(paths.VENV):
        return
    say("making build/venv")
    if not _works(paths.VENV):
        shutil.rmtree(paths.VENV, ignore_errors=True)
        # Where the python3 that runs us lacks venv (Debian's without python3-venv, which was
        # installed a moment ago), Debian's own has it now.
        python = sys.executable if importlib.util.find_spec("ensurepip") else "/usr/bin/python3"
        subprocess.run([python, "-m", "venv", str(paths.VENV)], check=True)
    pip = [str(paths.VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    try:
        subprocess.run(
            [*pip, "install", "--no-deps", "--require-hashes", "-r", str(lock)], check=True
        )
        subprocess.run(
            [*pip, "install", "--no-deps", "--no-build-isolation", "-e", str(paths.ROOT)],
            check=True,
        )
    except subprocess.CalledProcessError:
        sys.exit(
            f"bootstrap: pip could not install what {lock.name} lists (deps.toml, [python]).\n"
            "pip's own settings choose another index or a directory of wheels: PIP_INDEX_URL, "
            "PIP_FIND_LINKS."
        )
    stamp.write_text(key.hexdigest())


def _works(venv: Path) -> bool:
    python = venv / "bin/python"
    if not python.exists():
        return False
    return subprocess.run([str(python), "-c", ""], check=False).returncode == 0


def say(text: str) -> None:
    print(f"bootstrap: {text}", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except deps.DependencyError as error:
        sys.exit(f"bootstrap: {error}")
