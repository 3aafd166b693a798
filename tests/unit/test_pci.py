# SPDX-License-Identifier: MIT
"""PCI enumeration and placement against a machine in software: shapes of trees, lying devices."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pci_machine import GIB, I440FX, Bridge, Function, Machine, imported
from profiles import examples

ROOT_PORT = 4
MIB = 1 << 20


def slots(devices):
    return [function.slot for function in devices]


def vsock(**bars):
    return Function(bars={1: ("m32", 4096), 4: ("p64", 16384), **bars})


def test_devices_lists_functions_of_the_root_bus():
    with imported(Machine({(2, 0): vsock(), (31, 0): Function(multi=True)}), "pci") as pci:
        assert slots(pci.devices()) == ["00:00.0", "00:02.0", "00:1f.0"]


def test_devices_prints_as_lspci_does():
    with imported(Machine({(2, 0): vsock()}), "pci") as pci:
        assert repr(pci.devices()).splitlines() == [
            "00:00.0 Host bridge: Intel 82G33 host bridge [8086:29c0]",
            "00:02.0 Communication controller: Red Hat Virtio socket [1af4:1053]",
        ]


def test_unknown_devices_have_a_text_too():
    with imported(Machine({(2, 0): Function(0xABCD9999, 0xFE0000)}), "pci") as pci:
        assert repr(pci.devices()[1]) == "00:02.0 Class fe00: vendor 9999 device [9999:abcd]"


def test_only_multifunction_devices_are_asked_for_more_functions():
    devices = {(3, 0): Function(multi=True), (3, 5): Function(), (4, 0): Function()}
    devices[4, 1] = Function()  # hidden: function 0 does not announce it
    with imported(Machine(devices), "pci") as pci:
        assert slots(pci.devices()) == ["00:00.0", "00:03.0", "00:03.5", "00:04.0"]


def test_q35_uses_ecam_and_pc_uses_ports():
    machine = Machine({(2, 0): vsock()})
    with imported(machine, "pci") as pci:
        pci.devices()
        assert pci.access.name == "ECAM"
        assert machine.ecam_touched
    machine = Machine({(2, 0): vsock()}, host=I440FX)
    with imported(machine, "pci") as pci:
        assert len(pci.devices()) == 2
        assert pci.access.name == "CF8/CFC"
        assert not machine.ecam_touched


def test_ecam_outside_the_mapped_window_is_not_used():
    machine = Machine({(2, 0): vsock()}, mmio=((0xC0000000, 0x3EC00000),))
    with imported(machine, "pci") as pci:
        assert len(pci.devices()) == 2
        assert pci.access.name == "CF8/CFC"
        assert machine.log_lines[0][0] == "WARNING"


def test_bar_behind_two_root_ports_is_forwarded():
    device = vsock()
    inner, outer = Bridge(ROOT_PORT), Bridge(ROOT_PORT)
    inner.children[0, 0] = device
    outer.children[0, 0] = inner
    machine = Machine({(5, 0): outer})
    with imported(machine, "pci") as pci:
        assert slots(pci.devices()) == ["00:00.0", "00:05.0", "01:00.0", "02:00.0"]
        assert len(machine.placed()) == 2
        found = pci.devices()[-1]
        found.enable()
        assert all(f.get(4, 2) & 6 == 6 for f in (device, inner, outer))


def test_root_port_is_asked_for_device_0_only():
    empty, full = Machine({(5, 0): Bridge(ROOT_PORT)}), Machine({(5, 0): Bridge(None)})
    for machine in empty, full:
        with imported(machine, "pci") as pci:
            pci.devices()
    assert full.accesses - empty.accesses > 25


def test_bus_numbers_nest():
    a, b, c = Bridge(None), Bridge(None), Bridge(None)
    a.children = {(1, 0): b}
    machine = Machine({(1, 0): a, (2, 0): c})
    with imported(machine, "pci") as pci:
        pci.devices()
    assert [bytes(x.config[0x18:0x1B]) for x in (a, b, c)] == [
        bytes([0, 1, 2]),
        bytes([1, 2, 2]),
        bytes([0, 3, 3]),
    ]


def test_small_64_bit_bars_go_low_and_large_ones_high():
    device = Function(bars={0: ("p64", 16384), 2: ("p64", 8 * GIB), 4: ("m64", 4096)})
    machine = Machine({(2, 0): device})
    with imported(machine, "pci") as pci:
        pci.devices()
    assert device.bar_address(0) < 4 * GIB
    assert device.bar_address(2) >= 4 * GIB
    assert device.bar_address(2) % (8 * GIB) == 0


@pytest.mark.parametrize("at", [0x1000, 0x100000, 0xFFC00000, 0xB0000000, 0xFEE00000])
@pytest.mark.parametrize("other", [1, 4])
def test_a_bar_that_stays_where_it_is_is_never_decoded(at, other):
    """It lies over RAM, flash, configuration space, the local APIC, or another one."""
    liar, good = vsock(), vsock()
    liar.put(0x10 + 4 * other, at | liar.config[0x10 + 4 * other] & 15)
    liar.allow(0x10 + 4 * other, 8 if other == 4 else 4, 0)
    machine = Machine({(2, 0): liar, (3, 0): good})
    with imported(machine, "pci") as pci:
        found = pci.devices()[1]
        assert found.bars[other].address is None
        with pytest.raises(OSError, match=f"BAR{other} cannot be placed"):
            found.enable()
        assert not liar.get(4, 2) & 7
        pci.devices()[2].enable()
        assert good.get(4, 2) & 7 == 6
        assert [line for line in machine.log_lines if f"BAR{other}" in line[2]]


@pytest.mark.parametrize("kind, size", [("m32", 1 << 31), ("m64", 1 << 52), ("p64", 1 << 63)])
@pytest.mark.parametrize("place", [0, 2])
def test_a_bar_for_which_there_is_no_address_leaves_the_others_theirs(kind, size, place):
    liar = Function(bars={place: (kind, size)})
    machine = Machine({(2, 0): liar, (3, 0): vsock()})
    with imported(machine, "pci") as pci:
        pci.devices()
        assert pci.devices()[1].bars[place].address is None
    assert [index for _, index, *_ in machine.placed()] == [1, 4]
    assert all(start >= MIB for *_, start, _ in machine.placed())


def test_without_a_high_window_a_large_bar_is_left_out_and_logged():
    device = Function(bars={0: ("m32", 4096), 2: ("p64", 8 * GIB)})
    machine = Machine({(2, 0): device}, mmio=((0xB0000000, 0x4EC00000),))
    with imported(machine, "pci") as pci:
        found = pci.devices()[1]
        assert found.bars[0].address
        assert found.bars[2].address is None
        assert "no room" in machine.log_lines[0][2]
        with pytest.raises(OSError):
            found.region(2, 0, 4)


def test_prefetchable_bars_behind_a_narrow_bridge_stay_below_4_gib():
    bridge = Bridge(None, wide=False)
    bridge.children[3, 0] = Function(bars={0: ("p64", 128 * MIB), 2: ("p32", MIB)})
    machine = Machine({(1, 0): bridge})
    with imported(machine, "pci") as pci:
        pci.devices()
    assert len(machine.placed()) == 2
    assert all(end <= 4 * GIB for *_, end in machine.placed())


def test_a_bar_that_fits_nowhere_does_not_stop_its_neighbours():
    bad, good = Bridge(ROOT_PORT), Bridge(ROOT_PORT)
    bad.children[0, 0] = Function(bars={0: ("m32", 2 * GIB)})
    good.children[0, 0] = vsock()
    machine = Machine({(1, 0): bad, (2, 0): good})
    with imported(machine, "pci") as pci:
        pci.devices()
    assert [f for f, *_ in machine.placed()] == [good.children[0, 0]] * 2
    assert bad.windows() == {}


def test_nothing_decodes_before_enable_and_after_disable():
    device = vsock()
    device.put(4, 7, 2)  # left over from before a soft reset
    with imported(Machine({(2, 0): device}), "pci") as pci:
        found = pci.devices()[1]
        assert device.get(4, 2) & 7 == 0
        found.enable()
        assert device.get(4, 2) == 0x406
        found.disable()
        assert device.get(4, 2) & 7 == 0


def test_soft_reset_disables_what_was_enabled_and_enumeration_works_again():
    device, bridge = vsock(), Bridge(ROOT_PORT)
    bridge.children[0, 0] = device
    machine = Machine({(2, 0): bridge})
    with imported(machine, "pci") as pci:
        pci.devices()[-1].enable()
        first = machine.placed()
        for function in reversed(machine.at_reset):
            function()
        assert device.get(4, 2) & 7 == 0
    with imported(machine, "pci") as pci:
        assert slots(pci.devices()) == ["00:00.0", "00:02.0", "01:00.0"]
        assert machine.placed() == first


def test_host_and_isa_bridges_are_left_alone():
    lpc = Function(0x29188086, 0x060100, bars={0: ("m32", 4096)})
    lpc.put(4, 7, 2)
    with imported(Machine({(31, 0): lpc}), "pci") as pci:
        pci.devices()
    assert lpc.get(4, 2) == 7
    assert lpc.bar_address(0) == 0


def test_capabilities_in_order_and_by_id():
    device = vsock()
    device.capability(0x98, 0x11, 0x84)
    device.capability(0x84, 0x09, 0x70)
    device.capability(0x70, 0x09, 0)
    with imported(Machine({(2, 0): device}), "pci") as pci:
        found = pci.devices()[1]
        assert found.capabilities() == [(0x11, 0x98), (9, 0x84), (9, 0x70)]
        assert found.capabilities(9) == [(9, 0x84), (9, 0x70)]
        device.put(0x84, 0xFF, 2)  # whatever it says now
        assert found.capabilities(9) == [(9, 0x84), (9, 0x70)]


@pytest.mark.parametrize("chain", ([(0x40, 0x40)], [(0x40, 0x50), (0x50, 0x40)], [(0x40, 0x10)]))
def test_capability_loops_end(chain):
    device = vsock()
    for at, following in chain:
        device.capability(at, 9, following)
    with imported(Machine({(2, 0): device}), "pci") as pci:
        assert len(pci.devices()[1].capabilities()) == len(chain)


def test_extended_capability_loops_end():
    device = vsock()
    device.capability(0x40, 0x10, 0)
    device.put(0x100, 0x20010001 | 0x2000 << 16)
    device.put(0x200, 0x10010002)
    with imported(Machine({(2, 0): device}), "pci") as pci:
        assert pci.devices()[1].extended_capabilities() == [(1, 0x100), (2, 0x200)]


@given(config=st.binary(min_size=252, max_size=252), extended=st.binary(max_size=64))
def test_any_configuration_space_is_enumerated_without_a_fault(config, extended):
    device = Function()
    device.config[4:256] = config
    device.config[256 : 256 + len(extended)] = extended
    if device.config[0x0E] & 0x7F == 1:
        device.mask[0x18:0x34] = b"\xff" * 0x1C
    with imported(Machine({(2, 0): device}), "pci") as pci:
        found = pci.devices()[1]
        repr(found)
        found.capabilities()
        found.extended_capabilities()
        try:
            assert found.msix is None or found.msix.size
        except OSError:
            pass


def test_msix_routes_an_entry_to_a_vector():
    device = vsock()
    device.capability(0x40, 0x11, 0, struct.pack("<HII", 2, 1, 0x801))
    device.allow(0x42, 2, 0xC000)
    machine = Machine({(2, 0): device})
    with imported(machine, "pci") as pci:
        found = pci.devices()[1]
        found.enable()
        assert found.msix.size == 3
        vector = found.msix.route(2)
        assert found.msix.route(2) is vector
        table = device.bar_address(1) + 2 * 16
        words = [machine.memory(table + i, None, 4) for i in range(0, 16, 4)]
        assert words == [0xFEE00000, 0, vector.number, 0]
        assert device.get(0x42, 2) & 0xC000 == 0x8000
        with pytest.raises(OSError):
            found.msix.route(3)
        found.disable()
        assert device.get(0x42, 2) & 0x8000 == 0
        assert machine.vectors == []


@pytest.mark.parametrize("place", (0x1001, 0xFF9, 0x0, 0x7, 0xFFFFFFF9))
def test_msix_table_outside_its_bar_is_refused(place):
    device = vsock()
    device.capability(0x40, 0x11, 0, struct.pack("<HII", 255, place, 0))
    with imported(Machine({(2, 0): device}), "pci") as pci, pytest.raises(OSError):
        pci.devices()[1].msix  # noqa: B018


KINDS = st.sampled_from(["io", "m32", "p32", "m64", "p64"])


@st.composite
def bars(draw):
    found, index = {}, 0
    while index < 6 and draw(st.booleans()):
        kind = draw(KINDS)
        if kind == "io":
            size = 1 << draw(st.integers(2, 8))
        elif kind.endswith("64"):
            size = 1 << draw(st.integers(4, 34))
        else:
            size = 1 << draw(st.integers(4, 27))
        if kind.endswith("64") and index == 5:
            break
        found[index] = (kind, size)
        index += 2 if kind.endswith("64") else 1
    return found


@st.composite
def buses(draw, depth=3):
    functions: dict[tuple[int, int], Bridge | Function] = {}
    for device in draw(st.lists(st.integers(1, 31), max_size=5, unique=True)):
        if depth and draw(st.integers(0, 2)) == 0:
            port = draw(st.sampled_from([None, ROOT_PORT]))
            bridge = Bridge(port, wide=draw(st.booleans()))
            children = draw(buses(depth=depth - 1))
            if port is not None:
                children = dict(zip([(0, 0)], children.values(), strict=False))
            bridge.children = children
            functions[device, 0] = bridge
        else:
            functions[device, 0] = Function(bars=draw(bars()))
    return functions


@settings(max_examples=examples(600), deadline=None)
@given(devices=buses())
def test_no_two_bars_overlap_and_all_are_reachable(devices):
    machine = Machine(devices)
    with imported(machine, "pci") as pci:
        pci.devices()
        placed = machine.placed()  # checks every bridge on the way
        access = pci.access
    io = sorted(p[3:] for p in placed if p[2] == "io")
    memory = sorted(p[3:] for p in placed if p[2] != "io")
    for ranges in io, memory:
        assert all(a[1] <= b[0] for a, b in zip(ranges, ranges[1:], strict=False))
    assert all(s >= 0x1000 and e <= 0x10000 for s, e in io)
    for function, index, kind, start, end in placed:
        assert start % function.bars[index][1] == 0
        if kind != "io":
            assert any(s <= start and end <= s + n for s, n in machine.mmio)
            assert end <= access.base or start >= access.base + (1 << 28)
            assert end <= 0xFEC00000 or start >= 4 * GIB
            assert kind.endswith("64") or end <= 4 * GIB
