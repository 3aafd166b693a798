# SPDX-License-Identifier: MIT
"""virtio against QEMU's own devices: real queues and interrupts, and devices with odd options."""

import re

import pytest
from entropy_driver import DRIVER, PROGRAM

from mpfw import paths
from mpfw.guest.console import RemoteError


@pytest.fixture
def entropy(boot):
    """A function that boots a guest with these devices and the entropy driver loaded."""

    def start(*devices, **machine):
        guest = boot(devices=devices, **machine)
        guest.console.wait_prompt()
        guest.console.exec(PROGRAM)
        return guest

    return start


def reads_entropy(guest, devices=1):
    """Every entropy device gives bytes that are no constant, and different ones each time."""
    guest.console.exec("rngs = all_devices()")
    assert guest.console.eval("len(rngs)") == devices
    for i in range(devices):
        first, second = (guest.console.eval(f"rngs[{i}].read()") for _ in range(2))
        assert first != second and len(first) == len(second) == 64
        assert len(set(first)) > 1


def test_the_driver_in_the_documents_runs_as_it_is_typed_in(boot):
    blocks = re.findall(r"```python\n(.*?)```", (paths.ROOT / "docs/virtio.md").read_text(), re.S)
    assert blocks == [DRIVER]
    said = []
    for _ in range(2):
        guest = boot(devices=("virtio-rng-pci",), fw_cfg={"opt/micropython/main.py": blocks[0]})
        said.append(guest.console.expect(r"Red Hat Virtio RNG \[1af4:1005\] ([0-9a-f]{128})\r\n"))
    assert said[0].group(1) != said[1].group(1)


@pytest.mark.parametrize(
    "options",
    (
        "",
        ",event_idx=off",
        ",indirect_desc=off",
        ",event_idx=off,indirect_desc=off",
        ",packed=on",
        ",iommu_platform=on,disable-legacy=on",
        ",disable-legacy=on",
        ",disable-legacy=off",
        ",vectors=0",
        ",vectors=1",
        ",page-per-vq=on",
        ",modern-pio-notify=on",
        ",ats=on,disable-legacy=on",
    ),
)
def test_entropy_is_read_whatever_the_device_offers(entropy, options):
    reads_entropy(entropy("virtio-rng-pci" + options))


def test_completion_arrives_by_interrupt(entropy):
    guest = entropy("virtio-rng-pci")
    code = """
rng = bare_device()
before = rng.queue.vector.count
for i in range(10):
    rng.queue.add1(buffer.addr, 8, True)
    rng.queue.enable_interrupts()
    rng.queue.publish()
    while rng.queue.vector.count == before + i:
        machine.idle()
    rng.queue.pop()
print(rng.queue.vector.count - before)
"""
    assert guest.console.exec(code) == "10\n"


def test_without_msix_the_queue_has_no_vector(entropy):
    guest = entropy("virtio-rng-pci,vectors=0")
    reads_entropy(guest)
    assert guest.console.eval("rngs[0].queue.vector") is None


def test_one_msix_entry_is_shared(entropy):
    guest = entropy("virtio-rng-pci,vectors=1")
    reads_entropy(guest)
    assert guest.console.eval("rngs[0].queue.vector is rngs[0].device.config_vector")


def test_ring_indices_wrap_around_on_a_real_device(entropy):
    guest = entropy("virtio-rng-pci")
    code = """
rng = all_devices()[0]
ok = 0
for i in range(66000):
    ok += len(rng.read()) == 64
print(ok, rng.queue.in_flight)
"""
    assert guest.console.exec(code, 90) == "66000 4\n"


def test_long_chains_go_through_an_indirect_table(entropy):
    guest = entropy("virtio-rng-pci")
    code = """
rng = bare_device()
at = buffer.addr
head = rng.queue.add((), [(at + 100 * i, 10) for i in range(12)])
free = rng.queue.free
rng.queue.publish()
done = popped(rng.queue)
parts = [bytes(buffer[100 * i : 100 * i + 10]) for i in range(12)]
gaps = sum(sum(buffer[100 * i + 10 : 100 * i + 100]) for i in range(12))
print(rng.queue.size - free, done == head << 32 | 120, len(set(parts)), gaps)
"""
    assert guest.console.exec(code) == "1 True 12 0\n"


def test_several_completions_are_popped_in_order(entropy):
    guest = entropy("virtio-rng-pci")
    code = """
rng = bare_device()
heads = [rng.queue.add1(buffer.addr + 8 * i, 8, True) for i in range(8)]
rng.queue.publish()
print([popped(rng.queue) for _ in range(8)] == [head << 32 | 8 for head in heads])
"""
    assert guest.console.exec(code) == "True\n"


def test_a_legacy_device_is_refused_with_a_reason(entropy):
    guest = entropy("virtio-rng-pci,disable-modern=on,disable-legacy=off")
    with pytest.raises(RemoteError, match="no modern interface"):
        guest.console.exec("all_devices()")


def test_a_queue_that_the_device_lacks_is_refused(entropy):
    guest = entropy("virtio-rng-pci")
    with pytest.raises(RemoteError, match="no queue 7"):
        guest.console.exec("all_devices()[0].device.queue(7)")


def test_a_required_feature_that_is_not_offered_is_refused_and_the_device_told(entropy):
    guest = entropy("virtio-rng-pci")
    guest.console.exec("device = VirtioDevice(virtio.find(virtio.ENTROPY)[0])")
    with pytest.raises(RemoteError, match="lacks feature bits 0x4000"):
        guest.console.exec("device.negotiate(required=1 << 14)")
    assert guest.console.eval("device.status") & 0x80


def test_a_device_that_asks_for_a_reset_is_an_error_and_works_after_it(entropy):
    guest = entropy("virtio-rng-pci")
    code = """
rng = all_devices()[0]
assert not rng.device.check()
machine.mem16[rng.queue.avail_address + 2] = 40000  # more than any queue has: QEMU stops there
machine.mem16[rng.device.transport.notify_address(0)] = 0
try:
    while True:
        rng.read()
except OSError as error:
    print(error.errno, error)
rng.close()
print(len(all_devices()[0].read()))
"""
    first, second = guest.console.exec(code).splitlines()
    assert first.startswith("5 ") and "needs a reset" in first
    assert second == "64"


def test_config_change_interrupts_and_is_read_whole(entropy):
    guest = entropy("virtio-net-pci,id=nic")
    code = """
device = VirtioDevice(virtio.find(virtio.NETWORK)[0])
device.negotiate(1 << 16)  # VIRTIO_NET_F_STATUS
device.driver_ok()
while device.check():
    pass
print(device.config(4, 4)[2:])
"""
    assert guest.console.exec(code) == "b'\\x01\\x00'\n"  # link up
    guest.qmp("set_link", name="nic", up=False)
    code = """
while not device.check():
    machine.idle()
print(device.config(4, 4)[2:])
"""
    assert guest.console.exec(code) == "b'\\x00\\x00'\n"


def test_opening_and_closing_leaks_neither_memory_nor_vectors(entropy):
    guest = entropy("virtio-rng-pci")
    code = """
before = machine.dma_used()
for _ in range(200):
    rng = all_devices()[0]
    rng.read()
    rng.close()
print(machine.dma_used() - before, machine.Vector().number)
"""
    assert guest.console.exec(code) == "0 64\n"


def test_dma_memory_is_zeroed_unless_that_is_not_wanted(entropy):
    guest = entropy("virtio-rng-pci")
    code = """
import machine, uctypes
for clear in (True, False):
    old = machine.DMABuffer(8192)
    uctypes.bytearray_at(old.addr, 8192)[:] = b"x" * 8192
    at = old.addr
    old.free()
    new = machine.DMABuffer(8192, clear=clear)
    print(new.addr == at, set(bytes(memoryview(new))))
    new.free()
print(machine.nbytes(bytes(3)), machine.nbytes(memoryview(bytearray(9))[2:], True))
for wrong in (5, None):
    try:
        machine.nbytes(wrong)
    except TypeError:
        print("TypeError")
try:
    machine.nbytes(b"fixed", True)
except TypeError:
    print("TypeError")
"""
    expected = "True {0}\nTrue {120}\n3 7\nTypeError\nTypeError\nTypeError\n"
    assert guest.console.exec(code) == expected


def test_soft_reset_with_buffers_in_flight_leaves_a_working_machine(entropy):
    guest = entropy("virtio-rng-pci")
    for _ in range(3):
        guest.console.exec("rng = bare_device(); rng.queue.add1(buffer.addr, 4096, True)")
        guest.console.exec("rng.queue.publish(); rng.queue.enable_interrupts()")
        guest.console.soft_reset()
        guest.console.exec(PROGRAM)
        reads_entropy(guest)


def test_twenty_other_devices_do_not_disturb(entropy):
    others = [f"virtio-serial-pci,id=s{i}" for i in range(8)] + ["virtio-balloon-pci"]
    others += ["virtio-rng-pci"] * 6 + ["virtio-keyboard-pci", "virtio-mouse-pci"]
    others += ["virtio-tablet-pci", "virtio-gpu-pci", "virtio-scsi-pci"]
    guest = entropy(*others)
    reads_entropy(guest, devices=6)
    guest.console.exec("import pci\nfrom virtio.pci import device_type")
    assert guest.console.eval("sum(device_type(f) != 0 for f in pci.devices())")


@pytest.mark.parametrize("memory", ("16M", "4G", "64G"))
def test_works_with_little_and_with_much_memory(entropy, memory):
    reads_entropy(entropy("virtio-rng-pci", memory=memory))


def test_repr_of_devices_is_lspci_like(entropy):
    guest = entropy("virtio-rng-pci,addr=5")
    text = guest.console.exec("import pci\nprint(pci.find(0x1af4))")
    assert text == "00:05.0 Unclassified device: Red Hat Virtio RNG [1af4:1005]\n"


def test_vector_interrupts_by_itself_after_a_while(repl):
    code = """
import machine, time
order = []
first, second = machine.Vector(), machine.Vector()
first.irq(lambda vector: order.append("first"))
second.irq(lambda vector: order.append("second"))
start = time.ticks_us()
second.after(40000)
first.after(20000)
while time.ticks_diff(time.ticks_us(), start) < 10000:
    pass
early = list(order)
while len(order) < 2:  # neither a bare loop nor a sleep keeps it from coming
    if order:
        time.sleep(0.2)
late = time.ticks_diff(time.ticks_us(), start)
first.after(5000)
first.after(-1)
first.close()
second.close()
time.sleep(0.02)
print(early, order, late >= 40000, first.count, second.count)
try:
    first.after(1)
except OSError as error:
    print(error.errno)
"""
    assert repl.console.exec(code) == "[] ['first', 'second'] True 1 1\n9\n"
