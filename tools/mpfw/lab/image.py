# SPDX-License-Identifier: MIT
"""The lab guest's kernel and initramfs, made from Debian packages of one suite.

`provide(suite)` makes them once and keeps them under build/lab/ until contents.toml, the package
list in deps.toml or the code that makes them change. What to put in, and what it needs, is decided
here; mpfw.lab.initramfs does the unpacking and the writing.
"""

import fnmatch
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.build import debian, deps
from mpfw.lab import initramfs
from mpfw.lab.initramfs import Cpio

LAB = paths.ROOT / "ci" / "lab"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"


@dataclass(frozen=True)
class LabImage:
    """What one suite's lab boots: its kernel, the archive of its files, its packages' versions."""

    suite: str
    kernel: Path
    archive: Path
    versions: dict[str, str]

    def describe(self) -> str:
        """One line: the suite, its kernel, its QEMU."""
        kernel, qemu = (
            self.versions[name] for name in ("linux-image-cloud-amd64", "qemu-system-x86")
        )
        return f"Debian {self.suite}, Linux {kernel}, QEMU {qemu}"


def default_suite() -> str:
    """The Debian suite that the lab is made of: LAB_SUITE, else the machine's own release."""
    return os.environ.get("LAB_SUITE") or debian.codename() or "bookworm"


def provide(suite: str | None = None, build: Path = paths.BUILD) -> LabImage:
    """The lab image of a Debian suite, from build/lab or made now. Raises DependencyError."""
    suite = suite or default_suite()
    packages = deps.manifest()["lab"]["packages"]
    key = hashlib.sha256("\n".join([suite, *packages]).encode())
    for source in (LAB / "contents.toml", Path(__file__), Path(initramfs.__file__)):
        key.update(source.read_bytes())
    place = build / "lab" / f"{suite}-{key.hexdigest()[:12]}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{suite}-") as scratch:
            product = _make(suite, packages, build, Path(scratch))
            for old in place.parent.glob(f"{suite}-*"):
                shutil.rmtree(old)
            product.rename(place)
    versions = dict(line.split(" ") for line in (place / "versions").read_text().splitlines())
    return LabImage(suite, place / "vmlinuz", place / "files.cpio", versions)


def _make(suite: str, packages: list[str], build: Path, scratch: Path) -> Path:
    """Fetch and unpack the packages, choose files, write the products; returns their directory."""
    try:
        archives = debian.Suite(build / "apt", suite, "deb").closure(packages, scratch / "debs")
    except debian.AptError as error:
        raise deps.DependencyError(
            f"cannot fetch the lab's packages ([lab] in deps.toml) from Debian {suite}:\n{error}"
        ) from error
    root, product = scratch / "root", scratch / "product"
    product.mkdir()
    initramfs.unpack(archives, root)
    contents = tomllib.loads((LAB / "contents.toml").read_text())
    shutil.copyfile(initramfs.kernel(root), product / "vmlinuz")
    chosen = _python_library(root, contents["python-without"])
    chosen |= {root / name for name in contents["files"]}
    for name in contents["programs"]:
        chosen |= _with_links(root, root / name)
    for pattern in contents["plugins"]:
        chosen |= set(root.glob(pattern))
    chosen |= _libraries(root, chosen)
    with open(product / "files.cpio", "wb") as file:
        cpio = Cpio(file)
        for old, new in initramfs.MERGED.items():
            cpio.symlink(old, new)
        for path in sorted(chosen):
            cpio.copy(str(path.relative_to(root)), path)
        for name in contents["busybox"]:
            cpio.symlink(f"usr/bin/{name}", "busybox")
        initramfs.add_modules(root, contents["modules"], cpio, "lab")
        initramfs.add_modules(root, contents["guest-modules"], cpio, "lab/guest")
        for name in ("dev", "proc", "sys", "tmp", "root", "run", "var"):
            cpio.directory(name)
        cpio.device("dev/console", 5, 1)
        cpio.end()
    (product / "versions").write_text(initramfs.versions(archives))
    return product


def _with_links(root: Path, path: Path) -> set[Path]:
    """`path` and, if it is a link, all it leads to, so that the link works in the archive."""
    chain = {path}
    while path.is_symlink():
        target = os.readlink(path)
        path = root / target[1:] if target.startswith("/") else path.parent / target
        path = path.parent.resolve() / path.name
        chain.add(path)
    return chain


def _loader(root: Path) -> list[str]:
    """The suite's own dynamic loader: runs the suite's programs on this machine."""
    libraries = root / _LIBRARIES
    return [str(libraries / "ld-linux-x86-64.so.2"), "--library-path", str(libraries)]


def _libraries(root: Path, files: set[Path]) -> set[Path]:
    """Every shared library that the ELF files among `files` need, as the suite's loader says."""
    found = _with_links(root, root / "usr/lib64/ld-linux-x86-64.so.2")
    for path in files:
        if path.is_symlink() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        listing = subprocess.run(
            [*_loader(root), "--list", str(path)], capture_output=True, text=True, check=False
        )
        for name in re.findall(r"=> (.+?)(?: \(.*)?$", listing.stdout, re.MULTILINE):
            if not name.startswith(str(root)):
                raise FileNotFoundError(f"{path} needs a library outside the packages: {name}")
            found |= _with_links(root, Path(name).parent.resolve() / Path(name).name)
    return found


def _python_library(root: Path, without: list[str]) -> set[Path]:
    """The standard library's files, and bytecode for them made by the suite's own Python."""
    (library,) = root.glob("usr/lib/python3.[0-9]*")
    excluded = [f"{name}{end}" for name in without for end in ("", "/*")]

    def kept(path: Path) -> bool:
        name = str(path.relative_to(library))
        return not any(fnmatch.fnmatchcase(name, pattern) for pattern in excluded)

    for path in [path for path in library.rglob("*") if not kept(path)]:
        if path.is_file() or path.is_symlink():
            path.unlink()
    python = [*_loader(root), str(root / "usr/bin" / library.name), "-I", "-m", "compileall"]
    # Unchecked: a start in the guest need not look at the sources at all.
    options = ["-q", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    environment = {"PYTHONHOME": str(root / "usr"), "PATH": os.defpath}
    subprocess.run([*python, *options, str(library)], env=environment, check=True)
    return {path for path in library.rglob("*") if path.is_file()}
