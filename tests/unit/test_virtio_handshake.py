# SPDX-License-Identifier: MIT
"""The virtio handshake and PCI transport against a device in software that may misbehave."""

import contextlib
import struct
import sys
import types
from errno import EIO, ENODEV, ETIMEDOUT
from typing import Any

import pci_machine
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pci_machine import Machine, imported
from virtio_device import COMMON, CONFIG, NOTIFY, VERSION_1, VirtioFunction

ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK, FAILED = 1, 2, 4, 8, 0x80


class Queue:
    """Stands in for virtio.queue.Virtqueue, which has its own tests on real memory."""

    desc_address, avail_address, used_address = 0x10000, 0x20000, 1 << 40 | 0x30000

    def __init__(self, index, size, notify_address, event_idx, indirect, notify_bytes, allocate):
        self.index = index
        self.size = size
        self.notify_address = notify_address
        self.event_idx = event_idx
        self.indirect = indirect
        self.vector = None
        self.closed = False

    def close(self):
        self.closed = True

    def abandon(self):
        return []


class Time(types.ModuleType):
    """MicroPython's ticks, in which every look at the clock takes a millisecond."""

    now = 0

    def ticks_ms(self):
        self.now += 1
        return self.now

    @staticmethod
    def ticks_diff(a, b):
        return a - b


@contextlib.contextmanager
def opened(function, host=pci_machine.Q35):
    """virtio.device, and the transport of `function`."""
    with imported(Machine({(2, 0): function}, host), "pci") as pci:
        queue: Any = types.ModuleType("virtio.queue")
        queue.Virtqueue = Queue
        sys.modules["virtio.queue"] = queue
        real, sys.modules["time"] = sys.modules["time"], Time("time")
        try:
            from virtio import device
            from virtio.pci import PCITransport

            yield device, PCITransport(pci.devices()[1])
        finally:
            sys.modules["time"] = real


def raises(errno, match=None):
    """A context that wants an OSError with this number."""
    return pytest.raises(OSError, match=match, check=lambda error: error.errno == errno)


def test_status_goes_through_the_steps_of_3_1_1():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        assert device.negotiate() == VERSION_1
        device.driver_ok()
        assert function.statuses == [0, 1, 3, 0xB, 0xF]
        device.close()
        assert function.statuses[-1] == 0
        assert function.get(4, 2) & 4 == 0


def test_reset_is_waited_for():
    function = VirtioFunction()
    function.reset_reads = 50
    with opened(function) as (module, transport):
        module.VirtioDevice(transport)
        assert function.resetting == 0


def test_a_device_that_never_resets_times_out():
    function = VirtioFunction()
    function.reset_reads = 10**9
    with opened(function) as (module, transport), raises(ETIMEDOUT):
        module.VirtioDevice(transport)
    assert function.get(4, 2) & 4 == 0


def test_without_version_1_the_device_is_failed():
    function = VirtioFunction(offered=0)
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        with raises(ENODEV, "lacks feature bits 0x100000000"):
            device.negotiate()
        assert function.status & FAILED


def test_refused_features_are_an_error_and_the_device_is_failed():
    function = VirtioFunction()
    function.refuse_features = True
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        with raises(ENODEV, "refuses the features"):
            device.negotiate()
        assert function.status & FAILED


@pytest.mark.parametrize("offered", range(0, 64))
def test_only_offered_and_known_features_are_accepted(offered):
    known = {1, 28, 29, 32, 33, 36}
    function = VirtioFunction(offered=VERSION_1 | 1 << offered | 2)
    with opened(function) as (module, transport):
        module.VirtioDevice(transport).negotiate(wanted=6)
    assert function.features() == VERSION_1 | 2 | (1 << offered if offered in (*known, 2) else 0)


def test_queue_gets_its_size_addresses_features_and_vector():
    function = VirtioFunction(offered=VERSION_1 | 1 << 29)
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        queues = [device.queue(i) for i in range(3)]
        device.driver_ok()
        assert [q.size for q in queues] == [128] * 3
        assert [q.event_idx for q in queues] == [True] * 3
        assert [q.indirect for q in queues] == [False] * 3
        bar = function.bar_address(4)
        assert [q.notify_address - bar - NOTIFY for q in queues] == [0, 4, 8]
        assert function.vector == {0: 0, 1: 1, 2: 2, "config": 3}
        assert [q.vector.number for q in queues] == [0x51, 0x52, 0x53]
        assert function.enabled == {0: 1, 1: 1, 2: 1}


def test_a_queue_is_selected_once_and_again_after_a_reset():
    """Each access to a register may be an exit to the hypervisor."""
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        for _ in range(2):
            device.negotiate()
            for index in (0, 1, 2):
                device.queue(index)
            device.driver_ok()
            assert function.selections == [0, 1, 2]
            assert function.enabled == {0: 1, 1: 1, 2: 1}
            function.selections, function.enabled = [], {}
            device.reset()
            device.queue(2)
            assert function.enabled == {2: 1}
            function.selections, function.enabled = [], {}
            device.reset()


@pytest.mark.parametrize(
    "offered, wanted, size",
    ((256, 1024, 256), (256, 64, 64), (100, 1024, 64), (0xFFFF, 1 << 20, 32768), (1, 1024, 1)),
)
def test_queue_size_is_a_power_of_two_that_both_can(offered, wanted, size):
    function = VirtioFunction()
    function.queue_size = [offered]
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        assert device.queue(0, wanted).size == size
    assert function.queue_size == [size]


def test_a_missing_queue_is_an_error():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        with raises(ENODEV, "no queue 3"):
            device.queue(3)


def test_a_notification_offset_outside_the_structure_is_an_error():
    function = VirtioFunction()
    function.notify_off[1] = 0x400
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        device.queue(0)
        with raises(ENODEV, "notification offset 0x1000"):
            device.queue(1)


def test_a_multiplier_of_0_gives_one_address_for_all_queues():
    with opened(VirtioFunction(multiplier=0)) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        assert len({device.queue(i).notify_address for i in range(3)}) == 1


def test_few_vectors_are_shared():
    function = VirtioFunction(msix=2)
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        queues = [device.queue(i) for i in range(3)]
        device.driver_ok()
        assert function.vector == {0: 0, 1: 1, 2: 1, "config": 1}
        assert queues[1].vector is queues[2].vector is device.config_vector


def test_a_vector_that_the_device_does_not_take_is_an_error():
    function = VirtioFunction()
    function.vectors_left = 1
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        device.queue(0)
        with raises(ENODEV, "takes no interrupt vector"):
            device.queue(1)


def test_without_msix_there_are_no_vectors_and_check_looks_each_time():
    function = VirtioFunction(msix=0)
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        assert device.queue(0).vector is None
        device.driver_ok()
        assert device.check()
        function.status |= 0x40
        with raises(EIO, "needs a reset"):
            device.check()


def test_check_is_quiet_until_the_configuration_interrupt():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        device.driver_ok()
        function.status |= 0x40
        assert not device.check()
        device.config_vector.count += 1
        with raises(EIO, "needs a reset"):
            device.check()


def test_configuration_is_read_again_when_it_changes_meanwhile():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        function.restless = 7
        assert device.config(8, 8) == bytes(range(8, 16))
        assert function.restless == 0


def test_configuration_that_never_stands_still_is_an_error():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        function.restless = 10**9
        with raises(EIO, "changes all the time"):
            device.config(0, 8)


def test_configuration_beyond_its_structure_is_a_value_error():
    structures = [*VirtioFunction.STRUCTURES]
    structures[2] = (4, 4, CONFIG, 8)
    with opened(VirtioFunction(structures)) as (module, transport):
        device = module.VirtioDevice(transport)
        assert len(device.config(0, 8)) == 8
        for place in (4, 8), (0, 12), (2, 4):
            with pytest.raises(ValueError, match="configuration has 8 bytes"):
                device.config(*place)


def test_queues_are_closed_and_vectors_given_back_at_the_end():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        queue = device.queue(0)
        vector = queue.vector
        device.close()
        device.close()
        assert queue.closed
        assert function.statuses.count(0) == 2  # at the start, and one close
        assert vector not in pci_machine.current.vectors


def test_closing_a_device_that_does_not_reset_keeps_its_memory_and_raises_nothing():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        queue = device.queue(0)
        function.reset_reads = 10**9
        device.close()
        assert not queue.closed
        assert pci_machine.current.log_lines[-1][:2] == ("WARNING", "virtio")
        assert function.get(4, 2) & 7 == 0
        function.resetting = 0


def test_soft_reset_resets_every_open_device():
    function = VirtioFunction()
    with opened(function) as (module, transport):
        module.VirtioDevice(transport).negotiate()
        for callback in reversed(pci_machine.current.at_reset):
            callback()
        assert function.statuses[-1] == 0
        assert function.get(4, 2) & 7 == 0


GOOD = VirtioFunction.STRUCTURES


@pytest.mark.parametrize(
    "structures",
    (
        (),
        GOOD[1:],
        GOOD[:3],
        ((1, 6, COMMON, 0x1000), *GOOD[1:]),
        ((1, 4, COMMON, 55), *GOOD[1:]),
        ((1, 4, COMMON + 2, 0x1000), *GOOD[1:]),
        (*GOOD[:3], (2, 4, NOTIFY, 1)),
        (*GOOD[:3], (2, 4, NOTIFY + 1, 16)),
        ((1, 0, COMMON, 0x1000), *GOOD[1:]),
    ),
)
def test_a_device_without_usable_structures_is_refused(structures):
    with opened(VirtioFunction(structures)) as opening, raises(ENODEV, "no modern interface"):
        opening[0].VirtioDevice(opening[1])


@pytest.mark.parametrize(
    "structures",
    (
        ((1, 4, 0x3FF0, 0x38), *GOOD[1:]),
        ((1, 4, 0xFFFFFFFC, 0x38), *GOOD[1:]),
        ((1, 4, 0, 0xFFFFFFFF), *GOOD[1:]),
        (*GOOD[:3], (2, 4, NOTIFY, 0x2000)),
    ),
)
def test_a_structure_outside_its_bar_is_refused(structures):
    function = VirtioFunction(structures)
    with opened(function) as opening, raises(ENODEV, "lies outside BAR4"):
        opening[0].VirtioDevice(opening[1])
    assert function.get(4, 2) & 7 == 0


@pytest.mark.parametrize("header, class_code", [(0, 0x060000), (0, 0x068000), (2, 0x078000)])
def test_a_header_or_class_without_bars_is_refused(header, class_code):
    function = VirtioFunction()
    function.config[0x09:0x0C] = class_code.to_bytes(3, "little")
    function.config[0x0E] = header
    with opened(function) as opening, raises(ENODEV, "no modern interface"):
        opening[0].VirtioDevice(opening[1])
    assert function.get(4, 2) & 7 == 0


def test_a_bridge_with_virtios_ids_has_two_bars():
    bridge = pci_machine.Bridge(None)
    bridge.put(0, 0x10531AF4)
    bridge.capability(0x60, 9, 0x80, bytes([16, 1, 4, 0, 0, 0, *bytes(4), 0, 16, 0, 0]))
    bridge.capability(0x80, 9, 0, bytes([20, 2, 4, 0, 0, 0, *bytes(4), 0, 16, 0, 0, *bytes(4)]))
    with opened(bridge) as opening, raises(ENODEV, "no modern interface"):
        opening[0].VirtioDevice(opening[1])
    assert bridge.get(4, 2) & 7 == 0


@pytest.mark.parametrize("host", [pci_machine.Q35, pci_machine.I440FX])
@pytest.mark.parametrize("kind, at", [(1, 0xF4), (1, 0xFC), (2, 0xF0), (2, 0xF8)])
def test_a_structure_whose_capability_is_cut_off_is_not_used(host, kind, at):
    """What follows at 0x100 is another list's; without ECAM nothing does."""
    function = VirtioFunction([each for each in GOOD if each[0] != kind])
    last = [i for i in range(0x40, 0x100, 4) if function.config[i] in (9, 0x11)][-1]
    function.config[last + 1] = at
    size = 20 if kind == 2 else 16
    data = struct.pack("<BBBBBBII", size, kind, 4, 0, 0, 0, 0, 0x1000) + bytes(4)
    function.capability(at, 9, 0, data)
    with opened(function, host) as opening, raises(ENODEV, "no modern interface"):
        opening[0].VirtioDevice(opening[1])


@pytest.mark.parametrize(
    "at, place, why",
    [
        (0xF8, 1, "is cut off"),
        (0xA0, 4 | 0x4000, "lies outside BAR4"),
        (0xA0, 4 | 0x3FC8, "lies outside BAR4"),
        (0xA0, 0xFFFFFFFC, "lies outside BAR4"),
        (0xA0, 0, "BAR0 is no memory BAR"),
        (0xA0, 7, "BAR7 is no memory BAR"),
    ],
)
def test_a_vector_table_that_is_not_there_is_refused(at, place, why):
    function = VirtioFunction(msix=0)
    last = [i for i in range(0x40, 0x100, 4) if function.config[i] == 9][-1]
    function.config[last + 1] = at
    function.capability(at, 0x11, 0, struct.pack("<HII", 3, place, 0x801))
    with opened(function) as (module, transport):
        device = module.VirtioDevice(transport)
        device.negotiate()
        with raises(ENODEV, why):
            device.queue(0)
        device.close()
    assert function.statuses[-1] == 0
    assert function.get(4, 2) & 7 == 0


def test_the_first_usable_structure_of_each_type_counts():
    structures = ((1, 7, 0, 0x1000), *GOOD, (1, 4, 0x2000, 0x1000), (2, 1, 0, 16))
    function = VirtioFunction(structures)
    with opened(function) as (module, transport):
        module.VirtioDevice(transport).negotiate()
    assert function.statuses == [0, 1, 3, 0xB]


words = st.sampled_from([0, 1, 4, 55, 56, 0x1000, 0x3FFF, 0x4000, 0xFFFFFFFF]) | st.integers(
    0, 0xFFFFFFFF
)


@given(
    structures=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 7), words, words), max_size=7),
    multiplier=words,
)
def test_no_capability_makes_the_driver_touch_what_is_not_the_devices(structures, multiplier):
    function = VirtioFunction(structures, multiplier=multiplier)
    function.registers[4] = lambda offset, value, width: 0
    with opened(function) as (module, transport):
        try:
            device = module.VirtioDevice(transport)
            device.negotiate()
        except OSError:
            pass
