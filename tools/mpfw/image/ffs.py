# SPDX-License-Identifier: MIT
"""PI firmware volumes, files and sections as bytes (PI 1.8 vol. 3, chapters 2 and 3).

The header structures are edk2toollib's; the checksums, the sections and the rules are ours.
This module builds; mpfw.image.parse takes apart.
"""

import uuid
from dataclasses import dataclass

from edk2toollib.uefi.pi_firmware_file import EfiFirmwareFileSystemHeader
from edk2toollib.uefi.pi_firmware_volume import EFI_FVH_SIGNATURE, EfiFirmwareVolumeHeader

from mpfw.image import ImageError

ERASED = 0xFF

# EFI_FIRMWARE_VOLUME_HEADER, section 3.2.1.1; its block map has one entry and the terminator.
VOLUME_HEADER_SIZE = 72
VOLUME_REVISION = 2
FVB2_READ_ENABLED_CAP = 0x00000002
FVB2_READ_STATUS = 0x00000004
FVB2_MEMORY_MAPPED = 0x00000400
FVB2_ERASE_POLARITY = 0x00000800
VOLUME_ATTRIBUTES = (
    FVB2_READ_ENABLED_CAP | FVB2_READ_STATUS | FVB2_MEMORY_MAPPED | FVB2_ERASE_POLARITY
)

# EFI_FFS_FILE_HEADER, section 3.2.3.1.
FILE_HEADER_SIZE = 24
FILE_ALIGNMENT = 8
FFS_ATTRIB_CHECKSUM = 0x40
# Construction, header valid and data valid, as cleared bits: the erase polarity is 1.
FILE_STATE_VALID = 0xF8
FILE_RAW = 0x01
FILE_FREEFORM = 0x02
FILE_SECURITY_CORE = 0x03
FILE_PAD = 0xF0
FILE_TYPES = {
    FILE_RAW: "raw",
    FILE_FREEFORM: "freeform",
    FILE_SECURITY_CORE: "SEC core",
    FILE_PAD: "pad",
}
PAD_FILE_GUID = uuid.UUID(int=(1 << 128) - 1)

# EFI_COMMON_SECTION_HEADER, section 3.2.4.1.
SECTION_HEADER_SIZE = 4
SECTION_ALIGNMENT = 4
SECTION_SIZE_LIMIT = 1 << 24
SECTION_TE = 0x12
SECTION_USER_INTERFACE = 0x15
SECTION_RAW = 0x19
SECTION_TYPES = {SECTION_TE: "TE", SECTION_USER_INTERFACE: "UI", SECTION_RAW: "raw"}


def sum8(data: bytes) -> int:
    """The 8-bit sum of `data`; a correct checksum makes it 0 (section 3.2.3)."""
    return sum(data) & 0xFF


def sum16(data: bytes) -> int:
    """The 16-bit little-endian sum of `data`, whose length is even (section 3.2.1)."""
    return sum(memoryview(data).cast("H")) & 0xFFFF


def align_up(value: int, alignment: int) -> int:
    """The next multiple of `alignment` at or above `value`."""
    return -(-value // alignment) * alignment


def section(kind: int, data: bytes) -> bytes:
    """One section: header and data, not padded."""
    size = SECTION_HEADER_SIZE + len(data)
    if size >= SECTION_SIZE_LIMIT:
        raise ImageError(f"section of {size} bytes: the limit is {SECTION_SIZE_LIMIT - 1}")
    return size.to_bytes(3, "little") + bytes([kind]) + data


def ui_section(name: str) -> bytes:
    """A user interface section: the file's name for people (section 3.2.5.17)."""
    return section(SECTION_USER_INTERFACE, name.encode("utf-16-le") + b"\0\0")


def join_sections(*sections: bytes) -> bytes:
    """Sections one after the other, each starting 4-byte aligned."""
    body = b""
    for one in sections:
        body += bytes(-len(body) % SECTION_ALIGNMENT) + one
    return body


def file(kind: int, name: uuid.UUID, body: bytes) -> bytes:
    """One file: header with both checksums, and body; not padded."""
    header = EfiFirmwareFileSystemHeader()
    size = FILE_HEADER_SIZE + len(body)
    header.FileSystemGuid = name
    header.Type = kind
    header.Attributes = FFS_ATTRIB_CHECKSUM
    header.Size0, header.Size1, header.Size2 = size.to_bytes(3, "little")
    # The header's sum is taken with its file checksum and its state as zero.
    header.Checksum, header.State = 0, 0
    header.Checksum = -sum8(header.serialize()) & 0xFF
    header.Checksum |= (-sum8(body) & 0xFF) << 8
    header.State = FILE_STATE_VALID
    return bytes(header.serialize()) + body


def pad_file(size: int) -> bytes:
    """A pad file of exactly `size` bytes, header included (section 3.2.3.4)."""
    return file(FILE_PAD, PAD_FILE_GUID, bytes([ERASED]) * (size - FILE_HEADER_SIZE))


def volume_header(file_system: uuid.UUID, size: int, block_size: int) -> bytes:
    """A volume's header with its checksum."""
    header = EfiFirmwareVolumeHeader()
    header.ZeroVector = bytes(16)
    header.FileSystemGuid = file_system
    header.FvLength = size
    header.Signature = EFI_FVH_SIGNATURE
    header.Attributes = VOLUME_ATTRIBUTES
    header.HeaderLength = VOLUME_HEADER_SIZE
    header.Checksum = 0
    header.ExtHeaderOffset = 0
    header.Reserved = 0
    header.Revision = VOLUME_REVISION
    header.Blockmap0 = size // block_size | block_size << 32
    header.Blockmap1 = 0
    header.Checksum = -sum16(header.serialize()) & 0xFFFF
    return bytes(header.serialize())


@dataclass(frozen=True)
class VolumeSpec:
    """What a volume is to hold: files from the start, and one whose last byte is the volume's."""

    name: str
    size: int
    block_size: int
    file_system: uuid.UUID
    files: tuple[bytes, ...] = ()
    top_file: bytes = b""


def volume(spec: VolumeSpec) -> bytes:
    """The whole volume; ImageError with the missing bytes if the files do not fit."""
    image = volume_header(spec.file_system, spec.size, spec.block_size)
    for one in spec.files:
        image += one + bytes([ERASED]) * (-len(one) % FILE_ALIGNMENT)
    free = spec.size - len(image) - len(spec.top_file)
    if free < 0:
        raise ImageError(
            f"{spec.name} volume: its contents need {spec.size - free} bytes, "
            f"{-free} more than the volume's {spec.size}"
        )
    if not spec.top_file:
        return image + bytes([ERASED]) * free
    if 0 < free < FILE_HEADER_SIZE:
        raise ImageError(
            f"{spec.name} volume: {free} bytes are left below its top file, too few for the pad "
            f"file that must fill them; its contents are {FILE_HEADER_SIZE - free} bytes too big"
        )
    return image + (pad_file(free) if free else b"") + spec.top_file
