# SPDX-License-Identifier: MIT
"""The IPL's memory map, from the firmware's source: fw_cfg's e820 table, else the CMOS."""

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import examples

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
RAM, RESERVED = 1, 2
LOW = (0x1000, 0xA0000)  # RAM below 1 MiB: without page 0, without VGA and ROM shadow


class Machine:
    """fw_cfg and CMOS, as far as the IPL reads them."""

    def __init__(self, files=None, cmos=()):
        self.cmos = dict(cmos)
        self.index = 0
        self.stream: Iterator[int] = iter(())
        self.items = {}
        if files is None:
            return
        self.items[0x00] = b"QEMU"
        directory = struct.pack(">I", len(files))
        for key, (name, data) in enumerate(files.items(), 0x20):
            directory += struct.pack(">IHH56s", len(data), key, 0, name.encode())
            self.items[key] = data
        self.items[0x19] = directory

    def out(self, port, value):
        if port == 0x510:
            self.stream = iter(self.items.get(value, b""))
        elif port == 0x70:
            self.index = value & 0x7F

    def in8(self, port):
        if port == 0x511:
            return next(self.stream, 0)
        assert port == 0x71
        return self.cmos.get(self.index, 0)


def e820(*entries):
    """The table's bytes from (base, length, type) entries."""
    return b"".join(struct.pack("<QQI", *entry) for entry in entries)


def map_of(ipl, *entries):
    """The RAM that the IPL sees in a table."""
    machine = Machine({"bootorder": b"x", "etc/e820": e820(*entries), "etc/zzz": b"y"})
    source, ranges = ipl.memory_map(machine)
    assert source == "fw_cfg"
    return ranges


def test_low_ram_loses_page_0_and_the_legacy_hole(ipl):
    assert map_of(ipl, (0, 64 * MIB, RAM)) == [LOW, (MIB, 64 * MIB)]


def test_high_ram_is_a_range_of_its_own(ipl):
    ranges = map_of(ipl, (0, 2 * GIB, RAM), (4 * GIB, 6 * GIB, RAM))
    assert ranges == [LOW, (MIB, 2 * GIB), (4 * GIB, 10 * GIB)]


def test_reserved_entries_are_no_ram(ipl):
    ranges = map_of(ipl, (0xFEFFC000, 0x4000, RESERVED), (0, 64 * MIB, RAM))
    assert ranges == [LOW, (MIB, 64 * MIB)]


def test_entries_out_of_order_are_sorted_and_touching_ones_joined(ipl):
    ranges = map_of(ipl, (4 * GIB, GIB, RAM), (32 * MIB, 32 * MIB, RAM), (0, 32 * MIB, RAM))
    assert ranges == [LOW, (MIB, 64 * MIB), (4 * GIB, 5 * GIB)]


def test_ranges_shrink_to_whole_pages(ipl):
    assert map_of(ipl, (16 * MIB + 1, 0x2FFF, RAM)) == [(16 * MIB + 0x1000, 16 * MIB + 0x3000)]


def test_an_entry_that_wraps_around_is_ignored(ipl):
    ranges = map_of(ipl, (1 << 63, (1 << 63) + 5, RAM), (0, 64 * MIB, RAM))
    assert ranges == [LOW, (MIB, 64 * MIB)]


def test_an_entry_at_the_very_end_of_all_addresses_is_no_ram(ipl):
    ranges = map_of(ipl, ((1 << 64) - 0x800, 0x7FF, RAM), (0, 64 * MIB, RAM))
    assert ranges == [LOW, (MIB, 64 * MIB)]


class Endless(Machine):
    """A table that says to have 4 GiB; `reads` counts the bytes that it gave."""

    def __init__(self, count=1, size=0xFFFFFFFF):
        super().__init__({})
        entry = struct.pack(">IHH56s", size, 0x20, 0, b"etc/e820")
        nothing = struct.pack(">IHH56s", 1, 0x21, 0, b"x" * 56)
        self.items[0x19] = struct.pack(">I", count) + (entry if count == 1 else nothing * 300)
        self.items[0x20] = e820((0, 64 * MIB, RAM)) * 1000
        self.reads = 0

    def in8(self, port):
        self.reads += 1
        return super().in8(port)


def test_a_table_without_an_end_is_read_up_to_what_qemu_can_have(ipl):
    machine = Endless()
    assert ipl.memory_map(machine) == ("fw_cfg", [LOW, (MIB, 64 * MIB)])
    assert machine.reads < 10000


@pytest.mark.parametrize("count", [300, 0xFFFFFFFF])
def test_a_directory_without_an_end_has_an_end(ipl, count):
    machine = Endless(count)
    machine.cmos = {0x35: 0x03}
    assert ipl.memory_map(machine) == ("cmos", [LOW, (MIB, 64 * MIB)])
    assert machine.reads < 30000


@pytest.mark.parametrize(
    "machine",
    [
        Machine(cmos={0x34: 0x00, 0x35: 0x03}),
        Machine({"bootorder": b"x"}, cmos={0x34: 0x00, 0x35: 0x03}),
        Machine({"etc/e820": b""}, cmos={0x34: 0x00, 0x35: 0x03}),
    ],
    ids=["no fw_cfg", "no such file", "empty file"],
)
def test_without_the_table_the_cmos_tells(ipl, machine):
    assert ipl.memory_map(machine) == ("cmos", [LOW, (MIB, 64 * MIB)])


def test_cmos_of_a_16_mib_machine(ipl):
    machine = Machine(cmos={0x30: 0x00, 0x31: 0x3C})  # 15 MiB above 1 MiB
    assert ipl.memory_map(machine) == ("cmos", [LOW, (MIB, 16 * MIB)])


def test_cmos_above_4_gib(ipl):
    machine = Machine(cmos={0x35: 0x7F, 0x5B: 0x00, 0x5C: 0x80, 0x5D: 0x01})
    high = 0x018000 * 64 * KIB
    assert ipl.memory_map(machine)[1][-1] == (4 * GIB, 4 * GIB + high)


ranges = st.lists(
    st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 36), st.sampled_from([RAM, RESERVED])),
    max_size=30,
)


@settings(max_examples=examples(600), deadline=None)
@given(entries=ranges)
def test_any_table_gives_sorted_disjoint_pages_of_its_own_ram(ipl, entries):
    machine = Machine({"etc/e820": e820(*entries)})
    source, found = ipl.memory_map(machine)
    if source == "cmos":
        return  # the table names no RAM at all
    assert all(start < end and start % 0x1000 == end % 0x1000 == 0 for start, end in found)
    assert all(a[1] < b[0] for a, b in zip(found, found[1:], strict=False))
    for start, end in found:
        for probe in (start, end - 1):
            assert any(kind == RAM and base <= probe < base + n for base, n, kind in entries)
            assert not 0xA0000 <= probe < MIB and probe >= 0x1000
