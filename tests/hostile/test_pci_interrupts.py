# SPDX-License-Identifier: MIT
"""Interrupts that mean nothing: any vector, at any time, written to the local APIC by the device.

What a host can inject beyond that, NMI and SMI, no guest can refuse.
"""

import threading
import time
from contextlib import contextmanager

import pytest
from pci_guest import anew, computes, echoes, quiet, ready, with_msi

from mpfw.device.policy import Polite
from mpfw.device.vsock import RX
from mpfw.device.vsock_pci import VsockFunction

LOCAL_APIC = 0xFEE00000
SPURIOUS = 255
EXCEPTIONS = range(16, 32)
X2APIC = "max"  # the CPU model whose local APIC is behind MSRs, with a QEMU as new as this
APICS = pytest.mark.parametrize("cpu", ["qemu64", X2APIC])
COUNT = """
import time
def count(seconds):
    begin = time.ticks_ms()
    n = 0
    while time.ticks_diff(time.ticks_ms(), begin) < 1000 * seconds:
        n += 1
    return n
"""


def interrupt(function, vector):
    """A message-signalled interrupt, which QEMU has delivered when this returns."""
    function.bus.write(LOCAL_APIC, vector.to_bytes(4, "little"))


def unharmed(guest, function, vectors):
    """While the echo waits, and while a program computes."""
    ready(guest)
    for vector in vectors:
        interrupt(function, vector)
    echoes(function)
    quiet(guest)
    guest.console.exec(COUNT)
    guest.console.start("print(count(2) > 0)")
    for _ in range(20):
        for vector in vectors:
            interrupt(function, vector)
        time.sleep(0.02)
    assert guest.console.finish() == "True\n"
    quiet(guest, but="KeyboardInterrupt")


@APICS
def test_the_spurious_vector_as_a_message(image, cpu):
    """Once: one such message, and nothing is heard again."""
    function = VsockFunction()
    with with_msi(image, function, cpu=cpu) as guest:
        unharmed(guest, function, [SPURIOUS])


@pytest.mark.parametrize(
    ("vector", "cpu"),
    [*((vector, "qemu64") for vector in EXCEPTIONS), (16, X2APIC), (31, X2APIC)],
)
def test_a_vector_of_an_exception(image, vector, cpu):
    """Once: it looks like a CPU exception and prints a report."""
    function = VsockFunction()
    with with_msi(image, function, cpu=cpu) as guest:
        unharmed(guest, function, [vector])


@APICS
def test_every_other_vector(image, cpu):
    """Vectors that devices, the timer or nobody has: news of nothing."""
    function = VsockFunction()
    with with_msi(image, function, cpu=cpu) as guest:
        unharmed(guest, function, range(32, 255))


class Chatty(VsockFunction):
    """From `chatting` on it interrupts by all its vectors whenever the guest notifies it."""

    chatting = False
    chats = 0

    def notified(self, index):
        super().notified(index)
        if self.chatting:
            self.chats += 1
            for queue in self.queues:
                self.interrupt(queue)
            self.config_changed()


@pytest.mark.parametrize("vectors", [1, 4])
def test_an_interrupt_at_every_notification(image, vectors):
    """The echo goes on, and so does what computes."""
    function = Chatty(vectors=vectors)
    with with_msi(image, function) as guest:
        ready(guest)
        stream = echoes(function)
        function.chatting = True
        for i in range(500):
            data = b"%d" % i
            stream.send(data)
            assert stream.receive(len(data)) == data
        assert function.chats >= 100
        computes(guest)


@contextmanager
def flooded(function):
    """While this lasts, every vector of the device's interrupts as fast as it goes."""
    over = threading.Event()

    def flood():
        while not over.is_set():
            for entry in range(function.vectors):
                function.bus.msi(entry)
            time.sleep(0)  # the device's own thread serves the guest meanwhile

    thread = threading.Thread(target=flood, name="interrupts")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("vectors", [1, 2, 4])
def test_a_flood_of_interrupts(image, vectors):
    """What computes goes on; then the device is heard."""
    function = VsockFunction(vectors=vectors)
    function.record.keep = False
    with with_msi(image, function) as guest:
        ready(guest)
        with flooded(function):
            time.sleep(1)
            echoes(function)
            guest.console.exec(COUNT)
            assert guest.console.eval("count(1)") > 1000
        anew(guest)
        echoes(function)


class Hollow(Polite):
    """From `hollow` on every receive buffer comes back, empty, as soon as it is posted; with an
    interrupt if the driver wants one, or if `unwanted` always."""

    hollow = False
    buffers = 0

    def __init__(self, unwanted):
        super().__init__()
        self.unwanted = unwanted

    def posted(self, ring):
        while self.hollow and (ring.waiting or ring.ask()):
            heads = ring.heads()
            ring.put_all(heads, 0)
            self.buffers += len(heads)
        if self.hollow and self.unwanted:
            ring.ring()
        elif self.hollow:
            ring.interrupt()

    def begin(self, function):
        with function.lock:
            self.hollow = True
            self.posted(function.ring(RX))


@pytest.mark.parametrize("unwanted", [False, True])
def test_an_interrupt_with_every_empty_buffer(image, unwanted):
    """Once: with unwanted ones a program got a hundredth of its time, and mostly no prompt
    came. With those that the driver wants it always had a fifth of it."""
    policy = Hollow(unwanted)
    function = VsockFunction(policy)
    function.record.keep = False
    with with_msi(image, function) as guest:
        ready(guest)
        guest.console.exec(COUNT)
        alone = guest.console.eval("count(1)")
        guest.console.start("print(count(3))")
        policy.begin(function)
        beside = int(guest.console.finish(60)) / 3
        assert policy.buffers > 1000
        assert beside > alone / 10, (alone, beside)
        computes(guest, 15)
        policy.hollow = False
        anew(guest)
        echoes(function)
