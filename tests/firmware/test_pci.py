# SPDX-License-Identifier: MIT
"""PCI enumeration on QEMU's machines, checked against what QEMU itself says about its buses."""

import ast

import pytest
from entropy_driver import PROGRAM

# Ways to reach a device: options, and the bus that a device behind them plugs into.
ROOT_PORT: tuple[str, ...] = ("pcie-root-port,id=outer,chassis=1,slot=1",)
SWITCH: tuple[str, ...] = (*ROOT_PORT, "x3130-upstream,id=up,bus=outer")
SWITCH += ("xio3130-downstream,id=down,bus=up,chassis=2,slot=2",)
TREES = {
    "root bus": ((), "pcie.0"),
    "root port": (ROOT_PORT, "outer"),
    "switch": (SWITCH, "down"),
    "PCI bridge": (("pcie-pci-bridge,id=outer",), "outer"),
    "two PCI bridges": (
        ("pcie-pci-bridge,id=outer", "pci-bridge,id=inner,bus=outer,addr=1,chassis_nr=9"),
        "inner",
    ),
    "extra root bus": (
        ("pxb-pcie,id=extra,bus=pcie.0,bus_nr=128", "pcie-root-port,id=leaf,bus=extra,chassis=5"),
        "leaf",
    ),
}


def started(guest):
    guest.console.wait_prompt()
    guest.console.exec(PROGRAM)
    return guest


def reads_entropy(guest, count=1):
    code = f"rngs = all_devices()\nprint(len(rngs) == {count}, [len(r.read()) for r in rngs])"
    assert guest.console.exec(code) == f"True {[64] * count}\n"


@pytest.mark.parametrize("tree", TREES)
def test_a_device_works_wherever_it_is(boot, tree):
    options, bus = TREES[tree]
    guest = started(boot(devices=(*options, f"virtio-rng-pci,bus={bus}")))
    reads_entropy(guest)
    assert guest.console.eval("rngs[0].queue.vector.count") in (0, 1)


def test_all_trees_in_one_machine(boot):
    devices: tuple[str, ...] = (*SWITCH, "virtio-rng-pci,bus=down")
    devices += ("pcie-pci-bridge,id=pp,bus=pcie.0", "pci-bridge,id=pb,bus=pp,addr=1,chassis_nr=9")
    devices += ("virtio-rng-pci,bus=pb,addr=2", "virtio-rng-pci,bus=pcie.0")
    devices += (*TREES["extra root bus"][0], "virtio-rng-pci,bus=leaf")
    guest = started(boot(devices=devices))
    reads_entropy(guest, 4)
    agrees_with_qemu(guest)


def test_i440fx_works_by_ports_and_behind_a_bridge(boot):
    devices = ("pci-bridge,id=b,chassis_nr=2", "virtio-rng-pci,bus=b,addr=3", "virtio-rng-pci")
    guest = started(boot(machine="pc", devices=devices))
    reads_entropy(guest, 2)
    agrees_with_qemu(guest)
    assert guest.console.eval("__import__('pci').access.name") == "CF8/CFC"


def agrees_with_qemu(guest):
    """QEMU maps every BAR where we say, inside its bridges' windows, and no two overlap."""
    code = """
import pci
for function in pci.devices():
    if function.class_code >> 16 != 6 or function.header:
        function.enable(True)
print([(f.address, b.index, b.address, b.size) for f in pci.devices() for b in f.bars if b])
"""
    ours = ast.literal_eval(guest.console.exec(code))
    theirs: dict = {}
    for root in guest.qmp("query-pci"):
        collect_bars(root["devices"], root["bus"], (), theirs)
    assert {(a, i): (start, size) for a, i, start, size in ours} == {
        key: value[:2] for key, value in theirs.items()
    }
    for kind in "memory", "io":
        ranges = sorted(value[:2] for value in theirs.values() if value[2] == kind)
        assert all(a[0] + a[1] <= b[0] for a, b in zip(ranges, ranges[1:], strict=False))


def collect_bars(devices, bus, windows, found):
    """Walk QEMU's answer: (address, BAR) -> (start, size, kind); checks the bridges on the way."""
    for device in devices:
        bridge = device.get("pci_bridge")
        if not bridge and device["class_info"]["class"] >> 8 == 6:
            continue  # the chipset's own registers are not ours to place
        for region in device["regions"]:
            if region["bar"] == 6:
                continue  # ROMs stay off
            start, size, kind = region["address"], region["size"], region["type"]
            forwarded = [(w["base"], w["limit"]) for w in windows]
            if windows:
                assert any(a <= start and start + size - 1 <= b for a, b in forwarded), region
            address = bus, device["slot"], device["function"]
            found[address, region["bar"]] = start, size, kind
        if bridge:
            below = bridge["bus"]
            inner = (below["io_range"], below["memory_range"], below["prefetchable_range"])
            assert bus < below["secondary"] <= below["subordinate"]
            collect_bars(bridge.get("devices", ()), below["secondary"], inner, found)


def test_a_crowd_is_placed_without_overlap(boot):
    devices = [f"pcie-root-port,id=p{i},chassis={i + 1},slot={i + 1}" for i in range(6)]
    devices += [f"virtio-rng-pci,bus=p{i}" for i in range(6)]
    devices += [f"virtio-serial-pci,id=s{i},bus=pcie.0" for i in range(8)]
    devices += ["nec-usb-xhci,bus=pcie.0", "ich9-intel-hda,bus=pcie.0", "e1000e,bus=pcie.0"]
    devices += ["virtio-gpu-pci,bus=pcie.0", "pci-testdev,bus=pcie.0", "virtio-balloon-pci"]
    guest = started(boot(devices=tuple(devices)))
    agrees_with_qemu(guest)
    reads_entropy(guest, 6)


def test_multifunction_device_shows_all_functions(boot):
    devices = ("virtio-rng-pci,addr=7.0,multifunction=on", "virtio-rng-pci,addr=7.3")
    guest = started(boot(devices=devices))
    reads_entropy(guest, 2)
    slots = guest.console.eval("[r.device.transport.function.slot for r in rngs]")
    assert slots == ["00:07.0", "00:07.3"]


def test_a_large_bar_lies_above_4_gib_and_can_be_used(boot):
    extra = ("-object", "memory-backend-ram,id=shm,size=1G,reserve=off")
    guest = started(boot(devices=("ivshmem-plain,memdev=shm",), extra=extra))
    code = """
import machine, pci
function = pci.find(0x1AF4, 0x1110)[0]
function.enable()
last = function.region(2, (1 << 30) - 4, 4)
machine.mem32[last] = 0x12345678
machine.mem32[function.bars[2].address] = 0x9ABCDEF0
print(function.bars[2].address >= 1 << 32, hex(machine.mem32[last]))
"""
    assert guest.console.exec(code) == "True 0x12345678\n"
    agrees_with_qemu(guest)


@pytest.mark.parametrize("memory", ("16M", "2G", "3G", "8G"))
def test_windows_follow_the_memory(boot, memory):
    guest = started(boot(memory=memory, devices=("virtio-rng-pci", "pci-testdev,membar=4G")))
    reads_entropy(guest)
    agrees_with_qemu(guest)


def test_a_bar_without_room_is_logged_and_the_rest_works(boot):
    guest = started(boot(devices=("virtio-rng-pci", "pci-testdev,membar=1T")))
    reads_entropy(guest)
    assert "no room for 1099511627776 bytes" in guest.debugcon()


def test_enumeration_after_a_soft_reset_finds_the_same(boot):
    guest = started(boot(devices=(*SWITCH, "virtio-rng-pci,bus=down")))
    first = guest.console.exec("import pci\npci.lspci()")
    reads_entropy(guest)
    guest.console.soft_reset()
    assert guest.console.exec("import pci\npci.lspci()") == first
    guest.console.exec(PROGRAM)
    reads_entropy(guest)
    agrees_with_qemu(guest)


def test_devices_at_the_prompt_is_a_list_to_look_at(repl):
    lines = repl.console.exec("import pci\nprint(pci.devices())").splitlines()
    assert lines[0] == "00:00.0 Host bridge: Intel 82G33 host bridge [8086:29c0]"
    assert "00:1f.2 SATA controller: Intel ICH9 SATA controller [8086:2922]" in lines
