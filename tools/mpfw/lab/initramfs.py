# SPDX-License-Identifier: MIT
"""Initramfs images out of Debian packages, without root: the pieces that the lab's guest and the
benchmark's Linux guest are both made with. Packages are unpacked as plain files, a cpio archive
is written here; packages are trusted as far as apt's signature check goes.
"""

import lzma
import os
import re
import stat
import subprocess
from pathlib import Path
from typing import IO

# Where /bin and so on lead: packages of older suites still have files there.
MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}


def unpack(archives: list[Path], root: Path) -> None:
    """Unpack packages into one tree, where bin, lib and so on are below usr/ (merged /usr)."""
    for new in MERGED.values():
        (root / new).mkdir(parents=True, exist_ok=True)
    for old, new in MERGED.items():
        (root / old).symlink_to(new)
    for archive in archives:
        with subprocess.Popen(
            ["dpkg-deb", "--fsys-tarfile", archive], stdout=subprocess.PIPE
        ) as reader:
            # --keep-directory-symlink: a package's own /lib must not replace the link.
            command = ["tar", "-x", "-C", str(root), "--keep-directory-symlink", "--no-same-owner"]
            subprocess.run(command, stdin=reader.stdout, check=True)
        if reader.returncode != 0:
            raise subprocess.CalledProcessError(reader.returncode, reader.args)


def kernel(root: Path) -> Path:
    """The one kernel among the packages unpacked at `root`."""
    (found,) = [*root.glob("boot/vmlinuz-*"), *root.glob("usr/lib/modules/*/vmlinuz")]
    return found


def versions(archives: list[Path]) -> str:
    """A line for each package file: its name and version."""
    names = [path.stem.split("_")[:2] for path in archives]
    return "".join(sorted(f"{name} {version.replace('%3a', ':')}\n" for name, version in names))


def add_modules(root: Path, wanted: list[str], cpio: "Cpio", place: str) -> None:
    """Add kernel modules and what they depend on to the directory `place` of an archive.

    The file `place`/modules lists their paths in the order to load them in.
    """
    files = root.glob("usr/lib/modules/*/**/*.ko*")
    by_name = {path.name.split(".ko")[0].replace("-", "_"): path for path in files}
    order: list[str] = []

    def add(name: str) -> None:
        name = name.replace("-", "_")
        if name in order or name not in by_name:  # not a file: built into this kernel
            return
        data = by_name[name].read_bytes()
        if by_name[name].suffix == ".xz":
            data = lzma.decompress(data)
        depends = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in depends.group(1).decode().split(",") if depends else []:
            add(other)
        order.append(name)
        cpio.file(f"{place}/{name}.ko", data)

    for name in wanted:
        add(name)
    cpio.file(f"{place}/modules", "".join(f"/{place}/{name}.ko\n" for name in order).encode())


class Cpio:
    """Writes a cpio archive in the "newc" form (Linux, initramfs buffer format)."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self._inode = 0
        self._made: set[str] = set()

    def directory(self, name: str) -> None:
        self._entry(name, stat.S_IFDIR | 0o755)

    def symlink(self, name: str, target: str) -> None:
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._entry(name, stat.S_IFREG | mode, data)

    def device(self, name: str, major: int, minor: int) -> None:
        self._entry(name, stat.S_IFCHR | 0o600, device=(major, minor))

    def copy(self, name: str, path: Path) -> None:
        """Add a link or a regular file as it is on this machine."""
        if path.is_symlink():
            self.symlink(name, os.readlink(path))
        else:
            self.file(name, path.read_bytes(), path.stat().st_mode & 0o777)

    def end(self) -> None:
        """Close the archive; another one may follow it in the same file."""
        self._entry("TRAILER!!!", 0)

    def _entry(
        self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)
    ) -> None:
        for parent in reversed(Path(name).parents[:-1]):
            if str(parent) not in self._made:
                self._made.add(str(parent))
                self.directory(str(parent))
        if stat.S_ISDIR(mode):
            self._made.add(name)
        self._inode += 1
        path = name.encode() + b"\0"
        fields = (self._inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        self._file.write(header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4))
