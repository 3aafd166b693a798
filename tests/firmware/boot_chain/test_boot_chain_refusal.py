# SPDX-License-Identifier: MIT
"""A damaged image: one line on COM1 and debugcon that names the part, and the CPU stands still."""

import random

import pytest

from mpfw import paths
from mpfw.image import elf, ffs


def replaced(image, offset, data):
    """The image with some bytes replaced."""
    return image[:offset] + data + image[offset + len(data) :]


def flipped(image, offset):
    """The image with one byte changed."""
    return replaced(image, offset, bytes([image[offset] ^ 0xFF]))


def assert_refused(seen, line):
    """The machine stands still and has said that line, once, in both places."""
    assert seen.wait_refused() == line
    assert seen.stands_still()
    assert bytes(seen.guest.console.transcript) == f"ipl: {line}\r\n".encode()
    errors = [entry for entry in seen.log() if " ERROR " in entry]
    assert len(errors) == 1 and errors[0].endswith(f" ERROR ipl: {line}")


@pytest.mark.parametrize(
    ("offset", "part"),
    [
        (0x00, "volume header checksum"),
        (0x28, "volume header signature"),
        (0x30, "volume header length"),
        (0x48, "file header checksum"),
        (0x59, "file body checksum"),
        (0x5F, "file header state"),
        (0x60, "file body checksum"),
        (0x64, "file body checksum"),
        (0x1064, "file body checksum"),
        (0xFFFFF, "free space"),
    ],
)
def test_a_flipped_byte_in_the_main_volume_is_named(start, make_image, layout, offset, part):
    image = flipped(make_image(), layout.volumes["main"].offset + offset)
    assert_refused(start(image), f"main volume: {part}: image refused")


@pytest.mark.parametrize(("offset", "part"), [(0x10, "volume header checksum"), (-1, None)])
def test_a_flipped_byte_in_the_boot_volume_is_named(start, make_image, layout, offset, part):
    boot = layout.volumes["boot"]
    image = flipped(make_image(), boot.offset + offset % boot.size)
    part = part or "file body checksum"  # of the volume top file, behind the reset vector
    assert_refused(start(image), f"boot volume: {part}: image refused")


def main_volume(layout, image, *files):
    """The image with other files in its main volume."""
    main = layout.volumes["main"]
    spec = ffs.VolumeSpec("main", main.size, layout.block_size, layout.guids["ffs2"], files)
    return replaced(image, main.offset, ffs.volume(spec))


def test_a_missing_payload_is_named(start, make_image, layout):
    image = main_volume(layout, make_image())
    assert_refused(start(image), "main volume: payload file missing: image refused")


def payload_file(layout, data):
    """A payload file that is whole as a file."""
    body = ffs.section(ffs.SECTION_RAW, data)
    return ffs.file(ffs.FILE_FREEFORM, layout.volumes["main"].file, body)


def test_a_payload_that_is_no_elf_is_named(start, make_image, layout):
    image = main_volume(layout, make_image(), payload_file(layout, b"#!/bin/sh".ljust(100)))
    assert_refused(start(image), "main volume: ELF header: not an ELF: image refused")


def test_a_writable_and_executable_segment_is_named(start, make_image, layout, assemble):
    payload = bytearray(assemble())
    flags = elf.HEADER.size + 4  # of the first segment
    payload[flags] |= elf.PF_W | elf.PF_X
    image = main_volume(layout, make_image(), payload_file(layout, bytes(payload)))
    line = "main volume: ELF segment: both writable and executable: image refused"
    assert_refused(start(image), line)


def test_a_dozen_random_flips_in_the_real_payload_are_refused(start, layout):
    whole = paths.IMAGE.read_bytes()
    main = layout.volumes["main"]
    used = ffs.VOLUME_HEADER_SIZE + ffs.FILE_HEADER_SIZE
    size = int.from_bytes(whole[main.offset + 92 : main.offset + 95], "little")
    numbers = random.Random(12)
    for _ in range(12):
        offset = main.offset + used + numbers.randrange(size - ffs.FILE_HEADER_SIZE)
        seen = start(flipped(whole, offset))
        assert_refused(seen, "main volume: file body checksum: image refused")
        seen.guest.close()


ROMFS = b"\xd2\xcd1\x00"


def test_the_app_is_handed_over(reached, make_image, layout):
    seen = reached(make_image(app=ROMFS))
    platform = seen.platform(layout)
    assert platform["app_size"] == len(ROMFS)
    assert seen.memory(platform["app_base"], len(ROMFS)) == ROMFS


def test_an_empty_app_volume_is_no_app(reached, layout):
    platform = reached().platform(layout)
    assert (platform["app_base"], platform["app_size"]) == (0, 0)


@pytest.mark.parametrize(
    ("offset", "part"), [(0x64, "file body checksum"), (0xE0000, "free space")]
)
def test_a_damaged_app_is_left_out_with_a_warning(reached, make_image, layout, offset, part):
    image = make_image(app=ROMFS)
    seen = reached(flipped(image, layout.volumes["app"].offset + offset))
    platform = seen.platform(layout)
    assert (platform["app_base"], platform["app_size"]) == (0, 0)
    warnings = [line for line in seen.log() if " WARN " in line]
    assert len(warnings) == 1
    assert warnings[0].endswith(f"WARN ipl: app volume: {part}: ignored")
