# SPDX-License-Identifier: MIT
"""deps.toml: the outside inputs, and how each is brought here, checked and unpacked.

Trusts nothing that is downloaded before its digest agrees. Standard library only.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpfw import paths
from mpfw.build import debian

MANIFEST = paths.data(paths.DEPS_MANIFEST, paths.ROOT)


class DependencyError(Exception):
    """An outside input could not be had; the message names it and says what the user can do.

    `why` is the reason alone, in one line.
    """

    def __init__(self, message: str, why: str = ""):
        super().__init__(message)
        self.why = why or message


@dataclass(frozen=True)
class Dependency:
    """One downloaded entry of deps.toml (fields as there)."""

    name: str
    origin: str
    suite: str
    package: str
    version: str
    file: str
    sha256: str
    unpack: str
    override: str
    override_means: str

    @property
    def source(self) -> str:
        """Where it comes from, in deps.toml's terms."""
        kind = self.origin.replace("debian-", "Debian ")
        return f"{kind} package {self.package} {self.version}, suite {self.suite}"


def manifest() -> dict[str, Any]:
    """deps.toml as a dictionary."""
    return tomllib.loads(MANIFEST.read_text())


def dependency(name: str) -> Dependency:
    """The downloaded dependency `name`; KeyError if deps.toml has none."""
    entry = manifest()[name]
    return Dependency(name=name, **{key.replace("-", "_"): value for key, value in entry.items()})


def provide(name: str, build: Path | None = None) -> Path:
    """The place of dependency `name`: the user's own, or ours, fetched and unpacked if need be.

    Returns what the override variable holds if it is set, else the directory the file was
    unpacked to, below `build` (by default build/ of the tree, or the user's cache). Raises
    DependencyError, OSError.
    """
    build = build or paths.fetched()
    dep = dependency(name)
    own = os.environ.get(dep.override)
    if own:
        place = Path(own).resolve()
        if not place.exists():
            raise DependencyError(f"{dep.override}={own}: no such file or directory")
        return place
    parent = build if dep.origin == "debian-source" else build / "deps"
    target = parent / dep.unpack
    stamp = target / ".mpfw-sha256"
    if not _fits(stamp, dep):
        with _alone(build):
            if not _fits(stamp, dep):  # somebody else may have fetched it meanwhile
                _unpack(dep, fetch(dep, build), target)
                stamp.write_text(dep.sha256)
    if dep.origin != "debian-source":
        _link(parent / name, target)
    return target


def _fits(stamp: Path, dep: Dependency) -> bool:
    return stamp.exists() and stamp.read_text() == dep.sha256


@contextmanager
def _alone(build: Path) -> Iterator[None]:
    """One process at a time fetches to a directory."""
    build.mkdir(parents=True, exist_ok=True)
    with open(build / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _link(link: Path, target: Path) -> None:
    """Have `link` lead to `target`, beside it: a way there that needs no reading of deps.toml."""
    if not link.is_symlink() or os.readlink(link) != target.name:
        new = link.with_name(f".{link.name}.{os.getpid()}")
        new.symlink_to(target.name)
        new.replace(link)


def fetch(dep: Dependency, build: Path) -> Path:
    """Download the file of `dep` into build/downloads unless it is there; check its digest."""
    downloads = build / "downloads"
    path = downloads / dep.file
    if path.exists() and digest(path) == dep.sha256:
        return path
    path.unlink(missing_ok=True)
    try:
        if dep.origin == "debian-source":
            suite = debian.Suite(build / "apt", dep.suite, "deb-src")
            suite.source(dep.package, dep.version, downloads)
        else:
            suite = debian.Suite(build / "apt", dep.suite, "deb")
            suite.binary({dep.package: dep.version}, downloads)
    except debian.AptError as error:
        raise _cannot(dep, str(error), downloads) from error
    if not path.exists():
        raise _cannot(dep, f"the package holds no file {dep.file}", downloads)
    found = digest(path)
    if found != dep.sha256:
        path.unlink()
        raise _cannot(
            dep, f"{dep.file} has SHA-256 {found},\ndeps.toml wants {dep.sha256}", downloads
        )
    return path


def digest(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _cannot(dep: Dependency, reason: str, downloads: Path) -> DependencyError:
    """The error: what could not be had, why, what to do."""
    words = reason.splitlines() or ["no reason was given"]
    errors = [line.removeprefix("E: ") for line in words if line.startswith("E: ")]
    place = "build/downloads" if paths.IN_TREE else str(downloads)
    return DependencyError(_explain(dep, reason, place), (errors or words)[-1].strip())


def _explain(dep: Dependency, reason: str, downloads: str) -> str:
    gone = f"Version '{dep.version}'" in reason or "Can not find version" in reason
    lines = [f"cannot fetch {dep.name}: {dep.source}"]
    lines += [f"    {line}" for line in reason.splitlines()]
    if gone:
        lines.append(
            f"{dep.version} is no longer in Debian's {dep.suite}: the [{dep.name}] entry of "
            "deps.toml needs a newer version and its digest."
        )
    lines.append(
        f"To bring your own: set {dep.override} to {dep.override_means},\n"
        f"or put {dep.file} into {downloads}/."
    )
    return "\n".join(lines)


def _unpack(dep: Dependency, archive: Path, target: Path) -> None:
    """Unpack into a directory beside `target`, then move it there in one step."""
    partial = target.with_name(f".{target.name}.partial.{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(partial)], check=True)
        top = partial
    else:
        with tarfile.open(archive) as tar:
            if hasattr(tarfile, "data_filter"):
                tar.extractall(partial, filter="data")
            else:  # Python 3.11.2 has no filters yet; the digest vouches for what is unpacked
                tar.extractall(partial)
        (top,) = partial.iterdir()
    shutil.rmtree(target, ignore_errors=True)
    top.rename(target)
    shutil.rmtree(partial, ignore_errors=True)
