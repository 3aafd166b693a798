# SPDX-License-Identifier: MIT
"""How much memory the sockets of a machine take at bring-up, by its size."""

import pytest
import vsock_bench

vsock = vsock_bench.module("vsock")
store_module = vsock_bench.module("vsock.store")
machine = vsock_bench.bench_machine
memory = vsock_bench.memory
MIB = 1 << 20


@pytest.mark.parametrize(
    "ram, blocks",
    [
        (15 * MIB, 15 * MIB * 2 // 9),
        (120 * MIB - 1, (120 * MIB - 1) * 2 // 9),
        (120 * MIB, 30 * MIB),
        (255 * MIB, 255 * MIB // 4),
        (256 * MIB, 64 * MIB),
        (4096 * MIB, 64 * MIB),
    ],
)
def test_what_is_received_has_a_part_of_the_ram_and_64_mib_at_most(engine, ram, blocks):
    engine.power_on({})
    assert engine.call("vsock._blocks", ram) == blocks


def made(monkeypatch, ram, device=True, most=1 << 20):
    """What Stores were tried: receive buffers each; the last one is there, or MemoryError."""
    memory.clear()
    tried = []

    def store(allocate, buffers, limit):
        tried.append(buffers)
        assert memory.allocated == min(MIB, ram // 32)  # left to the device's rings
        assert limit == vsock._blocks(ram)
        if buffers > most:
            raise MemoryError
        return allocate

    monkeypatch.setattr(machine, "ram", lambda: ram)
    monkeypatch.setattr(store_module, "Store", store)
    machine.dma_reserve(1)
    try:
        vsock._store(device)
    finally:
        assert memory.allocated == 0
        assert machine.reserved == [0]  # the heap may have what is left
    return tried


@pytest.mark.parametrize(
    "mib, buffers", [(15, 20), (26, 20), (27, 21), (49, 39), (50, 40), (999, 40)]
)
def test_receive_buffers_are_twenty_to_forty_by_the_size_of_the_machine(monkeypatch, mib, buffers):
    assert made(monkeypatch, mib * MIB) == [buffers]


def test_the_loopback_needs_one_buffer(monkeypatch):
    assert made(monkeypatch, 999 * MIB, device=False) == [1]


def test_without_that_much_memory_there_are_fewer_buffers_but_five(monkeypatch):
    assert made(monkeypatch, 63 * MIB, most=10) == [40, 20, 10]
    assert made(monkeypatch, 63 * MIB, most=5) == [40, 20, 10, 5]
    with pytest.raises(MemoryError):
        made(monkeypatch, 63 * MIB, most=4)


def test_only_what_a_device_writes_is_cleared_and_not_at_power_on():
    """To clear the rest as well would take longer than all of the bring-up."""
    asked = []

    def allocate(size, clear=None):
        asked.append(clear)
        return vsock_bench.DMABuffer(size)

    store_module.Store(allocate, 2, 1 << 18)
    assert asked == [None, False, False]  # large buffers, the table, blocks


def test_sockets_to_come_are_left_their_memory_and_those_that_are_there_have_it(engine):
    engine.power_on({})
    engine.call("vsock.set_aside")
    assert engine.machine.reserved() == [(63 * MIB) * 2 // 9]
    engine.bring_up()
    assert engine.machine.reserved() == [0]
    engine.call("vsock.set_aside")
    assert engine.machine.reserved() == [0]
