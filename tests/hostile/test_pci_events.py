# SPDX-License-Identifier: MIT
"""What a device says between packets: events, NEEDS_RESET, rings that break, interrupts shared."""

import re

import pytest
from pci_guest import anew, computes, echoes, quiet, ready, said, with_msi

from mpfw.device import liars
from mpfw.device.vsock import TX
from mpfw.device.vsock_pci import EVENT, TRANSPORT_RESET, VsockFunction


class EventFlood(VsockFunction):
    """From `flood` on it completes every event buffer as soon as it is posted."""

    flooding = False
    events = 0

    def event_posted(self):
        while self.flooding and self.posted:
            self.events += 1
            self.tell_event(TRANSPORT_RESET)

    def flood(self, on=True):
        with self.lock:
            self.flooding = on
            self.event_posted()


class EarlyEvent(VsockFunction):
    """It completes one event buffer before the driver can have asked for an interrupt."""

    early = False

    def event_posted(self):
        if not self.early:
            self.early = True
            self.transport_reset(34)


def test_events_without_end_leave_the_prompt(image):
    """Once: no prompt again."""
    function = EventFlood()
    function.record.keep = False
    with with_msi(image, function) as guest:
        ready(guest)
        function.flood()
        function.wait(lambda: function.events > 100, 20)
        computes(guest, 15)
        function.flood(False)
        computes(guest, 15)
        anew(guest)
        echoes(function)


def broken(guest, function):
    """The console after a device broke: the prompt computes, nothing was printed before."""
    guest.console.unread()
    before = said(guest)
    assert "Traceback" not in before, before
    computes(guest)
    return [line for line in guest.debugcon().splitlines() if " ERROR " in line]


def test_a_device_that_needs_a_reset_is_named_once(image):
    """Once: QueueBroken out of the interrupt handler, and "queue 1: closed"."""
    function = VsockFunction()
    with with_msi(image, function) as guest:
        ready(guest)
        echoes(function)
        function.needs_reset()
        function.wait(lambda: function.status == 0)  # the driver has reset it
        errors = broken(guest, function)
        assert len(errors) == 1, errors
        assert "needs a reset" in errors[0]
        assert "closed" not in said(guest)


RINGS = {"transmit": TX, "event": EVENT}


@pytest.mark.parametrize("lie", liars.TRANSMIT_LIES, ids=lambda lie: lie.__name__)
@pytest.mark.parametrize("ring", RINGS)
def test_a_broken_ring_is_named_once(image, ring, lie):
    """Once: the same for rings that carry nothing to the program."""
    function = VsockFunction()
    with with_msi(image, function) as guest:
        ready(guest)
        echoes(function)
        with function.lock:
            lie(function.queues[RINGS[ring]].ring)
        function.wait(lambda: function.status == 0)
        errors = broken(guest, function)
        assert len(errors) == 1, errors
        assert re.search(f"queue {RINGS[ring]}: used", errors[0]), errors
        assert "closed" not in said(guest)


def cid(guest):
    return guest.console.eval("__import__('socket').get_local_cid()")


def await_cid(guest, wanted):
    code = f"""
import socket, time
for _ in range(200):
    if socket.get_local_cid() == {wanted}:
        break
    time.sleep_ms(10)
print(socket.get_local_cid())
"""
    assert guest.console.exec(code) == f"{wanted}\n"


@pytest.mark.parametrize("vectors", [1, 2, 3, 4])
def test_events_are_seen_however_few_vectors_there_are(image, vectors):
    """Once: with one vector the CID stays the old one."""
    function = VsockFunction(vectors=vectors)
    with with_msi(image, function) as guest:
        assert ready(guest) == 33
        computes(guest)
        assert function.transport_reset(34)
        await_cid(guest, 34)
        quiet(guest, but="KeyboardInterrupt")


@pytest.mark.parametrize("vectors", [1, 2, 3, 4])
def test_needs_reset_is_seen_however_few_vectors_there_are(image, vectors):
    """Once: with one vector nobody looks."""
    function = VsockFunction(vectors=vectors)
    with with_msi(image, function) as guest:
        ready(guest)
        computes(guest)
        function.needs_reset()
        function.wait(lambda: function.status == 0)
        assert "needs a reset" in guest.debugcon()


def test_an_event_before_there_are_interrupts_is_seen(image):
    """Once: the CID stays the old one."""
    function = EarlyEvent()
    with with_msi(image, function) as guest:
        ready(guest)
        computes(guest)
        await_cid(guest, 34)
