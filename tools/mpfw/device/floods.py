# SPDX-License-Identifier: MIT
"""Devices that flood their guest with one kind of thing, as fast as it posts buffers or faster.

All else is polite: connections beside the flood go on.
"""

import struct
import threading
import time
from typing import Any

from mpfw.device import packets
from mpfw.device.firmware import vsock as w
from mpfw.device.policy import Polite
from mpfw.device.rings import Chain, Ring
from mpfw.device.vsock import RX, TX
from mpfw.device.vsock_pci import TRANSPORT_RESET, VsockFunction

RATE = 100_000  # a second at most
_BATCH = 64  # before QEMU and the other queue have a look
_UNRESTED, _REST = 0.005, 0.0001  # s
_FIRST_PORT = 1 << 24  # the flood's own ports: no polite stream has them
_LAST_PORT = 1 << 30
_PORTS = struct.Struct("<II")
_PORTS_AT = 4 * w.SRC_PORT  # in a header, and where the guest's port follows
_OP = struct.Struct("<H")
_OP_AT = 4 * w.TYPE_OP + 2

# What is sent again and again: an operation, whether it belongs to a connection (the flood makes
# one, and another when the guest has reset it) or comes from a new port each time, and data.
PACKETS: dict[str, tuple[int, bool, bytes]] = {
    "REQUEST": (w.OP_REQUEST, False, b""),
    "RST": (w.OP_RST, False, b""),
    "CREDIT_REQUEST": (w.OP_CREDIT_REQUEST, True, b""),
    "CREDIT_UPDATE": (w.OP_CREDIT_UPDATE, True, b""),
    "RW of a byte": (w.OP_RW, True, b"x"),
    "RW of nothing": (w.OP_RW, True, b""),
}
INTERRUPTS = "interrupts"
EVENTS = "events"
KINDS = (*PACKETS, EVENTS, INTERRUPTS)


class Pace:
    """Counts, and says how many more may come now."""

    def __init__(self, rate: int):
        """`rate`: a second, at most."""
        self.count = 0
        self._rate = rate
        self._began = self._rested = time.monotonic()

    def allowed(self) -> int:
        """At most a batch."""
        due = int((time.monotonic() - self._began) * self._rate) - self.count
        return min(due, _BATCH)

    def rest(self, changed: threading.Condition) -> None:
        """Let go of a device's lock for a moment now and then: one that never sleeps would keep
        it from who has a polite word to say."""
        if time.monotonic() - self._rested > _UNRESTED:
            changed.wait(_REST)
            self._rested = time.monotonic()


class PacketFlood(Polite):
    """From `begin` to `end` it sends packets of one kind to a port of the guest's.

    What the guest answers them is taken and not read; `taken` below tells it by its port.
    """

    def __init__(self, kind: str, port: int, rate: int = RATE):
        """`kind`: one of PACKETS. `port`: where the guest listens."""
        super().__init__()
        self.pace = Pace(rate)
        self._op, self._connected, self._data = PACKETS[kind]
        self._rate = rate
        self._to = port
        self._from = _FIRST_PORT
        self._anew = True  # the next packet makes a connection
        self._flooding = False

    def begin(self) -> None:
        """Flood from now on."""
        with self.device.lock:
            self.pace = Pace(self._rate)
            cid = int.from_bytes(self.device.config[:4], "little")
            self._packet = self._made(self._op, cid, self._data)
            self._request = self._made(w.OP_REQUEST, cid, b"")
            self._flooding = self.busy = True
        self.device.wake()

    def end(self) -> int:
        """Flood no more; how many packets the guest took."""
        with self.device.lock:
            self._flooding = self.busy = False
            return self.pace.count

    def _made(self, op: int, cid: int, data: bytes) -> bytearray:
        packet = packets.make(op, 0, self._to, data, dst_cid=cid)
        room = bytearray(w.HEADER_LEN + len(data))
        packets.write(Chain(0, [(memoryview(room), True)]), packet)
        return room

    def turn(self) -> None:
        ring = self.device.rings.get(RX)
        if not self._flooding or ring is None:
            return
        self.device.send()  # what is polite goes first
        count = self.pace.count
        for _ in range(self.pace.allowed()):
            chain = ring.pop()
            if chain is None:
                break
            data = self._next()
            view = chain.buffers[0][0]
            view[: len(data)] = data
            ring.put(chain.head, len(data))
            self.pace.count += 1
        if self.pace.count > count:
            ring.show()
            ring.interrupt()
        self.pace.rest(self.device.changed)

    def _next(self) -> bytearray:
        data = self._packet
        if not self._connected or self._anew:
            if self._connected:
                data, self._anew = self._request, False
            self._from = _FIRST_PORT if self._from == _LAST_PORT else self._from + 1
        _PORTS.pack_into(data, _PORTS_AT, self._from, self._to)
        return data

    def taken(self, ring: Ring, chain: Chain) -> bool:
        header = chain.buffers[0][0]
        _, port = _PORTS.unpack_from(header, _PORTS_AT)
        if not _FIRST_PORT <= port <= _LAST_PORT:
            return True
        if port == self._from and _OP.unpack_from(header, _OP_AT)[0] == w.OP_RST:
            self._anew = True
        ring.push(chain, 0)
        return False


class InterruptFlood(Polite):
    """From `begin` to `end` it interrupts for both queues, whether or not there is news."""

    def __init__(self, rate: int = RATE):
        super().__init__()
        self.pace = Pace(rate)
        self._rate = rate

    def begin(self) -> None:
        """Flood from now on."""
        with self.device.lock:
            self.pace = Pace(self._rate)
            self.busy = True
        self.device.wake()

    def end(self) -> int:
        """Flood no more; how many interrupts there were."""
        with self.device.lock:
            self.busy = False
            return self.pace.count

    def turn(self) -> None:
        if self.busy and self.pace.allowed() >= 2:
            for index in (RX, TX):
                self.device.ring(index).ring()
            self.pace.count += 2
        self.pace.rest(self.device.changed)


class EventFlood(VsockFunction):
    """From `begin` to `end` it completes each event buffer as soon as it is posted."""

    def __init__(self, **options: Any):
        """`options`: VsockFunction's."""
        super().__init__(**options)
        self.record.keep = False
        self._flooding = False
        self._count = 0

    def begin(self) -> None:
        """Flood from now on."""
        with self.lock:
            self._count = 0
            self._flooding = True
            self.event_posted()

    def end(self) -> int:
        """Flood no more; how many events there were."""
        with self.lock:
            self._flooding = False
            return self._count

    def event_posted(self) -> None:
        while self._flooding and self.posted:
            self._count += 1
            self.tell_event(TRANSPORT_RESET)
