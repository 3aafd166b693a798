# SPDX-License-Identifier: MIT
"""As much of ELF-64 as the image needs: will the IPL load this payload, where is its code?

The rules are those of firmware/ipl/elf.c, so that a payload the IPL would refuse is refused at
build time.
"""

import struct
from dataclasses import dataclass

from mpfw.image import ImageError

HEADER = struct.Struct("<4sBBBBB7xHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
CLASS_64, LITTLE, EXEC, X86_64 = 2, 1, 2, 62
PT_LOAD, PT_INTERP = 1, 3
PF_X, PF_W, PF_R = 1, 2, 4
PAGE = 0x1000
FOUR_GIB = 1 << 32


@dataclass(frozen=True)
class Segment:
    """One PT_LOAD segment; sizes and addresses in bytes."""

    offset: int
    vaddr: int
    filesz: int
    memsz: int
    flags: int

    @property
    def end(self) -> int:
        """The page-aligned end of its memory."""
        return -(-(self.vaddr + self.memsz) // PAGE) * PAGE

    @property
    def permissions(self) -> str:
        """As in `ls`: r-x."""
        bits = ((PF_R, "r"), (PF_W, "w"), (PF_X, "x"))
        return "".join(letter if self.flags & bit else "-" for bit, letter in bits)


@dataclass(frozen=True)
class Executable:
    """A static executable's entry point and loaded segments."""

    entry: int
    segments: tuple[Segment, ...]


def read(data: bytes) -> Executable:
    """Parses a static x86-64 executable; ImageError says what it is instead."""
    if len(data) < HEADER.size or data[:4] != b"\x7fELF":
        raise ImageError("ELF header: not an ELF")
    fields = HEADER.unpack_from(data)
    _, elf_class, encoding, _, _, _, kind, machine, _, entry, phoff = fields[:11]
    phentsize, phnum = fields[14], fields[15]
    if (elf_class, encoding, kind, machine) != (CLASS_64, LITTLE, EXEC, X86_64):
        raise ImageError("ELF header: not a static x86-64 executable")
    if phentsize != SEGMENT.size or phoff + phnum * SEGMENT.size > len(data):
        raise ImageError("ELF header: segment table outside the file")
    segments = []
    for index in range(phnum):
        kind, flags, offset, vaddr, _, filesz, memsz, _ = SEGMENT.unpack_from(
            data, phoff + index * SEGMENT.size
        )
        if kind == PT_INTERP:
            raise ImageError("ELF segment: asks for a dynamic loader")
        if kind != PT_LOAD or memsz == 0:
            continue
        if offset + filesz > len(data) or filesz > memsz:
            raise ImageError("ELF segment: outside the file")
        segments.append(Segment(offset, vaddr, filesz, memsz, flags))
    return Executable(entry, tuple(segments))


def check_payload(data: bytes, lowest: int) -> Executable:
    """Reads a payload and holds it to the boot contract: pages, order, W^X, entry in code.

    `lowest` is the lowest address that its segments may have.
    """
    executable = read(data)
    for segment in executable.segments:
        if segment.vaddr % PAGE or segment.vaddr < lowest or segment.end > FOUR_GIB:
            raise ImageError(f"ELF segment: address {segment.vaddr:#x}")
        if segment.flags & PF_W and segment.flags & PF_X:
            raise ImageError(f"ELF segment: {segment.vaddr:#x} is both writable and executable")
        lowest = segment.end
    if not any(
        s.flags & PF_X and s.vaddr <= executable.entry < s.end for s in executable.segments
    ):
        raise ImageError(f"ELF header: entry point {executable.entry:#x} outside the code")
    return executable
