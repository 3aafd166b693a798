# SPDX-License-Identifier: MIT
"""The guest's disk: a file that QEMU shows it as a second flash chip, pflash unit 1.

Both chips lie below 4 GiB, so QEMU bounds what they have together: 8 MiB unless its machine option
max-fw-size says otherwise. The guest formats a new file (mpy_modules/_disk.py).
"""

import fcntl
import os
import re
import struct
from dataclasses import dataclass, replace
from pathlib import Path

from mpfw.image import layout

KIB = 1024
MIB = 1024 * KIB
NEW_SIZE = MIB  # of a file that is made without a word about its size
SMALLEST = 2  # blocks: littlefs keeps its root in two
DEFAULT_LIMIT = 8 * MIB  # image and disk together, as QEMU has it

_SUFFIXES = {"": 1, "K": KIB, "M": MIB, "G": 1024 * MIB}
_FLOCK = struct.Struct("hh4xqqi4x")  # struct flock of fcntl(2)
_QEMU_LOCKS = range(100, 300)  # the bytes of a file that QEMU locks while it is a guest's


class DiskError(Exception):
    """The file cannot be a disk; the message is one sentence that says why."""


@dataclass(frozen=True)
class Disk:
    """A file, and its size in bytes; 0 is what the file has, or NEW_SIZE for a new one."""

    path: Path
    size: int = 0

    @classmethod
    def parse(cls, text: str) -> "Disk":
        """From FILE or FILE,SIZE, as `mpfw run --disk` takes them. Raises DiskError."""
        name, comma, tail = text.rpartition(",")
        if not comma or (tail and not tail[0].isdigit()):
            return cls(_named(text))  # the comma is the file name's
        return cls(_named(name), _bytes(tail))

    def prepare(self, image: Path, machine: str = "q35") -> "Disk":
        """Make the file if it is missing or empty; this disk with its size in bytes.

        The arguments are those of `checked`. Raises DiskError, and then has made nothing.
        """
        disk = self.checked(image, machine)
        disk.make()
        return disk

    def checked(self, image: Path, machine: str = "q35") -> "Disk":
        """This disk with its size in bytes; the file may still be missing.

        It goes beside the flash image `image`; `machine` is the value of QEMU's -machine. Raises
        DiskError if it cannot be had.
        """
        try:
            there = self._existing()
            size = self.size or there or NEW_SIZE
            if there and size != there:
                raise DiskError(
                    f"{self.path} has {_text(there)}, not {_text(size)}: leave the size out, or "
                    "name a new file"
                )
            self._check(size, image.stat().st_size, _limit(machine))
        except OSError as error:
            raise DiskError(f"{self.path} cannot be a disk: {error.strerror}") from None
        return replace(self, size=size)

    def make(self) -> None:
        """Give the file its size if it is missing or empty. Raises DiskError."""
        try:
            with open(self.path, "ab") as file:
                if not file.tell():
                    file.truncate(self.size)
        except OSError as error:
            raise DiskError(f"{self.path} cannot be a disk: {error.strerror}") from None

    def _existing(self) -> int:
        """The file's size in bytes, 0 if there is none."""
        if not self.path.exists():
            return 0
        if not self.path.is_file():
            raise DiskError(f"{self.path} cannot be a disk: it is no file")
        with open(self.path, "r+b") as file:
            if _locked(file.fileno()):
                raise DiskError(
                    f"{self.path} is another guest's disk at this moment: end that guest, or name "
                    "another file"
                )
            return os.fstat(file.fileno()).st_size

    def _check(self, size: int, image: int, limit: int) -> None:
        block = layout.load().block_size
        if size % block or size < SMALLEST * block:
            raise DiskError(
                f"{self.path} cannot be a disk with {_text(size)}: it needs a multiple of "
                f"{_text(block)}, {_text(SMALLEST * block)} at least"
            )
        if image + size > limit:
            raise DiskError(
                f"a disk of {_text(size)} is too large: QEMU has room for {_text(limit - image)} "
                f"beside the image ({_text(image)}), unless -machine has a larger max-fw-size"
            )


def _named(name: str) -> Path:
    """The path, absolute: QEMU takes a colon before the first slash for a protocol's."""
    if not name:
        raise DiskError("a disk is FILE or FILE,SIZE, such as disk.img,1M: the file is missing")
    return Path(name).absolute()


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)([KMG]?)", text.upper())
    if not found or not int(found[1]):
        raise DiskError(f"{text!r} is no size of a disk: write bytes, or 512K, or 1M")
    return int(found[1]) * _SUFFIXES[found[2]]


def _limit(machine: str) -> int:
    """What image and disk may have together, in bytes, on this machine of QEMU's."""
    said = re.search(r",max-fw-size=(\d+[kKmMgG]?)(?=,|$)", machine)
    return _bytes(said[1]) if said else DEFAULT_LIMIT


def _text(size: int) -> str:
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"


def _locked(fd: int) -> bool:
    """Whether a QEMU has the file open."""
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _QEMU_LOCKS.start, len(_QEMU_LOCKS), 0)
    answer = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return bool(answer[0] != fcntl.F_UNLCK)
