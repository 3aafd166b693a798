# SPDX-License-Identifier: MIT
"""The builder: what goes in comes out again, and what cannot go in is refused with a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpfw.image import ImageError, build, elf, ffs
from mpfw.image.verify import parse, verify


def section(layout, volumes, name, kind):
    """The contents of the section for which a volume is there."""
    return volumes[name].file(layout.volumes[name].file).section(kind).data


@settings(max_examples=60, deadline=None)
@given(
    text=st.binary(min_size=1, max_size=9000),
    data=st.binary(max_size=5000),
    bss=st.integers(0, 10000),
    app=st.binary(max_size=5000).map(lambda tail: b"\xd2\xcd1" + tail) | st.just(b""),
    code=st.binary(min_size=1, max_size=5000),
)
def test_what_goes_in_comes_out(layout, make_parts, factories, text, data, bss, app, code):
    parts = make_parts(
        payload=factories["payload"](text=text, data=data, bss=bss),
        ipl=factories["ipl"](layout, code),
        app=app,
    )
    image = build.build(layout, parts)
    assert verify(layout, image) == []
    volumes = parse(layout, image)
    assert section(layout, volumes, "main", ffs.SECTION_RAW) == parts.payload
    assert bool(volumes["app"].files) == bool(app)
    if app:
        assert section(layout, volumes, "app", ffs.SECTION_RAW) == app
    entry = layout.ipl_entry - layout.flash_base
    assert image[entry : entry + len(code)] == code
    assert image.endswith(parts.reset_vector)


def test_the_same_parts_make_the_same_image(layout, make_parts):
    assert build.build(layout, make_parts()) == build.build(layout, make_parts())


def test_volumes_fill_the_flash_in_order(layout, small_image):
    assert len(small_image) == layout.flash_size
    places = [(volume.offset, volume.size) for volume in layout.volumes.values()]
    assert [offset for offset, _ in places] == [0, 0xF0000, 0x1F0000]
    assert sum(size for _, size in places) == layout.flash_size


def test_payload_over_its_limit_says_by_how_much(layout, make_parts, factories):
    empty = len(factories["payload"](text=b""))
    limit = layout.payload["file_limit"]
    fits = factories["payload"](text=bytes(limit - empty))
    build.build(layout, make_parts(payload=fits))
    too_big = factories["payload"](text=bytes(limit - empty + 7))
    with pytest.raises(ImageError, match=f"payload: {limit + 7} bytes, 7 over its limit"):
        build.build(layout, make_parts(payload=too_big))


def test_app_too_big_says_by_how_much(layout, make_parts):
    size = layout.volumes["app"].size
    overhead = len(ffs.file(ffs.FILE_FREEFORM, layout.volumes["app"].file, b""))
    overhead += ffs.VOLUME_HEADER_SIZE + ffs.SECTION_HEADER_SIZE + len(ffs.ui_section("app"))
    build.build(layout, make_parts(app=bytes(size - overhead)))
    with pytest.raises(ImageError, match=r"app volume: .* 8 more than the volume's 983040"):
        build.build(layout, make_parts(app=bytes(size - overhead + 8)))


def test_ipl_too_big_says_by_how_much(layout, make_parts, factories):
    with pytest.raises(ImageError, match=r"boot volume: .* \d+ more than the volume's 65536"):
        build.build(layout, make_parts(ipl=factories["ipl"](layout, bytes(0x10000))))


@pytest.mark.parametrize("gap", [0, 8, 16, 24])
def test_the_gap_below_the_reset_vector_is_filled_or_refused(layout, make_parts, factories, gap):
    roomy = build.build(layout, make_parts())
    pad = next(f for f in parse(layout, roomy)["boot"].files if f.kind == ffs.FILE_PAD)
    parts = make_parts(ipl=factories["ipl"](layout, b"\xf4" * (999 + pad.size - gap)))
    if 0 < gap < ffs.FILE_HEADER_SIZE:
        with pytest.raises(ImageError, match=f"{24 - gap} bytes too big"):
            build.build(layout, parts)
    else:
        assert verify(layout, build.build(layout, parts)) == []


PAGE = elf.PAGE
R, W, X = elf.PF_R, elf.PF_W, elf.PF_X


@pytest.mark.parametrize(
    ("entry", "segments", "message"),
    [
        (0x200000, [(0x200000, R | W | X, b"c", 1)], "both writable and executable"),
        (0x200010, [(0x200010, R | X, b"c", 1)], "address 0x200010"),
        (0x1FF000, [(0x1FF000, R | X, b"c", 1)], "address 0x1ff000"),
        (0x200000, [(0x200000, R | X, b"c", 2 * PAGE), (0x201000, R, b"d", 1)], "address 0x201"),
        (
            0x200000,
            [(0x200000, R | X, b"c", 1), (0xFFFFF000, R, b"d", PAGE + 1)],
            "address 0xffff",
        ),
        (0x201000, [(0x200000, R | X, b"c", 1)], "entry point 0x201000 outside"),
        (0x200000, [(0x200000, R | W, b"c", 1)], "entry point 0x200000 outside"),
    ],
)
def test_payload_that_the_ipl_would_refuse_is_not_built(
    layout, make_parts, factories, entry, segments, message
):
    with pytest.raises(ImageError, match=message):
        build.build(layout, make_parts(payload=factories["elf"](entry, segments)))


def test_payload_that_is_no_elf_is_refused(layout, make_parts):
    with pytest.raises(ImageError, match="payload: ELF header: not an ELF"):
        build.build(layout, make_parts(payload=b"#!/bin/sh\n" * 20))


def test_payload_with_a_segment_outside_the_file_is_refused(layout, make_parts, factories):
    payload = factories["payload"]()
    with pytest.raises(ImageError, match="payload: ELF segment: outside the file"):
        build.build(layout, make_parts(payload=payload[:-1]))


def test_ipl_with_writable_data_is_refused(layout, make_parts, factories):
    ipl = factories["elf"](layout.ipl_entry, [(layout.ipl_entry, R | W | X, b"code", 4)])
    with pytest.raises(ImageError, match="IPL: .* must not have writable data"):
        build.build(layout, make_parts(ipl=ipl))


def test_ipl_linked_elsewhere_is_refused(layout, make_parts, factories):
    at = layout.ipl_entry + 16
    ipl = factories["elf"](at, [(at, R | X, b"code", 4)])
    with pytest.raises(ImageError, match=f"IPL: linked at {at:#x}"):
        build.build(layout, make_parts(ipl=ipl))


def test_reset_vector_of_odd_size_is_refused(layout, make_parts):
    with pytest.raises(ImageError, match="reset vector: 63 bytes"):
        build.build(layout, make_parts(reset_vector=bytes(63)))
