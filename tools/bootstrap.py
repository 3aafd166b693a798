#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Bring a fresh Debian machine to where make can go on: packages, build/venv, outside sources.

Standard library only, Python 3.11 or newer. Does nothing, quickly, where all is in place.

usage: bootstrap.py STAGE...    stages: image (to build it), run (a ready image), test (all),
                                bench (`make bench`), fresh (`make test-fresh`)
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

from mpfw import paths
from mpfw.build import debian, debroot, deps
from mpfw.lab import image as lab_image

# Whose packages each stage needs.
STAGES = {
    "image": ["image"],
    "run": ["run"],
    "test": ["image", "run", "test"],
    "bench": ["image", "run", "bench"],
    "fresh": ["fresh"],
}


def main(stages: list[str]) -> None:
    """Provide everything for the stages named."""
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown or not stages:
        sys.exit(__doc__.split("usage: ")[1].strip())
    wanted = {need for stage in stages for need in STAGES[stage]}
    if "fresh" in wanted:
        debroot.require_root()
    install_packages(missing_packages(wanted))
    make_venv()
    if "image" in wanted:
        deps.provide("micropython")
    if "bench" in wanted:
        add_to_venv("requirements-bench.lock")
    if "bench" in wanted or ("run" in wanted and not Path("/dev/vhost-vsock").exists()):
        deps.provide("vhost-device-vsock")
    if "test" in wanted:
        lab_image.provide()


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


def _present(entry: dict[str, str]) -> bool:
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
    stamp = paths.VENV / paths.VENV_STAMP
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
    pip_install("--require-hashes", "-r", str(lock))
    pip_install("--no-build-isolation", "-e", str(paths.ROOT))
    stamp.write_text(key.hexdigest())


def add_to_venv(name: str) -> None:
    """Install what a further lock lists, once per venv."""
    lock = paths.ROOT / name
    stamp = paths.VENV / f".mpfw-{name}"
    base = (paths.VENV / paths.VENV_STAMP).read_text()
    key = hashlib.sha256((base + lock.read_text()).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == key:
        return
    say(f"adding {name} to build/venv")
    pip_install("--require-hashes", "-r", str(lock))
    stamp.write_text(key)


def pip_install(*what: str) -> None:
    """Have the venv's pip install exactly that, nothing that it depends on."""
    pip = [str(paths.VENV / "bin/python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    if subprocess.run([*pip, "install", "--no-deps", *what], check=False).returncode != 0:
        sys.exit(
            "bootstrap: pip could not install what the locks list (deps.toml, [python]).\n"
            "pip's own settings choose another index or a directory of wheels: PIP_INDEX_URL, "
            "PIP_FIND_LINKS."
        )


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
    except (deps.DependencyError, debian.AptError, debroot.RootError) as error:
        sys.exit(f"bootstrap: {error}")
