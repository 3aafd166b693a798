# SPDX-License-Identifier: MIT
"""The transmit queue: headers from a pool, payload copied beside them or read where it lies.

Small payload is copied behind its header: one descriptor, and nobody waits for the device. The
last part of large payload is copied too, into a spare receive buffer, because that costs less than
waiting until the device has read it. The rest, and all of a bytes object, stays where it is, in
the program's buffer or in a receive buffer; the device reads it there until the used ring gives it
back, and this module keeps the buffer's object alive so long. Data leaves a few slots free, so
that what is owed to peers (RST, credit) always finds one.
"""

from array import array

import micropython
from inline import inline
from machine import DMABuffer, copy
from virtio import queue as ring

from . import connection
from .layout import addressof, const
from .store import Store

_HEADER_LEN = const(44)
INLINE = const(4096)  # up to here copying costs less than waiting for the device
_STRIDE = const(4160 + 64)
_HEADER_AT = const(20)  # the payload behind the header is aligned to 64
RESERVE = const(8)
_SPARE = const(8)  # so many receive buffers are left for receiving
_AHEAD = const(8)
_OWED = const(21)  # connection.py's words
_LENT = const(25)

# Private words: how many slots are free, how many of them are few, the addresses of the queue's
# state and of slot 0, where the heads begin, then the stack of free slots, then for each head its
# slot, in the upper half with what there is to do when the device gives it back: nothing, let go
# of a program's buffer, or _SEGMENT plus the number of the segment that it read.
_FREE = const(0)
_FEW = const(1)
_RING = const(2)
_BASE = const(4)
_HEADS = const(6)
_STACK = const(7)
_BUFFER = const(1 << 16)
_SEGMENT = const(2 << 16)


class Transmitter:
    """Puts the packets of all connections into one virtqueue."""

    def __init__(self, queue, stack):
        self._stack = stack
        self._store = stack.store
        # Two descriptors for a packet at most: while a slot is free, so are two descriptors.
        slots = queue.size // 2
        self._memory = DMABuffer(slots * _STRIDE, clear=False)
        base = self._memory.addr + _HEADER_AT
        # With more than _AHEAD packets under way it looks which are done: soon enough for segments
        # to be there when packets come, and slots that were just used are still in the cache.
        few = max(slots - _AHEAD, RESERVE + 1)
        words = [slots, few, 0, 0, 0, 0, _STACK + slots] + list(range(slots)) + [0] * queue.size
        for word, address in ((_RING, queue.state), (_BASE, base)):
            words[word] = address & 0xFFFFFFFF
            words[word + 1] = address >> 32
        self._words = array("I", words)
        self.at = addressof(self._words)
        self._owner = [None] * queue.size  # head: the Connection whose LENT counts it
        self._lent = [None] * queue.size  # head: the buffer that this payload belongs to
        self._waiting = []  # connections that owe packets for which there was no slot

    @micropython.viper
    def free(self) -> int:
        """Packets that fit now."""
        return ptr32(self.at)[_FREE]

    @micropython.viper
    def publish(self):
        """Show the device everything added, with one notification at most."""
        w = ptr32(self.at)
        ring.publish(w[_RING] | (w[_RING + 1] << 32))

    @micropython.viper
    def copy(self, at: int, data: int, n: int):
        """Add a packet: the header at `at` and a copy of the `n` bytes at `data`."""
        _copy(ptr32(self.at), at, data, n)

    @micropython.viper
    def spare(self) -> int:
        """The number of a receive buffer (a segment) that can be spared for sending, or -1."""
        seg = int(Store.take_spare(self._store, _SPARE))
        if seg < 0:
            self.reap()
            seg = int(self._store.take_spare(_SPARE))
        return seg

    @micropython.viper
    def small(self, at: int, data: int, n: int, flags: int) -> int:
        """Send a packet of `n` bytes, at most INLINE; 0: the queue is full."""
        w = ptr32(self.at)
        if w[_FREE] < w[_FEW]:
            self.reap()
            if w[_FREE] <= RESERVE:
                return 0
        connection.send(at, n, flags)
        _copy(w, at, data, n)
        ring.publish(w[_RING] | (w[_RING + 1] << 32))
        return 1

    @micropython.viper
    def put(self, conn, data: int, n: int, buffer, flags: int, changes: int, last: int) -> int:
        """Add a packet of the `n` bytes at `data` that a connection sends; 0: the queue is full.

        `data` belongs to the program's `buffer`. If the device reads it there, that is kept until
        it has, and if it `changes` (is not bytes), the connection's LENT says so. The `last` part
        is rather copied than have the program wait for this, and everything is published with it.
        """
        w = ptr32(self.at)
        if w[_FREE] < w[_FEW]:
            self.reap()
            if w[_FREE] <= RESERVE:
                return 0
        at = int(conn.at)
        if last and changes and n > INLINE:
            seg = int(self.spare())
            if seg >= 0:
                self._store.fill(seg, data, n)
                return int(self.put_segment(at, seg, n, flags, 1))
        connection.send(at, n, flags)
        if n <= INLINE:
            self.copy(at, data, n)
        else:
            head = int(_lend(w, at, data, n, _BUFFER))
            self._lent[head] = buffer
            if changes:
                c = ptr32(at)
                c[_LENT] = c[_LENT] + 1
                self._owner[head] = conn
        if last:
            ring.publish(w[_RING] | (w[_RING + 1] << 32))
        return 1

    @micropython.viper
    def put_segment(self, at: int, seg: int, n: int, flags: int, last: int) -> int:
        """Add a packet of the first `n` unread bytes of a segment; 0: the queue is full.

        With its last bytes the segment is free once the device has read them. Everything is
        published with the `last` packet.
        """
        w = ptr32(self.at)
        if w[_FREE] < w[_FEW]:
            self.reap()
            if w[_FREE] <= RESERVE:
                return 0
        store = self._store
        connection.send(at, n, flags)
        data = int(Store.lend(store, seg, n))
        if n <= INLINE:
            self.copy(at, data, n)
            store.returned(seg)
        else:
            _lend(w, at, data, n, _SEGMENT + (seg << 16))
        if last:
            ring.publish(w[_RING] | (w[_RING + 1] << 32))
        return 1

    @micropython.viper
    def reap(self) -> int:
        """Take back what the device is done with; returns how many packets that were."""
        w = ptr32(self.at)
        heads = w[_HEADS]
        tx = w[_RING] | (w[_RING + 1] << 32)
        done = 0
        while True:
            used = int(ring.pop(tx))
            if used < 0:
                break
            head = used >> 32
            slot = w[heads + head]
            if slot >= _SEGMENT:
                Store.returned(self._store, (slot - _SEGMENT) >> 16)
            elif slot >= _BUFFER:
                self._returned(head)
            n = w[_FREE]
            w[_STACK + n] = slot & 0xFFFF
            w[_FREE] = n + 1
            done += 1
        if done != 0:
            if self._waiting:
                self._retry()
            # Not with the interrupt that they asked for: by then others have taken the slots.
            if self._stack.starved:
                self._stack.room_again()
        return done

    @micropython.native
    def _returned(self, head):
        """The device has read the program's buffer."""
        self._lent[head] = None
        owner = self._owner[head]
        if owner is not None:
            self._owner[head] = None
            owner.block[_LENT] -= 1

    @micropython.viper
    def settle_debts(self, conn):
        """Add the control packets that a connection owes; publish() sends them."""
        at = int(conn.at)
        c = ptr32(at)
        w = ptr32(self.at)
        while c[_OWED] != 0:
            if w[_FREE] == 0:
                self.reap()
                if w[_FREE] == 0:
                    self._wait_for_slot(conn)
                    return
            connection.next_owed(at)
            self.copy(at, 0, 0)

    @micropython.native
    def _wait_for_slot(self, conn):
        if conn not in self._waiting:
            self._waiting.append(conn)

    @micropython.native
    def _retry(self):
        waiting = self._waiting
        self._waiting = []
        for conn in waiting:
            self.settle_debts(conn)
        self.publish()


# The Transmitter's words are a pointer here; there is a free slot.


@inline
@micropython.viper
def _header(w: ptr32, at: int) -> int:
    """Take a slot and copy the header at `at` to it; returns the slot's address."""
    left = w[_FREE] - 1
    w[_FREE] = left
    to = (w[_BASE] | (w[_BASE + 1] << 32)) + w[_STACK + left] * _STRIDE
    header = ptr32(to)
    source = ptr32(at)
    header[0] = source[0]
    header[1] = source[1]
    header[2] = source[2]
    header[3] = source[3]
    header[4] = source[4]
    header[5] = source[5]
    header[6] = source[6]
    header[7] = source[7]
    header[8] = source[8]
    header[9] = source[9]
    header[10] = source[10]
    return to


@inline
@micropython.viper
def _copy(w: ptr32, at: int, data: int, n: int):
    """Add the header at `at` and a copy of the `n` bytes at `data`."""
    to = int(_header(w, at))
    slot = w[_STACK + w[_FREE]]
    if n != 0:
        copy(to, _HEADER_LEN, data, 0, n)
    head = int(ring.add1(w[_RING] | (w[_RING + 1] << 32), to, _HEADER_LEN + n, 0))
    w[w[_HEADS] + head] = slot


@inline
@micropython.viper
def _lend(w: ptr32, at: int, data: int, n: int, mark: int) -> int:
    """Add the header at `at` and the `n` bytes at `data`, read where they lie; the head."""
    to = int(_header(w, at))
    slot = w[_STACK + w[_FREE]]
    head = int(ring.add2(w[_RING] | (w[_RING + 1] << 32), to, _HEADER_LEN, data, n))
    w[w[_HEADS] + head] = slot | mark
    return head
