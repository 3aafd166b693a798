# SPDX-License-Identifier: MIT
"""The memory that the payload is given: the HOB list and the page tables, on many machines."""

import bisect
import struct
from dataclasses import dataclass

import pytest

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
FOUR_GIB = 4 * GIB
RAM, MMIO, IO, FIRMWARE = 0, 1, 2, 3
LOADER_CODE, LOADER_DATA = 1, 2
Q35, I440FX = 0x29C0, 0x1237

# (machine, memory, RAM below 4 GiB): QEMU's q35 moves what is beyond 2 GiB up once RAM would reach
# 2.75 GiB, pc what is beyond 3 GiB once it would reach 3.5 GiB.
MACHINES = [
    ("q35", "16M", 16 * MIB),
    ("q35", "64M", 64 * MIB),
    ("q35", "512M", 512 * MIB),
    ("q35", "2815M", 2815 * MIB),
    ("q35", "4G", 2 * GIB),
    ("q35", "8G", 2 * GIB),
    ("q35", "64G", 2 * GIB),
    ("pc", "16M", 16 * MIB),
    ("pc", "3583M", 3583 * MIB),
    ("pc", "8G", 3 * GIB),
]


def in_bytes(memory):
    return int(memory[:-1]) * {"M": MIB, "G": GIB}[memory[-1]]


@pytest.mark.parametrize(("machine", "memory", "low"), MACHINES)
def test_ram_is_what_the_machine_has(reached, machine, memory, low):
    seen = reached(machine=machine, memory=memory)
    ram = [(start, end) for kind, start, end in seen.resources() if kind == RAM]
    expected = [(4 * KIB, 640 * KIB), (MIB, low)]
    if in_bytes(memory) > low:
        expected.append((FOUR_GIB, FOUR_GIB + in_bytes(memory) - low))
    assert ram == expected


@pytest.mark.parametrize(("machine", "memory", "low"), MACHINES)
def test_windows_are_apart_from_ram_and_from_each_other(reached, layout, machine, memory, low):
    seen = reached(machine=machine, memory=memory)
    memory_like = sorted((s, e) for kind, s, e in seen.resources() if kind != IO)
    assert all(a[1] <= b[0] for a, b in zip(memory_like, memory_like[1:], strict=False))
    assert (IO, 0, 0x10000) in seen.resources()
    assert (FIRMWARE, layout.flash_base, FOUR_GIB) in seen.resources()
    windows = [(s, e) for kind, s, e in seen.resources() if kind == MMIO]
    below = max((w for w in windows if w[1] <= FOUR_GIB), key=lambda w: w[1] - w[0])
    assert below[1] - below[0] >= 128 * MIB
    (above,) = [w for w in windows if w[0] >= FOUR_GIB]
    assert above[1] - above[0] == 32 * GIB and above[0] % GIB == 0


@pytest.mark.parametrize(
    ("machine", "chipset", "ecam"), [("q35", Q35, True), ("pc", I440FX, False)]
)
def test_the_platform_is_described(reached, layout, machine, chipset, ecam):
    seen = reached(machine=machine)
    platform = seen.platform(layout)
    assert platform["version"] == 1
    assert platform["chipset"] == chipset
    assert (platform["pm_base"], platform["pm_timer_bits"]) == (0x600, 24)
    assert platform["ecam_base"] == (0xB0000000 if ecam else 0)
    assert platform["boot_volume_base"] == layout.volumes["boot"].base
    assert 0 < platform["tsc_at_reset"] < platform["tsc_at_handoff"]
    assert 100e6 < platform["tsc_hz"] < 20e9


def test_the_pm_timer_runs(reached):
    seen = reached()

    def timer():
        return int(seen.monitor("i/w 0x608").split("=")[1], 16)

    assert timer() != timer()


def test_the_flash_volumes_are_described(reached, layout):
    hobs = [struct.unpack("<QQ", hob.data) for hob in reached().hobs() if hob.kind == 5]
    assert hobs == [(volume.base, volume.size) for volume in layout.volumes.values()]


@pytest.mark.parametrize("memory", ["16M", "4G"])
def test_allocations_lie_in_ram_and_apart(reached, memory):
    seen = reached(memory=memory)
    used = sorted((start, end) for _, _, start, end in seen.allocations())
    assert all(a[1] <= b[0] for a, b in zip(used, used[1:], strict=False))
    _, _, top, bottom, free_top, free_bottom, _ = struct.unpack("<IIQQQQQ", seen.hobs()[0].data)
    assert bottom <= used[0][0] and used[-1][1] == free_bottom < free_top == top
    ram = [(s, e) for kind, s, e in seen.resources() if kind == RAM]
    assert (bottom, top) in ram


@pytest.mark.parametrize("bits", [36, 40])
def test_the_windows_stay_within_the_cpus_addresses(reached, bits):
    seen = reached(cpu=f"qemu64,phys-bits={bits}", memory="4G")
    (cpu,) = [hob.data for hob in seen.hobs() if hob.kind == 6]
    assert (cpu[0], cpu[1]) == (bits, 16)
    assert all(end <= 1 << bits for _, _, end in seen.resources())


def test_too_little_ram_is_told(start, make_image):
    refused = start(make_image(), memory="2M").wait_refused()
    assert refused.startswith("payload: no RAM for 0x200000..")


@dataclass(frozen=True)
class Mapping:
    """One present leaf of the page tables."""

    start: int
    size: int
    writable: bool
    executable: bool
    uncached: bool


def walk(seen):
    """All leaves of the page tables, in ascending order."""
    root = seen.registers()["CR3"]
    ((start, end),) = [(s, e) for _, _, s, e in seen.allocations() if s <= root < e]
    tables = seen.memory(start, end - start)

    def level(table, shift, base):
        for index, entry in enumerate(struct.unpack_from("<512Q", tables, table - start)):
            at = base + (index << shift)
            if not entry & 1:
                continue
            if shift == 12 or entry & 0x80:
                target = entry & 0x000FFFFFFFFFF000 & -(1 << shift)
                assert target == at, "identity-mapped"
                flags = bool(entry & 2), not entry >> 63, entry & 0x18 == 0x18
                yield Mapping(at, 1 << shift, *flags)
            else:
                assert entry & 2 and not entry >> 63, "tables themselves restrict nothing"
                yield from level(entry & 0x000FFFFFFFFFF000, shift - 9, at)

    return list(level(root, 39, 0))


def at(mappings, address):
    """The mapping that covers an address, or None."""
    index = bisect.bisect_right(mappings, address, key=lambda mapping: mapping.start) - 1
    found = mappings[index] if index >= 0 else None
    return found if found and address < found.start + found.size else None


@pytest.mark.parametrize("cpu", ["qemu64", "max"])
def test_page_permissions(reached, layout, cpu):
    seen = reached(cpu=cpu)
    mappings = walk(seen)
    assert not [m for m in mappings if m.writable and m.executable]
    assert at(mappings, 0) is None and at(mappings, 0xFFF) is None
    assert at(mappings, 0xA0000) is None and at(mappings, 0xFFFFF) is None
    for address, writable, executable in (
        (0x1000, True, False),
        (0x200000, False, True),
        (0x201000, False, False),
        (0x202000, True, False),
        (layout.volumes["app"].base, False, False),
        (layout.volumes["main"].base, False, False),
        (layout.volumes["boot"].base, False, True),
        (0xFFFFFFF0, False, True),
    ):
        found = at(mappings, address)
        assert (found.writable, found.executable) == (writable, executable), hex(address)
        assert not found.uncached
    windows = (0xB0000000, 0xC0000000, 0xFEC00000, 0xFEE00000, 0xFED00000, FOUR_GIB)
    for address in (*windows, layout.flash_base - 1):  # where a second flash chip ends
        assert at(mappings, address).uncached and at(mappings, address).writable, hex(address)
    executable_bytes = sum(m.size for m in mappings if m.executable)
    assert executable_bytes == layout.volumes["boot"].size + 0x1000


def test_the_page_below_the_stack_is_not_mapped(reached, layout):
    seen = reached()
    mappings = walk(seen)
    (stack,) = [s for name, _, s, _ in seen.allocations() if name == layout.guids["hob_stack"]]
    assert at(mappings, stack - 1) is None and at(mappings, stack - 0x1000) is None
    assert at(mappings, stack).writable and at(mappings, stack - 0x1001) is not None


@pytest.mark.parametrize(
    ("machine", "memory", "cpu"),
    [("q35", "8G", "qemu64"), ("q35", "64G", "max"), ("pc", "16M", "Nehalem")],
)
def test_every_described_byte_is_mapped_and_no_other(reached, machine, memory, cpu):
    seen = reached(machine=machine, memory=memory, cpu=cpu)
    mappings = walk(seen)
    for kind, start, end in seen.resources():
        if kind == IO:
            continue
        while start < end:
            mapping = at(mappings, start)
            if mapping is None:  # only the guard page may be missing
                assert kind == RAM and at(mappings, start - 1) and at(mappings, start + 0x1000)
                start += 0x1000
                continue
            assert mapping.uncached == (kind == MMIO)
            start = mapping.start + mapping.size
    top = max(end for kind, _, end in seen.resources() if kind != IO)
    assert mappings[-1].start + mappings[-1].size == top
