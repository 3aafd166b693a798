# SPDX-License-Identifier: MIT
"""Takes firmware volumes apart (PI 1.8 vol. 3, chapters 2 and 3), believing nothing unchecked.

Damage does not stop the parser where it can go on: it is collected as findings. The rules, their
order and the parts' names are those of the IPL's own reader, firmware/ipl/volume.c.
"""

import io
import uuid
from dataclasses import dataclass, field

from edk2toollib.uefi.pi_firmware_file import EfiFirmwareFileSystemHeader
from edk2toollib.uefi.pi_firmware_volume import EFI_FVH_SIGNATURE, EfiFirmwareVolumeHeader

from mpfw.image import ffs

SIGNATURE_OFFSET = 40


@dataclass(frozen=True)
class Finding:
    """One thing wrong: where (bytes from the image's start), in which part, and what."""

    offset: int
    part: str
    message: str

    def __str__(self) -> str:
        return f"{self.offset:#08x}: {self.part}: {self.message}"


@dataclass(frozen=True)
class Section:
    """A section of a file; `offset` is its header's, from the image's start."""

    offset: int
    kind: int
    data: bytes


@dataclass(frozen=True)
class File:
    """A file of a volume; `size` includes its header."""

    offset: int
    name: uuid.UUID
    kind: int
    size: int
    body: bytes
    sections: tuple[Section, ...] = ()

    @property
    def label(self) -> str:
        """Its user interface name, or what else it is called."""
        for one in self.sections:
            if one.kind == ffs.SECTION_USER_INTERFACE:
                return one.data.decode("utf-16-le", "replace").rstrip("\0")
        return "" if self.kind == ffs.FILE_PAD else str(self.name)

    def section(self, kind: int) -> Section | None:
        """Its first section of a kind."""
        return next((one for one in self.sections if one.kind == kind), None)


@dataclass
class Volume:
    """A volume and what is wrong with it; offsets from the image's start."""

    offset: int
    size: int
    files: list[File] = field(default_factory=list)
    free: int = 0
    findings: list[Finding] = field(default_factory=list)

    def add(self, offset: int, part: str, message: str) -> None:
        """Records one finding; `offset` counts from the volume's start."""
        self.findings.append(Finding(self.offset + offset, part, message))

    def file(self, name: uuid.UUID) -> File | None:
        """The file of that name."""
        return next((one for one in self.files if one.name == name), None)


def _all_erased(data: bytes) -> bool:
    return data == bytes([ffs.ERASED]) * len(data)  # counting takes ten times as long


def _first_not_erased(data: bytes) -> int:
    return next(index for index, byte in enumerate(data) if byte != ffs.ERASED)


def _check_volume_header(volume: Volume, data: bytes, file_system: uuid.UUID) -> bool:
    """Records what is wrong with the header; True if the files behind it can be looked for."""
    signature = data[SIGNATURE_OFFSET : SIGNATURE_OFFSET + 4]
    if len(data) < ffs.VOLUME_HEADER_SIZE or signature != EFI_FVH_SIGNATURE:
        volume.add(
            SIGNATURE_OFFSET,
            "volume header signature",
            f"{signature!r}, not {EFI_FVH_SIGNATURE!r}",
        )
        return False
    header = EfiFirmwareVolumeHeader().load_from_file(io.BytesIO(data))
    if header.HeaderLength != ffs.VOLUME_HEADER_SIZE:
        volume.add(
            48, "volume header length", f"{header.HeaderLength}, not {ffs.VOLUME_HEADER_SIZE}"
        )
        return False
    total = ffs.sum16(data[: ffs.VOLUME_HEADER_SIZE])
    if total:
        should = (header.Checksum - total) & 0xFFFF
        volume.add(
            50, "volume header checksum", f"{header.Checksum:#06x}, the header needs {should:#06x}"
        )
    if header.FileSystemGuid != file_system or header.Revision != ffs.VOLUME_REVISION:
        volume.add(
            16, "volume header format", f"{header.FileSystemGuid} revision {header.Revision}"
        )
    blocks, block_size = header.Blockmap0 & 0xFFFFFFFF, header.Blockmap0 >> 32
    if header.FvLength != volume.size or blocks * block_size != volume.size:
        volume.add(
            32,
            "volume header size",
            f"{header.FvLength} bytes, {blocks} blocks of {block_size}; it has {volume.size}",
        )
    if not header.Attributes & ffs.FVB2_ERASE_POLARITY:
        volume.add(
            44, "volume header attributes", f"{header.Attributes:#x} lacks the erase polarity"
        )
    return True


def _check_file_header(volume: Volume, offset: int, data: bytes) -> File | None:
    """The file at `offset`, or None if its header does not tell where it ends."""
    raw = data[offset : offset + ffs.FILE_HEADER_SIZE]
    header = EfiFirmwareFileSystemHeader().load_from_file(io.BytesIO(raw))
    size = header.get_size()
    # The header's sum is taken with its file checksum and its state as zero.
    total = ffs.sum8(raw) - (header.Checksum >> 8) - header.State & 0xFF
    if total:
        stored = header.Checksum & 0xFF
        should = (stored - total) & 0xFF
        volume.add(
            offset, "file header checksum", f"{stored:#04x}, the header needs {should:#04x}"
        )
        return None
    if header.State != ffs.FILE_STATE_VALID:
        volume.add(
            offset + 23,
            "file header state",
            f"{header.State:#04x}, not {ffs.FILE_STATE_VALID:#04x}",
        )
    if not header.Attributes & ffs.FFS_ATTRIB_CHECKSUM:
        volume.add(offset + 19, "file header attributes", "the body has no checksum")
    if size < ffs.FILE_HEADER_SIZE or offset + size > len(data):
        volume.add(
            offset + 20, "file header size", f"{size} bytes, {len(data) - offset} are there"
        )
        return None
    body = data[offset + ffs.FILE_HEADER_SIZE : offset + size]
    total = ffs.sum8(body)
    if (total + (header.Checksum >> 8)) & 0xFF:
        volume.add(
            offset + 17,
            "file body checksum",
            f"{header.Checksum >> 8:#04x}, the body needs {-total & 0xFF:#04x}",
        )
    return File(volume.offset + offset, header.FileSystemGuid, header.Type, size, body)


def _sections(volume: Volume, file: File) -> tuple[Section, ...]:
    """The sections of a file; raw and pad files have none."""
    sections = []
    if file.kind in (ffs.FILE_RAW, ffs.FILE_PAD):
        return ()
    offset = 0
    while offset < len(file.body):
        header = file.body[offset : offset + ffs.SECTION_HEADER_SIZE]
        size = int.from_bytes(header[:3], "little") if len(header) == 4 else 0
        start = file.offset + ffs.FILE_HEADER_SIZE + offset
        if not ffs.SECTION_HEADER_SIZE <= size <= len(file.body) - offset:
            volume.add(start - volume.offset, "section header", f"{size} bytes")
            break
        data = file.body[offset + ffs.SECTION_HEADER_SIZE : offset + size]
        sections.append(Section(start, header[3], data))
        offset += ffs.align_up(size, ffs.SECTION_ALIGNMENT)
    return tuple(sections)


def parse_volume(data: bytes, offset: int, file_system: uuid.UUID) -> Volume:
    """Takes apart the volume that `data` holds, which lies `offset` bytes into the image."""
    volume = Volume(offset, len(data))
    if not _check_volume_header(volume, data, file_system):
        return volume
    at = ffs.VOLUME_HEADER_SIZE
    while len(data) - at >= ffs.FILE_HEADER_SIZE:
        if _all_erased(data[at : at + ffs.FILE_HEADER_SIZE]):
            break
        file = _check_file_header(volume, at, data)
        if file is None:
            return volume
        end = at + file.size
        at = min(ffs.align_up(end, ffs.FILE_ALIGNMENT), len(data))
        if not _all_erased(data[end:at]):
            volume.add(end, "padding between files", "not erased")
        sections = _sections(volume, file)
        volume.files.append(
            File(file.offset, file.name, file.kind, file.size, file.body, sections)
        )
    volume.free = len(data) - at
    if not _all_erased(data[at:]):
        volume.add(at + _first_not_erased(data[at:]), "free space", "not erased")
    return volume
