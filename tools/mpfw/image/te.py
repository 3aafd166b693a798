# SPDX-License-Identifier: MIT
"""Terse Executable images (PI 1.8 vol. 1, chapter 15): how the boot volume carries the IPL.

The IPL runs in place, so its one section must lie in flash exactly where it was linked: the
headers are padded up to that address, and nothing is relocated.
"""

import struct
from dataclasses import dataclass

from mpfw.image import ImageError, elf

# EFI_TE_IMAGE_HEADER: signature, machine, sections, subsystem, stripped size, entry, base of code,
# image base, two data directories.
HEADER = struct.Struct("<2sHBBHIIQ4I")
# EFI_IMAGE_SECTION_HEADER.
SECTION = struct.Struct("<8sIIIIIIHHI")
SIGNATURE = b"VZ"
MACHINE_X64 = 0x8664
SUBSYSTEM_BOOT_SERVICE_DRIVER = 11
SECTION_CODE_EXECUTE_READ = 0x60000020
PADDING = b"\0"


@dataclass(frozen=True)
class TerseExecutable:
    """Where a TE image's code lies in the image, and where it must lie in memory."""

    entry: int
    code_offset: int
    code_address: int
    code_size: int


def build(executable: bytes, address: int, code_address: int) -> bytes:
    """Wraps the IPL's ELF into a TE image at `address`, its code at `code_address`."""
    program = elf.read(executable)
    if len(program.segments) != 1:
        raise ImageError(f"IPL: {len(program.segments)} segments; it must have one, its code")
    (code,) = program.segments
    if code.flags & elf.PF_W or code.memsz != code.filesz:
        raise ImageError("IPL: it runs from flash and must not have writable data")
    if code.vaddr != code_address or program.entry != code_address:
        raise ImageError(
            f"IPL: linked at {code.vaddr:#x} with entry {program.entry:#x}; "
            f"layout.toml places both at {code_address:#x}"
        )
    # A section's place in the file is its relative address, less what was stripped, plus the TE
    # header. With StrippedSize the size of the TE header, both are counted from the image.
    offset = code_address - address
    headers = HEADER.pack(
        SIGNATURE,
        MACHINE_X64,
        1,
        SUBSYSTEM_BOOT_SERVICE_DRIVER,
        HEADER.size,
        offset,
        offset,
        address,
        *(0, 0, 0, 0),
    )
    headers += SECTION.pack(
        b".text",
        code.memsz,
        offset,
        code.filesz,
        offset,
        *(0, 0, 0, 0),
        SECTION_CODE_EXECUTE_READ,
    )
    if len(headers) > offset:
        raise ImageError(f"IPL: TE headers need {len(headers)} bytes, {offset} are there")
    return headers.ljust(offset, PADDING) + executable[code.offset : code.offset + code.filesz]


def read(data: bytes) -> TerseExecutable:
    """Parses a TE image of one section; ImageError if it is not one."""
    if len(data) < HEADER.size + SECTION.size or data[:2] != SIGNATURE:
        raise ImageError("TE header: not a TE image")
    _, machine, sections, _, stripped, entry, _, base = HEADER.unpack_from(data)[:8]
    if machine != MACHINE_X64 or sections != 1:
        raise ImageError("TE header: not an x86-64 image of one section")
    _, _, address, size, pointer = SECTION.unpack_from(data, HEADER.size)[:5]
    offset = pointer - stripped + HEADER.size
    if offset < HEADER.size + SECTION.size or offset + size > len(data):
        raise ImageError("TE section: outside the image")
    return TerseExecutable(base + entry, offset, base + address, size)
