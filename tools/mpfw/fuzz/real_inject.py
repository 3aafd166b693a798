# SPDX-License-Identifier: MIT
"""Writes inputs into the rings of a running guest as fast as it posts buffers."""

import random
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mpfw.device.firmware import virtio as v
from mpfw.device.firmware import vsock as w
from mpfw.device.policy import Polite
from mpfw.device.rings import Ring
from mpfw.device.vsock import RX, TX
from mpfw.guest.conversation import ECHO_PORT

HEADER = struct.Struct("<QQIIIHHIII")  # 5.10.6
_KNOWN = 64  # connections that are remembered
_DESC = v.DESC_BYTES // 4

Maker = Callable[[random.Random, "Injector"], tuple[bytes, int]]


class Injector(Polite):
    """Polite, but while `left` is not 0: then inputs that `make` makes, and no answers."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0
        self.moved_at = 0.0  # when the guest last took something
        self.known: deque[tuple[int, int, int]] = deque(maxlen=_KNOWN)  # CID, port, guest's port
        self._random = random.Random(0)
        self._one: Callable[[random.Random, Injector], int] | None = None

    def inject(
        self, source: random.Random, count: int, one: Callable[[random.Random, "Injector"], int]
    ) -> None:
        """Begin: `one` tells the next inputs, and how many those were (0: it cannot now)."""
        with self.device.lock:
            self._random, self._one = source, one
            self.left = count
            self.moved_at = time.monotonic()
            self.busy = True
        self.device.wake()

    def end(self) -> None:
        """Be polite again."""
        with self.device.lock:
            self.left = 0
            self.busy = False
            self.known.clear()
            for index in (RX, TX):
                if index in self.device.rings:
                    self.device.kicked(index)

    # -- hooks ------------------------------------------------------------------------------------

    def may_send(self) -> bool:
        return not self.busy

    def may_take(self) -> bool:
        return not self.busy

    def turn(self) -> None:
        if not self.busy or self._one is None:
            return
        self.drain()
        if self.left > 0:
            done = self._one(self._random, self)
            if done:
                self.left = max(0, self.left - done)
                self.moved_at = time.monotonic()

    def drain(self) -> None:
        """Take what the guest sends; remember whom it talks to."""
        ring = self.device.rings.get(TX)
        if ring is None or not ring.waiting or ring.waiting > ring.size:
            return
        heads = ring.heads()
        for head in heads[-4:]:
            data = bytes(self.buffer(ring, head)[: w.HEADER_LEN])
            if len(data) == w.HEADER_LEN:
                _, cid, port, peer, _, _, op, *_ = HEADER.unpack(data)
                if op != w.OP_RST:
                    self.known.append((cid, peer, port))
        ring.put_all(heads, 0)
        ring.interrupt()

    def buffer(self, ring: Ring, head: int) -> memoryview:
        """The first buffer of a chain."""
        return ring.memory.at(*ring.first(head))


def packets(make: Maker) -> Callable[[random.Random, Injector], int]:
    """Fill all buffers that the guest has posted with packets that `make` makes."""

    def one(source: random.Random, injector: Injector) -> int:
        ring = injector.device.rings.get(RX)
        if ring is None or not ring.waiting:
            return 0
        heads = ring.heads()
        for head in heads:
            data, used = make(source, injector)
            injector.buffer(ring, head)[: len(data)] = data
            ring.put(head, used)
        ring.show()
        ring.interrupt()
        return len(heads)

    return one


CIDS = (2, 2, 2, 2, 2, 2, 100, 101, 0, 1, 33, 0xFFFFFFFF, 1 << 32 | 2, 1 << 63)
GUEST = (33,) * 14 + (1, 44, 1 << 32 | 33)
PORTS = (ECHO_PORT, ECHO_PORT, ECHO_PORT, 5001, 0, 0xFFFFFFFF)
OPS = (w.OP_REQUEST, w.OP_RESPONSE, w.OP_RST, w.OP_SHUTDOWN, *[w.OP_RW] * 5)
OPS += (w.OP_CREDIT_UPDATE, w.OP_CREDIT_REQUEST, 0, 8, 0xFFFF)
ALLOCS = (262144, 262144, 65536, 4096, 1, 0, 0xFFFFFFFF, 0x80000000)
_NOISE = random.Random(0).randbytes(1 << 17)


def packet(source: random.Random, injector: Injector) -> tuple[bytes, int]:
    """Any packet, likely one that means something; and the length that is told."""
    pick = source.random
    if injector.known and pick() < 0.6:
        cid, peer, port = injector.known[int(pick() * len(injector.known))]
        op = OPS[1 + int(pick() * (len(OPS) - 1))]
    else:
        cid, peer = CIDS[int(pick() * len(CIDS))], int(pick() * 200)
        port, op = PORTS[int(pick() * len(PORTS))], OPS[int(pick() * len(OPS))]
    size = int(2 ** (pick() * 11)) if op == w.OP_RW and pick() < 0.9 else 0
    told = size if pick() < 0.95 else source.getrandbits(32)
    kind = w.TYPE_STREAM if pick() < 0.95 else source.getrandbits(16)
    alloc, fwd = ALLOCS[int(pick() * len(ALLOCS))], source.getrandbits(32) if pick() < 0.3 else 0
    start = int(pick() * 65536)
    guest = GUEST[int(pick() * len(GUEST))]
    header = HEADER.pack(cid, guest, peer, port, told, kind, op, source.getrandbits(3), alloc, fwd)
    used = w.HEADER_LEN + size
    if pick() < 0.03:
        used = int(pick() * w.BUFFER_LEN)
    return header + _NOISE[start : start + size], used


def ring_lie(source: random.Random, injector: Injector) -> int:
    """One lie about a used ring, or a word elsewhere in a queue's memory."""
    device = injector.device
    index = RX if source.random() < 0.6 else TX
    ring = device.rings.get(index)
    if ring is None:
        return 0
    lie = source.choices(_LIES, _WEIGHTS)[0]
    starts = device.starts
    if lie(source, ring):
        ring.ring()
        _give_way(device, starts)
    return 1


def _give_way(device: Any, starts: int) -> None:
    """The ring may be broken: the driver has a moment to begin anew."""
    device.changed.wait_for(lambda: device.starts != starts, 0.001)


def _take(ring: Ring) -> int:
    """The next head that is available, -1 if there is none."""
    if not 0 < ring.waiting <= ring.size:
        return -1
    head: int = ring._avail[v.AVAIL_RING + ring.taken % ring.size]
    ring.taken = (ring.taken + 1) & 0xFFFF
    return head


def _scribble(source: random.Random, ring: Ring) -> bool:
    """Words of the driver's own tables, which it must not read back; then all is as it was."""
    head = _take(ring)
    if head >= 0:
        row = head * _DESC
        table = ring._desc.cast("I")
        kept = table[row : row + _DESC].tolist()
        used = (ring.taken - 1) % ring.size
        for at in range(row, row + _DESC):
            table[at] = source.getrandbits(32)
        ring._avail[v.AVAIL_RING + used] = source.getrandbits(16)
        ring.put(head, 0)
        # Nobody posts it before it is shown: so the driver writes after us, or not at all.
        noise = table[row : row + _DESC].tolist()
        ring.show()
        ring.ring()
        time.sleep(0.0005)
        if table[row : row + _DESC].tolist() == noise:
            for at, word in enumerate(kept):
                table[row + at] = word
    return False


def _packet(source: random.Random, ring: Ring) -> bool:
    """Something to talk about meanwhile."""
    head = _take(ring)
    if head >= 0:
        row = head * _DESC
        low, high, length, flags = ring._desc.cast("I")[row : row + _DESC]
        data = _hello(source)
        if flags & v.DESC_F_WRITE and length >= len(data):
            ring.memory.at(low | high << 32, length)[: len(data)] = data
        ring.put(head, len(data) if flags & v.DESC_F_WRITE else 0)
        ring.show()
        ring.interrupt()
    return False


def _hello(source: random.Random) -> bytes:
    """A request for the echo, or data behind one."""
    op = source.choice((w.OP_REQUEST, w.OP_RW, w.OP_RW, w.OP_RST))
    size = 100 if op == w.OP_RW else 0
    peer = source.randrange(8)
    header = HEADER.pack(2, 33, peer, ECHO_PORT, size, w.TYPE_STREAM, op, 0, 65536, 0)
    return header + bytes(size)


def _event(source: random.Random, ring: Ring) -> bool:
    """The notifications that we say to want."""
    ring._used[v.USED_FLAGS] = source.getrandbits(16)
    ring._used[v.USED_RING + ring.size * v.USED_ENTRY_SHORTS] = source.getrandbits(16)
    return False


def _complete(source: random.Random, ring: Ring) -> bool:
    """An entry that is due, of any length."""
    head = _take(ring)
    if head >= 0:
        ring.put(head, source.choice((0, 1, 43, 44, 45, 100, w.BUFFER_LEN)))
        ring.show()
        ring.ring()
    return False


def _interrupt(source: random.Random, ring: Ring) -> bool:
    """An interrupt without news."""
    ring.ring()
    return False


def _too_long(source: random.Random, ring: Ring) -> bool:
    head = _take(ring)
    if head >= 0:
        ring.put(head, w.BUFFER_LEN + 1 + source.getrandbits(source.randrange(1, 32)))
        ring.show()
    return True


def _any_id(source: random.Random, ring: Ring) -> bool:
    ring.put(source.choice((source.getrandbits(32), source.randrange(ring.size))), 0)
    ring.show()
    return True


def _any_index(source: random.Random, ring: Ring) -> bool:
    ring.show(source.choice((ring.done + source.randrange(300), source.getrandbits(16))))
    return True


def _twice(source: random.Random, ring: Ring) -> bool:
    head = _take(ring)
    if head >= 0:
        ring.put(head, 0)
        ring.put(head, 0)
        ring.show()
    return True


_LIES = (_complete, _event, _interrupt, _scribble, _packet, _too_long, _any_id, _any_index, _twice)
_WEIGHTS = (6, 6, 4, 3, 6, 0.5, 0.5, 0.5, 0.5)
