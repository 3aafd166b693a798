# SPDX-License-Identifier: MIT
"""The HOB list reader: what it finds, and that a damaged list ends in an error."""

import struct

import pytest
from pci_machine import GIB, Machine, imported


def block(kind, data):
    return struct.pack("<HHI", kind, 8 + len(data), 0) + data


END = block(0xFFFF, b"")
GUID = bytes(range(16))


def reader(hobs):
    machine = Machine({})
    machine.hobs = hobs
    return imported(machine, "hob")


def test_resources_by_type():
    ram = struct.pack("<16sIIQQ", bytes(16), 0, 7, 0x100000, 5 * GIB)
    mmio = struct.pack("<16sIIQQ", bytes(16), 1, 7, 0xC0000000, 1 << 20)
    with reader(block(3, ram) + block(6, bytes(8)) + block(3, mmio) + END) as hob:
        assert hob.resources() == [(0, 0x100000, 5 * GIB), (1, 0xC0000000, 1 << 20)]


def test_allocations_volumes_and_cpu():
    allocation = struct.pack("<16sQQI4x", GUID, 0x200000, 0x1000, 4)
    volume = struct.pack("<QQ", 0xFFE00000, 0xF0000)
    hobs = block(2, allocation) + block(5, volume) + block(6, bytes([40, 16, *bytes(6)])) + END
    with reader(hobs) as hob:
        assert hob.allocations() == [(0x200000, 0x1000, 4)]
        assert hob.volumes() == [(0xFFE00000, 0xF0000)]
        assert hob.address_bits() == 40


def test_extension_by_guid():
    with reader(block(4, bytes(16) + b"no") + block(4, GUID + b"yes") + END) as hob:
        assert hob.extension(GUID) == b"yes"
        assert hob.extension(b"\xff" * 16) is None
        assert hob.address_bits() == 36


@pytest.mark.parametrize(
    "hobs",
    (b"", b"\x03\x00", block(3, bytes(40)), struct.pack("<HHI", 3, 0, 0) + END),
    ids=("empty", "short", "no end", "length 0"),
)
def test_a_damaged_list_is_an_error(hobs):
    with reader(hobs) as hob, pytest.raises(ValueError, match="damaged"):
        hob.resources()
