# SPDX-License-Identifier: MIT
"""Is an image whole? Every byte is either covered by a checksum or has only one right value."""

import uuid

from mpfw.image import ImageError, elf, ffs, romfs, te
from mpfw.image.layout import FOUR_GIB, Layout
from mpfw.image.parse import File, Finding, Section, Volume, parse_volume

RESET_OFFSET_FROM_END = 16
JMP_NEAR = 0xE9


def parse(layout: Layout, image: bytes) -> dict[str, Volume]:
    """The image's volumes by name; ImageError if it has not the layout's size."""
    if len(image) != layout.flash_size:
        raise ImageError(f"image: {len(image)} bytes, not {layout.flash_size}")
    return {
        name: parse_volume(
            image[place.offset : place.offset + place.size], place.offset, layout.guids["ffs2"]
        )
        for name, place in layout.volumes.items()
    }


def _expect(
    guid: uuid.UUID, volume: Volume, kind: int, inside: int
) -> tuple[File, Section] | None:
    """The volume's file and that file's section of the kind `inside`, or a finding."""
    file = volume.file(guid)
    if file is None or file.kind != kind:
        volume.findings.append(
            Finding(volume.offset, "files", f"no {ffs.FILE_TYPES[kind]} file {guid}")
        )
        return None
    section = file.section(inside)
    if section is None:
        what = f"file {file.label} has no {ffs.SECTION_TYPES[inside]} section"
        volume.findings.append(Finding(file.offset, "file sections", what))
        return None
    return file, section


def _check_app(layout: Layout, volume: Volume) -> None:
    if not volume.files:
        return
    found = _expect(layout.volumes["app"].file, volume, ffs.FILE_FREEFORM, ffs.SECTION_RAW)
    if found is None:
        return
    file, section = found
    if not section.data.startswith(romfs.MAGIC):
        volume.findings.append(Finding(file.offset, "app file", "not a ROMFS image"))


def _check_main(layout: Layout, volume: Volume) -> None:
    found = _expect(layout.volumes["main"].file, volume, ffs.FILE_FREEFORM, ffs.SECTION_RAW)
    if found is None:
        return
    file, section = found
    try:
        elf.check_payload(section.data, layout.payload["base"])
    except ImageError as error:
        part, _, message = str(error).partition(": ")
        volume.findings.append(Finding(file.offset, part, message))


def _check_ipl(layout: Layout, volume: Volume) -> None:
    found = _expect(layout.volumes["boot"].file, volume, ffs.FILE_SECURITY_CORE, ffs.SECTION_TE)
    if found is None:
        return
    file, section = found
    try:
        code = te.read(section.data)
    except ImageError as error:
        part, _, message = str(error).partition(": ")
        volume.findings.append(Finding(file.offset, part, message))
        return
    lies_at = layout.flash_base + section.offset + ffs.SECTION_HEADER_SIZE + code.code_offset
    if not code.entry == code.code_address == lies_at == layout.ipl_entry:
        message = f"code at {lies_at:#x}, linked at {code.code_address:#x}, entry {code.entry:#x}"
        volume.findings.append(Finding(file.offset, "IPL", message))


def _check_reset_vector(layout: Layout, volume: Volume) -> None:
    top = volume.file(layout.guids["volume_top_file"])
    if top is None or top.offset + top.size != layout.flash_size:
        message = "no volume top file at the image's end"
        volume.findings.append(Finding(volume.offset, "reset vector", message))
        return
    # The CPU's first instruction must be a 16-bit near jump to within the file.
    first = top.body[-RESET_OFFSET_FROM_END:]
    target = (
        FOUR_GIB - RESET_OFFSET_FROM_END + 3 + int.from_bytes(first[1:3], "little", signed=True)
    )
    start = FOUR_GIB - len(top.body)
    if first[0] != JMP_NEAR or not start <= target < FOUR_GIB:
        where = layout.flash_size - RESET_OFFSET_FROM_END
        volume.findings.append(Finding(where, "reset vector", "not a jump into its own file"))


def verify(layout: Layout, image: bytes) -> list[tuple[str, Finding]]:
    """All findings, as (volume's name, finding); an empty list says that the image is whole."""
    try:
        volumes = parse(layout, image)
    except ImageError as error:
        part, _, message = str(error).partition(": ")
        return [("flash", Finding(0, part, message))]
    _check_app(layout, volumes["app"])
    _check_main(layout, volumes["main"])
    _check_ipl(layout, volumes["boot"])
    _check_reset_vector(layout, volumes["boot"])
    return [(name, finding) for name, volume in volumes.items() for finding in volume.findings]
