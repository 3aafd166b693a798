# SPDX-License-Identifier: MIT
"""A guest's device as a whole PCI function: what a driver may write there does no harm."""

import mmap
import socket
import struct
import time

import pytest
from places import Place

from mpfw.device import settings
from mpfw.device.firmware import vsock as w
from mpfw.device.loop import Loop
from mpfw.device.memory import GuestMemory, Region
from mpfw.device.vhost_user import ProtocolError
from mpfw.device.virtio_pci import (
    BAR,
    COMMON,
    DRIVER_OK,
    NOTIFY,
    PLACES,
    QUEUE_DESC,
    QUEUE_DEVICE,
    QUEUE_DRIVER,
    QUEUE_ENABLE,
    QUEUE_SELECT,
    QUEUE_SIZE,
    STATUS,
)
from mpfw.device.wire import Wire
from mpfw.device.wire_pci import PciBackEnd, WireFunction


class Outside:
    """Whom the guest would reach: nobody."""

    def __init__(self):
        self.said = []

    def log(self, wire, what):
        self.said.append(what)

    def dial(self, wire, port, packet_type):
        """Nobody listens."""

    def pass_on(self, wire, words, data):
        """There is no sibling."""
        return False

    def gone(self, wire):
        """Nobody minds."""


class Bus:
    """A megabyte of memory, and interrupts that nobody hears."""

    def __init__(self):
        self.memory = GuestMemory([Region(0, 1 << 20, 0, 0, mmap.mmap(-1, 1 << 20))])

    def msi(self, entry):
        """Nobody hears it."""

    def write(self, address, data):
        """Nothing is written."""


class Machine:
    """The function, and what a driver writes to it."""

    def __init__(self):
        self.loop = Loop()
        self.outside = Outside()
        self.wire = Wire(3, self.loop, self.outside, 1 << 18, datagrams=True)
        self.function = WireFunction(self.wire, 0)
        self.function.bus = Bus()

    def write(self, space, at, value, size=2):
        self.function.bar_write(BAR, PLACES[space][1] + at, value, size)

    def start(self, size, then=None, address=0x1000):
        """Both queues and DRIVER_OK; `then`: another size, once the queue is enabled."""
        for index in (0, 1):
            self.write(COMMON, QUEUE_SELECT, index)
            self.write(COMMON, QUEUE_SIZE, size)
            for number, register in enumerate((QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE)):
                self.write(COMMON, register, address + 0x1000 * (3 * index + number), 4)
            self.write(COMMON, QUEUE_ENABLE, 1)
            if then is not None:
                self.write(COMMON, QUEUE_SIZE, then)
        self.write(COMMON, STATUS, DRIVER_OK, 1)

    def turn(self):
        """The device looks at all that has happened."""
        for _ in range(3):
            self.loop.soon(lambda: None)
            self.loop.turn()


@pytest.fixture
def machine():
    made = Machine()
    yield made
    made.function.reset()
    made.loop.end()


def test_a_driver_sees_the_feature_and_its_queues_run(machine):
    assert machine.function.offered & w.F_DGRAM
    machine.start(128)
    machine.turn()
    assert machine.wire.running and not machine.wire.mail.works
    machine.write(COMMON, STATUS, 0, 1)
    assert not machine.wire.running


@pytest.mark.parametrize("size, then", [(0, None), (0, 128), (129, None), (0xFFFF, 64)])
def test_a_queue_whose_size_cannot_be_does_not_run(machine, size, then):
    machine.start(size, then, 0 if size > 128 else 0x1000)
    for queue in (0, 1, 2, 0xFFFF):
        machine.write(NOTIFY, 0, queue)
    machine.turn()
    assert not machine.wire.running


def test_a_queue_outside_the_guests_memory_does_not_run(machine):
    machine.start(128, address=1 << 30)
    machine.turn()
    assert not machine.wire.running


@pytest.mark.parametrize("carrier", [settings.VFIO_USER, settings.PCI_PROXY])
@pytest.mark.parametrize("message", [b"", b"x", bytes(100), b"\xff" * 100])
def test_what_is_no_message_ends_the_connection(machine, carrier, message):
    ours, theirs = socket.socketpair()
    back_end = PciBackEnd(ours, machine.wire, carrier)
    with theirs:
        theirs.sendall(message)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ProtocolError):
            for _ in range(100):
                back_end.serve()
    back_end.close()


def test_after_a_qemu_that_talks_nonsense_the_next_one_is_served(tmp_path, device):
    place = Place(tmp_path)
    running = device(place.settings(carrier=settings.VFIO_USER))
    for number in range(2):
        with socket.socket(socket.AF_UNIX) as qemu:
            qemu.settimeout(30)
            qemu.connect(str(place.control))
            version = struct.pack("<HHIII4x", number, 1, 20, 0, 0)  # of the protocol
            qemu.sendall(version)
            assert struct.unpack_from("<HHII", qemu.recv(1000))[:2] == (number, 1)
            qemu.sendall(b"\xff" * 15 + b"\0")
            assert qemu.recv(1) == b""
            deadline = time.monotonic() + 30
            while not running.said and time.monotonic() < deadline:
                time.sleep(0.01)
    assert "QEMU is hung up on: a message that cannot be: " in running.said[0]
