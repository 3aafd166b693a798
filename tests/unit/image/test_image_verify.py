# SPDX-License-Identifier: MIT
"""The verifier: no byte of an image can change unseen, and each finding names the part."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import examples

from mpfw import paths
from mpfw.image import build, ffs
from mpfw.image.verify import parse, verify


def flip(image, offset, bits=0xFF):
    """A copy of the image with one byte changed."""
    changed = bytearray(image)
    changed[offset] ^= bits
    return bytes(changed)


def header_bytes(volume):
    """The offsets of every byte in a header: volume, files, sections, TE, ELF, reset vector."""
    yield from range(volume.offset, volume.offset + ffs.VOLUME_HEADER_SIZE)
    for file in volume.files:
        # The headers of its contents lie within the first 256 bytes of a file's body.
        yield from range(file.offset, file.offset + min(file.size, 256))
        for section in file.sections:
            yield from range(section.offset, section.offset + ffs.SECTION_HEADER_SIZE)


@pytest.mark.parametrize("name", ["app", "main", "boot"])
def test_every_flipped_byte_in_a_header_is_found(layout, small_image, name):
    volumes = parse(layout, small_image)
    assert set(volumes) == {"app", "main", "boot"}
    for offset in sorted(set(header_bytes(volumes[name]))):
        for bits in (0x01, 0x80, 0xFF):
            assert verify(layout, flip(small_image, offset, bits)), f"{offset:#x} ^ {bits:#x}"


@settings(max_examples=examples(600), deadline=None)
@given(data=st.data())
def test_any_flipped_byte_anywhere_is_found(layout, small_image, data):
    offset = data.draw(st.integers(0, len(small_image) - 1))
    bits = data.draw(st.integers(1, 255))
    assert verify(layout, flip(small_image, offset, bits))


def test_500_random_flips_in_the_real_image_are_found(layout):
    image = paths.IMAGE.read_bytes()
    assert verify(layout, image) == []
    payload = parse(layout, image)["main"].files[0]
    numbers = random.Random(500)
    for _ in range(500):
        offset = payload.offset + numbers.randrange(payload.size)
        assert verify(layout, flip(image, offset, numbers.randrange(1, 256))), f"{offset:#x}"


@pytest.mark.parametrize(
    ("offset", "part"),
    [
        (0x00, "volume header checksum"),  # the zero vector
        (0x10, "volume header checksum"),
        (0x28, "volume header signature"),
        (0x30, "volume header length"),
        (0x32, "volume header checksum"),
        (0x48, "file header checksum"),  # the name
        (0x58, "file header checksum"),
        (0x59, "file body checksum"),
        (0x5F, "file header state"),
        (0x60, "file body checksum"),  # a section header
        (0x64, "file body checksum"),  # the ELF
        (0x2000, "file body checksum"),  # its contents
        (0xFFFFF, "free space"),
    ],
)
def test_a_finding_names_the_part(layout, make_parts, factories, offset, part):
    payload = factories["payload"](text=bytes(0x3000))
    image = build.build(layout, make_parts(payload=payload))
    (name, finding), *_ = verify(layout, flip(image, layout.volumes["main"].offset + offset))
    assert (name, finding.part) == ("main", part)
    assert str(finding).startswith("0x")


def test_a_byte_between_files_must_be_erased(layout, make_parts, factories):
    image = build.build(layout, make_parts(payload=factories["payload"](data=b"123456789")))
    main = parse(layout, image)["main"]
    (file,) = main.files
    assert file.size % ffs.FILE_ALIGNMENT, "the file must end unaligned for this test"
    ((_, finding),) = verify(layout, flip(image, file.offset + file.size))
    assert finding.part == "padding between files"


def replace_volume(layout, image, name, volume):
    """The image with another volume in the place of `name`."""
    place = layout.volumes[name]
    assert len(volume) == place.size
    return image[: place.offset] + volume + image[place.offset + place.size :]


def volume_with(layout, name, *files, **changes):
    """A volume that is well-formed, with files of our choice."""
    spec = {"size": layout.volumes[name].size, "file_system": layout.guids["ffs2"], **changes}
    return ffs.volume(ffs.VolumeSpec(name, block_size=layout.block_size, files=files, **spec))


def test_a_main_volume_without_the_payload_is_found(layout, small_image):
    damaged = replace_volume(layout, small_image, "main", volume_with(layout, "main"))
    ((name, finding),) = verify(layout, damaged)
    assert (name, finding.part) == ("main", "files")


def test_a_payload_that_is_no_elf_is_found(layout, small_image):
    body = ffs.section(ffs.SECTION_RAW, b"not an ELF".ljust(100))
    file = ffs.file(ffs.FILE_FREEFORM, layout.volumes["main"].file, body)
    damaged = replace_volume(layout, small_image, "main", volume_with(layout, "main", file))
    ((name, finding),) = verify(layout, damaged)
    assert (name, finding.part, finding.message) == ("main", "ELF header", "not an ELF")


def test_a_section_that_leaves_its_file_is_found(layout, small_image):
    body = b"\xff\xff\x00" + bytes([ffs.SECTION_RAW]) + b"short"
    file = ffs.file(ffs.FILE_FREEFORM, layout.volumes["main"].file, body)
    damaged = replace_volume(layout, small_image, "main", volume_with(layout, "main", file))
    assert "section header" in {finding.part for _, finding in verify(layout, damaged)}


def test_an_app_that_is_no_romfs_is_found(layout, make_parts):
    ((name, finding),) = verify(layout, build.build(layout, make_parts(app=b"print('hi')")))
    assert (name, finding.part) == ("app", "app file")


def test_another_file_system_is_found(layout, small_image):
    other = volume_with(layout, "app", file_system=layout.guids["volume_top_file"])
    ((name, finding),) = verify(layout, replace_volume(layout, small_image, "app", other))
    assert (name, finding.part) == ("app", "volume header format")


def test_a_reset_vector_that_does_not_jump_is_found(layout, make_parts):
    ((name, finding),) = verify(layout, build.build(layout, make_parts(reset_vector=bytes(64))))
    assert (name, finding.part) == ("boot", "reset vector")


@pytest.mark.parametrize("size", [0, 100, 0x1FFFFF, 0x200001])
def test_an_image_of_another_size_is_found(layout, small_image, size):
    ((_, finding),) = verify(layout, small_image[:size].ljust(size, b"\xff"))
    assert finding.part == "image"


@settings(max_examples=examples(400), deadline=None)
@given(noise=st.binary(max_size=4096), at=st.integers(0, 0x200000))
def test_noise_never_stops_the_verifier(layout, small_image, noise, at):
    noisy = (small_image[:at] + noise + small_image[at + len(noise) :])[: len(small_image)]
    assert bool(verify(layout, noisy)) == (noisy != small_image)
