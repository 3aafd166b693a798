# SPDX-License-Identifier: MIT
"""The IPL's volume reader, from the firmware's source: it refuses what the verifier refuses."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import examples

from mpfw import paths
from mpfw.image import build, ffs
from mpfw.image.parse import parse_volume


@pytest.fixture(scope="module")
def main(layout):
    """The main volume's place, and the GUID of its file."""
    return layout.volumes["main"]


@pytest.fixture(scope="module")
def small_volume(layout, factories):
    """A main volume with a small payload."""
    return factories["blob"](build.main_volume(layout, factories["payload"](data=b"123456789")))


def test_a_whole_volume_gives_the_payload(ipl, layout, main, factories):
    payload = factories["payload"](text=bytes(range(256)) * 40)
    damage, data = ipl.volume_open(build.main_volume(layout, payload), main.file)
    assert (damage, data) == (None, payload)


def test_the_real_image_is_accepted(ipl, layout):
    image = paths.IMAGE.read_bytes()
    for place in layout.volumes.values():
        volume = image[place.offset : place.offset + place.size]
        damage, data = ipl.volume_open(volume, place.file)
        assert damage is None, place.name
        assert (data[:4] == b"\x7fELF") == (place.name == "main")


def test_500_random_flips_in_the_real_payload_volume_are_refused(ipl, main):
    whole = paths.IMAGE.read_bytes()[main.offset : main.offset + main.size]
    numbers = random.Random(500)
    for _ in range(500):
        offset = numbers.randrange(main.size)
        volume = bytearray(whole)
        volume[offset] ^= numbers.randrange(1, 256)
        assert ipl.volume_open(volume, main.file)[0], f"{offset:#x}"


def test_every_flipped_byte_of_a_small_volumes_file_is_refused(ipl, layout, main, small_volume):
    (file,) = parse_volume(small_volume, 0, layout.guids["ffs2"]).files
    for offset in range(file.offset + file.size + 16):
        volume = bytearray(small_volume)
        volume[offset] ^= 0x40
        assert ipl.volume_open(volume, main.file)[0], f"{offset:#x}"


mutations = st.lists(
    st.tuples(
        st.integers(0, 130) | st.integers(0, 400) | st.integers(0, 0xFFFFF), st.integers(0, 255)
    ),
    min_size=1,
    max_size=6,
)


def assert_same_part(answer, volume, layout):
    """The IPL names what the verifier finds first. It looks into the sections of the payload's
    file only, so what is wrong with sections need not be the same."""
    damage, _ = answer
    sections = ("section header", "file sections")
    findings = parse_volume(bytes(volume), 0, layout.guids["ffs2"]).findings
    parts = [finding.part for finding in findings if finding.part not in sections]
    if damage not in sections:
        assert damage == (parts[0] if parts else None)


@settings(max_examples=examples(1200), deadline=None)
@given(changes=mutations)
def test_it_names_the_same_part_as_the_verifier(ipl, layout, main, small_volume, changes):
    volume = bytearray(small_volume)
    for offset, value in changes:
        volume[offset] = value
    assert_same_part(ipl.volume_open(volume, main.file), volume, layout)


def resealed(volume):
    """The volume with the checksums of its header and of its first file's header made right."""
    volume = bytearray(volume)
    volume[50:52] = b"\0\0"
    volume[50:52] = (-ffs.sum16(bytes(volume[:72])) & 0xFFFF).to_bytes(2, "little")
    body_checksum, state = volume[72 + 17], volume[72 + 23]
    volume[72 + 16 : 72 + 18], volume[72 + 23] = b"\0\0", 0
    volume[72 + 16] = -ffs.sum8(volume[72:96]) & 0xFF
    volume[72 + 17], volume[72 + 23] = body_checksum, state
    return volume


@settings(max_examples=examples(1200), deadline=None)
@given(changes=mutations)
def test_lies_with_correct_checksums_are_read_within_the_volume(
    ipl, layout, main, small_volume, changes
):
    volume = bytearray(small_volume)
    for offset, value in changes:
        volume[offset] = value
    volume = resealed(volume)
    assert_same_part(ipl.volume_open(volume, main.file), volume, layout)


@settings(max_examples=examples(600), deadline=None)
@given(noise=st.binary(max_size=5000))
def test_noise_is_refused(ipl, main, noise):
    assert ipl.volume_open(noise, main.file)[0]


def test_another_files_guid_finds_nothing(ipl, layout, small_volume):
    assert ipl.volume_open(small_volume, layout.volumes["app"].file) == (None, b"")


def test_a_section_larger_than_its_file_is_refused(ipl, layout, main):
    body = b"\xff\xff\x00" + bytes([ffs.SECTION_RAW]) + b"short"
    file = ffs.file(ffs.FILE_FREEFORM, main.file, body)
    spec = ffs.VolumeSpec("main", main.size, layout.block_size, layout.guids["ffs2"], (file,))
    assert ipl.volume_open(ffs.volume(spec), main.file)[0] == "section header"
