# SPDX-License-Identifier: MIT
"""The virtio-console driver, and devices that come up wrongly, break or never stop."""

import struct
from errno import EIO, ENODEV
from typing import Any

import pytest
import vsock_bench

transports = vsock_bench.module("bench_transport")
channels = vsock_bench.module("channel")
machine = vsock_bench.bench_machine
clock = vsock_bench.clock
MULTIPORT = 1 << 32 | 1 << 1
RX0, TX0, CONTROL_RX, CONTROL_TX, RX1, TX1 = range(6)
READY, ADD, REMOVE, PORT_READY, OPEN, NAME = 0, 1, 2, 3, 6, 7


class Console(transports.FakeTransport):  # type: ignore[name-defined]
    """A device with two ports, which takes control messages at once."""

    def __init__(self, **settings):
        super().__init__()
        self.offered = MULTIPORT
        self.sizes = [16] * 6
        self.configuration = struct.pack("<HHI", 0, 0, 2)
        self.takes = True
        self.messages: list[Any] = []
        self.answers: list[bytes] = []
        for name, value in settings.items():
            self.set(name, value)
        clock.at_look = self.serve

    def route_config(self):
        return self._route(6)

    def serve(self):
        """At a look at the clock."""
        if self.takes and CONTROL_TX in self.rings:
            for head, [[at, n, _]] in self.rings[CONTROL_TX].take_all():
                self.messages.append(struct.unpack("<IHH", machine.span(at, n)))
                self.rings[CONTROL_TX].put(head, 0)

    def tell(self, number, event, value=1, more=b""):
        """A control message."""
        message = struct.pack("<IHH", number, event, value) + more
        head, [[at, _, _]] = self.rings[CONTROL_RX].take()
        machine.span(at, len(message))[:] = message
        self.rings[CONTROL_RX].put(head, len(message))


@pytest.fixture(autouse=True)
def bench():
    machine.reset()
    yield
    machine.reset()


def opened(**settings):
    transport = Console(**settings)
    clock.looks_take(1000)
    return transport, channels.Channel(transport)


def test_ports_come_by_name_and_carry_bytes():
    transport, channel = opened()
    transport.tell(1, ADD)
    transport.tell(1, NAME, 1, b"one\0")
    transport.tell(1, OPEN)
    port = channel.port("one")
    assert port.connected
    head, [[at, _, _]] = transport.rings[RX1].take()
    machine.span(at, 5)[:] = b"bytes"
    transport.rings[RX1].put(head, 5)
    buffer = bytearray(9)
    assert port.readinto(buffer) == 5 and buffer[:5] == b"bytes"
    assert port.write(b"back") == 4
    _, [[at, n, _]] = transport.rings[TX1].take()
    assert bytes(machine.span(at, n)) == b"back"
    channel.close()
    assert machine.dma_used() == 0 and machine.timers() == 0


@pytest.mark.parametrize(
    "settings, errno",
    [
        ({"offered": 1 << 32}, ENODEV),
        ({"configuration": b""}, ENODEV),
        ({"configuration": bytes(4)}, ENODEV),
        ({"configuration": bytes(8)}, ENODEV),
        ({"sizes": [16] * 5}, ENODEV),
        ({"dead_route": 2}, ENODEV),
        ({"restless": 10**9}, EIO),
        ({"takes": False}, EIO),
    ],
)
def test_a_device_that_cannot_be_brought_up_is_taken_off_and_leaves_nothing(settings, errno):
    for _ in range(3):
        with pytest.raises(OSError) as caught:
            opened(**settings)
        assert caught.value.errno == errno and len(caught.value.args) == 2
        assert machine.dma_used() == 0 and machine.timers() == 0


@pytest.mark.parametrize("queue", [RX0, TX0, CONTROL_RX, RX1, TX1])
def test_a_broken_queue_is_eio_for_who_uses_it(queue):
    transport, channel = opened()
    for number in 0, 1:
        transport.tell(number, ADD)
        transport.tell(number, OPEN)
    channel.wait(timeout=0)
    transport.rings[queue].put(999, 0)
    port = channel._ports[0 if queue in (RX0, TX0, CONTROL_RX) else 1]
    use = port.flush if queue in (TX0, TX1) else lambda: port.readinto(bytearray(1))
    if queue in (TX0, TX1):
        port.write(b"x")
    with pytest.raises(OSError) as caught:
        use()
    assert caught.value.errno == EIO
    channel.close()
    assert machine.dma_used() == 0


@pytest.mark.parametrize("vectors", [0, 99])
def test_a_device_that_gives_up_ends_who_waits(vectors):
    transport, channel = opened(vectors=vectors)
    transport.tell(0, ADD)
    transport.tell(0, OPEN)
    channel.wait(timeout=0)
    transport.needs_reset()
    if vectors:
        transport.fire(6)
    with pytest.raises(OSError) as caught:
        channel._ports[0].readinto(bytearray(1))
    assert caught.value.errno == EIO and "needs a reset" in caught.value.args[1]


@pytest.mark.parametrize("vectors", [0, 99])
def test_nobody_waits_for_a_device_that_gave_up_however_often_it_was_said(vectors):
    """Once the second one waited for ever: such as what a script's end has still to print."""
    transport, channel = opened(vectors=vectors)
    transport.tell(0, ADD)
    transport.tell(0, OPEN)
    channel.wait(timeout=0)
    port = channel._ports[0]
    port.write(b"what the device never takes")
    transport.needs_reset()
    if vectors:
        transport.fire(6)
    for use in (port.flush, port.flush, lambda: port.readinto(bytearray(1)), channel.wait):
        with pytest.raises(OSError) as caught:
            use()
        assert caught.value.errno == EIO


@pytest.mark.parametrize("most", [5, 0xFFFF, 0x80000000, 0xFFFFFFFF])
def test_of_any_number_of_ports_four_are_used(most):
    transport, channel = opened(sizes=[16] * 10, configuration=struct.pack("<HHI", 0, 0, most))
    for number in (3, 4, 5, 0x7FFFFFFF, 0xFFFFFFFE):
        transport.tell(number, ADD)
        transport.tell(number, NAME, 1, b"name\0")
        channel.wait(timeout=0)
    assert channel.port("name") is channel._ports[3]
    assert {number for number, event, _ in transport.messages if event == PORT_READY} == {3}
    channel.close()
    assert machine.dma_used() == 0


@pytest.mark.parametrize("length", [*range(9), 127, 128])
def test_control_messages_of_any_length(length):
    transport, channel = opened()
    transport.tell(0, ADD)
    head, [[at, n, _]] = transport.rings[CONTROL_RX].take()
    machine.span(at, n)[:] = b"\xff" * n
    transport.rings[CONTROL_RX].put(head, length)
    transport.tell(0, NAME, 1, b"n" * 120)
    assert channel.port("n" * 120) is channel._ports[0]


def test_control_messages_without_an_end_let_programs_run():
    transport, channel = opened()
    count = 0

    def at_once():
        nonlocal count
        while (found := transport.rings[CONTROL_RX].take()) is not None:
            count += 1
            transport.rings[CONTROL_RX].put(found[0], 0)

    machine.at_fence = at_once
    for _ in range(3):
        before = count
        channel.look()
        assert count - before <= 16
