# SPDX-License-Identifier: MIT
"""Builds the flash image from the reset vector, the IPL, the payload and the user's files."""

from dataclasses import dataclass

from mpfw.image import ImageError, elf, ffs, te
from mpfw.image.layout import Layout, Volume

RESET_ADDRESS_FROM_END = 16


@dataclass(frozen=True)
class Parts:
    """What goes into an image, as bytes; `app` is a ROMFS image, or empty."""

    reset_vector: bytes
    ipl: bytes
    payload: bytes
    app: bytes = b""


def _spec(layout: Layout, volume: Volume, *files: bytes, top_file: bytes = b"") -> ffs.VolumeSpec:
    return ffs.VolumeSpec(
        volume.name, volume.size, layout.block_size, layout.guids["ffs2"], files, top_file
    )


def _data_file(volume: Volume, name: str, data: bytes) -> bytes:
    body = ffs.join_sections(ffs.section(ffs.SECTION_RAW, data), ffs.ui_section(name))
    return ffs.file(ffs.FILE_FREEFORM, volume.file, body)


def app_volume(layout: Layout, app: bytes) -> bytes:
    """The app volume: one file with the ROMFS image, or no file at all."""
    volume = layout.volumes["app"]
    files = (_data_file(volume, "app", app),) if app else ()
    return ffs.volume(_spec(layout, volume, *files))


def main_volume(layout: Layout, payload: bytes) -> bytes:
    """The main volume: one file with the payload; ImageError if the IPL would refuse it."""
    volume = layout.volumes["main"]
    limit = layout.payload["file_limit"]
    try:
        elf.check_payload(payload, layout.payload["base"])
    except ImageError as error:
        raise ImageError(f"payload: {error}") from None
    if len(payload) > limit:
        raise ImageError(
            f"payload: {len(payload)} bytes, {len(payload) - limit} over its limit of {limit}"
        )
    return ffs.volume(_spec(layout, volume, _data_file(volume, "payload", payload)))


def boot_volume(layout: Layout, ipl: bytes, reset_vector: bytes) -> bytes:
    """The boot volume: the IPL as a SEC core file, the reset vector as the volume top file."""
    volume = layout.volumes["boot"]
    te_address = (
        volume.base + ffs.VOLUME_HEADER_SIZE + ffs.FILE_HEADER_SIZE + ffs.SECTION_HEADER_SIZE
    )
    image = te.build(ipl, te_address, layout.ipl_entry)
    body = ffs.join_sections(ffs.section(ffs.SECTION_TE, image), ffs.ui_section("ipl"))
    if len(reset_vector) % ffs.FILE_ALIGNMENT or len(reset_vector) < RESET_ADDRESS_FROM_END:
        raise ImageError(
            f"reset vector: {len(reset_vector)} bytes, not a multiple of 8 from 16 up"
        )
    top = ffs.file(ffs.FILE_RAW, layout.guids["volume_top_file"], reset_vector)
    core = ffs.file(ffs.FILE_SECURITY_CORE, volume.file, body)
    return ffs.volume(_spec(layout, volume, core, top_file=top))


def build(layout: Layout, parts: Parts) -> bytes:
    """The whole image; ImageError if the parts do not make one."""
    volumes = {
        "app": app_volume(layout, parts.app),
        "main": main_volume(layout, parts.payload),
        "boot": boot_volume(layout, parts.ipl, parts.reset_vector),
    }
    return b"".join(volumes[name] for name in layout.volumes)
