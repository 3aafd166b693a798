# SPDX-License-Identifier: MIT
"""Policies that break rules: polite until told to lie, so that there is something to lie about."""

from typing import Any

from mpfw.device.firmware import vsock as w
from mpfw.device.packets import make
from mpfw.device.policy import Polite
from mpfw.device.rings import Chain, Ring
from mpfw.device.vsock import RX, TX

NO_ID = 0xFFFF  # no queue has such a descriptor
AHEAD = 1000  # used entries more than any driver has made available


def wrong_id(ring: Ring) -> None:
    """A used entry of a descriptor that does not exist, and an interrupt."""
    ring.put(NO_ID, 0)
    ring.show()
    ring.ring()


def stray_id(ring: Ring) -> None:
    """A used entry of a descriptor that the driver has not given: its queue's last one."""
    ring.put(ring.size - 1, 0)
    ring.show()
    ring.ring()


def run_ahead(ring: Ring) -> None:
    """used.idx says that far more was used than was ever made available."""
    ring.show(ring.done + AHEAD)
    ring.ring()


def too_long(ring: Ring) -> None:
    """A receive buffer comes back with more bytes than it has room for."""
    chain = ring.pop()
    if chain is None:
        run_ahead(ring)  # nothing is there to lie about
        return
    ring.push(chain, chain.room + 1)
    ring.ring()


def twice(ring: Ring) -> None:
    """The same buffer comes back twice. (A driver that posts it anew in between cannot tell.)"""
    chain = ring.pop()
    head = NO_ID if chain is None else chain.head
    ring.put(head, 0)
    ring.put(head, 0)
    ring.show()
    ring.ring()


RECEIVE_LIES = (wrong_id, stray_id, run_ahead, too_long)
TRANSMIT_LIES = (wrong_id, stray_id, run_ahead)


class Hoarder(Polite):
    """Reads what the guest sends, and from `hoarding` on gives none of it back."""

    def __init__(self) -> None:
        super().__init__()
        self.hoarding = False
        self.kept: list[Chain] = []

    def give_back(self, ring: Ring, chain: Chain) -> None:
        if self.hoarding:
            self.kept.append(chain)
        else:
            super().give_back(ring, chain)

    def release(self) -> None:
        """Give it all back after all."""
        with self.device.lock:
            self.hoarding = False
            ring = self.device.ring(TX)
            for chain in self.kept:
                ring.push(chain, 0)
            self.kept.clear()
            ring.interrupt()


class Deaf(Polite):
    """From `deaf` on takes nothing from the transmit queue, nor interrupts for it."""

    def __init__(self) -> None:
        super().__init__()
        self.deaf = False

    def may_take(self) -> bool:
        return not self.deaf

    def listen_again(self) -> None:
        """Take what has gathered, and what comes from now on."""
        with self.device.lock:
            self.deaf = False
            self.device.kicked(TX)


class Flooder(Polite):
    """While `flooding`, completes receive buffers as fast as they are posted, by the handful."""

    def __init__(self, length: int = 0) -> None:
        """`length`: bytes that it says to have written; it writes none."""
        super().__init__()
        self.length = length
        self.flooding = False
        self.count = 0  # buffers that it has completed

    def flood(self, on: bool = True) -> None:
        """Begin, or end."""
        with self.device.lock:
            self.flooding = self.busy = on
        self.device.wake()

    def may_send(self) -> bool:
        return not self.flooding

    def turn(self) -> None:
        ring = self.device.rings.get(RX)
        if not self.flooding or ring is None:
            return
        for _ in range(64):  # then QEMU and the other queue have a look
            heads = ring.heads()
            if heads:
                ring.put_all(heads, self.length)
                self.count += len(heads)
                ring.ring()


class Fickle(Polite):
    """Answers each of the guest's calls in a way of `ways`, one after the other, then again."""

    def __init__(self, *ways: str) -> None:
        """`ways`: "refuse", "reset" (answered and reset at once), "closed" (answered, but there
        is no room for a byte) or "silent"."""
        super().__init__()
        self.ways = ways
        self.calls = 0

    def packet(self, packet: Any) -> None:
        if packet.op != w.OP_REQUEST:
            super().packet(packet)
            return
        way = self.ways[self.calls % len(self.ways)]
        self.calls += 1
        ends = {"src_port": packet.dst_port, "dst_port": packet.src_port}
        ends |= {"src_cid": packet.dst_cid, "dst_cid": packet.src_cid, "type": packet.type}
        answers = {
            "refuse": [make(w.OP_RST, **ends)],
            "reset": [make(w.OP_RESPONSE, **ends), make(w.OP_RST, **ends)],
            "closed": [make(w.OP_RESPONSE, **ends | {"buf_alloc": 0})],
            "silent": [],
        }
        self.device.send(*answers[way])
