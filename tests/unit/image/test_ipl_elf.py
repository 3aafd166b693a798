# SPDX-License-Identifier: MIT
"""The IPL's ELF reader, from the firmware's source: it refuses what the builder refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import examples

from mpfw.image import ImageError, elf

LOWEST = 0x200000
R, W, X = elf.PF_R, elf.PF_W, elf.PF_X


def builders_word(data):
    """What the builder says against a payload, or None."""
    try:
        elf.check_payload(data, LOWEST)
    except ImageError as error:
        return str(error)
    return None


def test_a_good_payload_is_planned_as_linked(ipl, factories):
    payload = factories["payload"](text=bytes(5000), bss=9000)
    problem, image = ipl.elf_check(payload)
    assert problem is None
    found = [
        (s.range.start, s.range.end, s.writable, s.executable)
        for s in image.segment[: image.segments]
    ]
    assert found == [
        (0x200000, 0x202000, False, True),
        (0x202000, 0x203000, False, False),
        (0x203000, 0x206000, True, False),
    ]
    assert image.entry == 0x200000


@pytest.mark.parametrize(
    ("segments", "problem"),
    [
        ([(0x200000, R | W | X, b"c", 1)], "ELF segment: both writable and executable"),
        ([(0x200800, R | X, b"c", 1)], "ELF segment: address"),
        ([(0x100000, R | X, b"c", 1)], "ELF segment: address"),
        ([(0x200000, R | X, b"c", 1 << 40)], "ELF segment: address"),
        ([(0x200000, R | X, b"c", (1 << 64) - 1)], "ELF segment: address"),
        ([(0x200000, R | W, b"c", 1)], "ELF header: entry point outside the code"),
        ([(0x200000 + i * 0x1000, R | X, b"c", 1) for i in range(9)], "ELF segment: too many"),
    ],
)
def test_bad_segments_are_refused(ipl, factories, segments, problem):
    assert ipl.elf_check(factories["elf"](0x200000, segments))[0].startswith(problem)


@settings(max_examples=examples(2000), deadline=None)
@given(
    changes=st.lists(
        st.tuples(st.integers(0, 64 + 3 * 56 - 1), st.integers(0, 255)), min_size=1, max_size=4
    ),
    cut=st.integers(0, 300),
)
def test_it_agrees_with_the_builder_on_any_header(ipl, factories, changes, cut):
    data = bytearray(factories["payload"](text=bytes(100)))
    for offset, value in changes:
        data[offset] = value
    file = bytes(data[: len(data) - cut] if cut < 20 else data)
    problem, _ = ipl.elf_check(file)
    assert bool(problem) == bool(builders_word(file)), (problem, builders_word(file))


@settings(max_examples=examples(600), deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_is_refused(ipl, noise):
    assert ipl.elf_check(noise)[0] == "ELF header: not an ELF"
