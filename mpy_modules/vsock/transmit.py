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

from inline import inline
from portable import addressof, const, copy, micropython, ptr32, put_address
from virtio import queue as ring

from . import control, receive
from . import words as w
from .store import Store

_STRIDE = const(4160 + 64)  # of slots: a header and INLINE bytes, rounded up and staggered
_SPARE = const(8)  # so many receive buffers are left for receiving
_LONGEST_CHAIN = const(16)  # what an indirect table holds
_SLOT_CHAIN = const(2)  # descriptors for which a slot stands
_AHEAD = const(8)  # packets that may be under way before it looks which are done


class Transmitter:
    """Puts the packets of all connections into one virtqueue.

    Nothing here raises when the queue breaks: `broke` is called with the QueueBroken, and there is
    no room for packets any more. Whoever asks for some finds the connection ended.
    """

    def __init__(self, queue, stack, broke, borrow):
        """`borrow(size)` gives memory that the device reaches; whoever takes it down frees it."""
        self._broke = broke
        self._stack = stack
        self._store = stack.store
        self._queue = queue
        # Two descriptors for a packet at most: while a slot is free, so are two descriptors.
        self._slots = slots = queue.size // 2
        base = borrow(slots * _STRIDE).addr + w.HEADER_AT
        # With more than _AHEAD packets under way it looks which are done: soon enough for segments
        # to be there when packets come, and slots that were just used are still in the cache.
        reserve = min(w.RESERVE, slots // 2)
        few = max(slots - _AHEAD, reserve + 1)
        self._words = words = array("I", bytes(4 * (w.OUT_STACK + slots + queue.size)))
        words[w.OUT_FREE] = slots
        words[w.OUT_FEW] = few
        words[w.OUT_RESERVE] = reserve
        put_address(words, w.OUT_RING, queue.state)
        put_address(words, w.OUT_BASE, base)
        words[w.OUT_HEADS] = w.OUT_STACK + slots
        self.at = addressof(words)
        _number(self.at, slots)
        self._owner = [None] * queue.size  # head: the Connection whose LENT counts it
        self._lent = [None] * queue.size  # head: the buffer that this payload belongs to
        self._chains = []  # longer ones under way: (head, whole, their further slots)
        self._waiting = []  # connections that owe packets for which there was no slot
        self._retried = []  # the list that takes its place: packets come where none can be made
        self._retrying = False

    @micropython.native
    def close(self):
        """Let go of everything; the device does not reach our memory any more."""
        self.return_segments()
        self._lent = self._owner = None
        self._waiting = []
        self._chains = []

    @micropython.native
    def return_segments(self):
        """Have the Store take back the segments that the device was sent: nobody but it reads or
        writes what is in them."""
        words = self._words
        words[w.OUT_FREE] = 0
        for head in range(self._queue.size):
            mark = words[words[w.OUT_HEADS] + head]
            if mark >= w.OUT_SEGMENT and self._queue.holds(head):
                self._store.returned((mark - w.OUT_SEGMENT) >> w.OUT_MARK_SHIFT)

    @micropython.native
    def lends(self):
        """True if the device reads buffers of programs."""
        return self._lent is not None and any(self._lent)

    @micropython.viper
    def free(self) -> int:
        """Packets that fit now."""
        return ptr32(self.at)[w.OUT_FREE]

    @micropython.viper
    def full(self) -> int:
        """1: there is no room for data."""
        out = ptr32(self.at)
        return int(out[w.OUT_FREE] <= out[w.OUT_RESERVE])

    def idle(self):
        """True if the device has sent everything."""
        return self.free() == self._slots

    @micropython.viper
    def publish(self):
        """Show the device everything added, with one notification at most."""
        out = ptr32(self.at)
        ring.publish(out[w.OUT_RING] | (out[w.OUT_RING + 1] << 32))

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
        out = ptr32(self.at)
        if out[w.OUT_FREE] < out[w.OUT_FEW]:
            self.reap()
            if out[w.OUT_FREE] <= out[w.OUT_RESERVE]:
                return 0
        control.send(at, n, flags)
        _copy(out, at, data, n)
        ring.publish(out[w.OUT_RING] | (out[w.OUT_RING + 1] << 32))
        return 1

    @micropython.viper
    def put(self, conn, data: int, n: int, buffer, flags: int, changes: int, last: int) -> int:
        """Add a packet of the `n` bytes at `data` that a connection sends, or of its first ones.

        Returns how many; 0: the queue is full. `data` belongs to the program's `buffer`. If the
        device reads it there, that is kept until it has, and if it `changes` (is not bytes), the
        connection's LENT says so. The `last` part is rather copied than have the program wait for
        this, and everything is published with it. With 2 for `changes` every part is copied.
        """
        out = ptr32(self.at)
        if out[w.OUT_FREE] < out[w.OUT_FEW]:
            self.reap()
            if out[w.OUT_FREE] <= out[w.OUT_RESERVE]:
                return 0
        at = int(conn.at)
        if n > w.INLINE and changes and last + changes > 1:
            seg = int(self.spare())
            if seg >= 0:
                self._store.fill(seg, data, n)
                if int(self.put_segment(at, seg, n, flags, last)):
                    return n
                self._store.release(seg)
                return 0
            if changes > 1:
                n = w.INLINE
                flags = 0
                last = 0
        control.send(at, n, flags)
        if n <= w.INLINE:
            self.copy(at, data, n)
        else:
            head = int(_lend(out, at, data, n, w.OUT_BUFFER))
            self._lent[head] = buffer
            if changes:
                c = ptr32(at)
                c[w.LENT] = c[w.LENT] + 1
                self._owner[head] = conn
        if last:
            ring.publish(out[w.OUT_RING] | (out[w.OUT_RING + 1] << 32))
        return n

    @micropython.viper
    def put_segment(self, at: int, seg: int, n: int, flags: int, last: int) -> int:
        """Add a packet of the first `n` unread bytes of a segment; 0: the queue is full.

        With its last bytes the segment is free once the device has read them. Everything is
        published with the `last` packet.
        """
        out = ptr32(self.at)
        if out[w.OUT_FREE] < out[w.OUT_FEW]:
            self.reap()
            if out[w.OUT_FREE] <= out[w.OUT_RESERVE]:
                return 0
        store = self._store
        control.send(at, n, flags)
        data = int(Store.lend(store, seg, n))
        if n <= w.INLINE:
            self.copy(at, data, n)
            store.returned(seg)
        else:
            _lend(out, at, data, n, w.OUT_SEGMENT + (seg << w.OUT_MARK_SHIFT))
        if last:
            ring.publish(out[w.OUT_RING] | (out[w.OUT_RING + 1] << 32))
        return 1

    @micropython.native
    def put_chain(self, readable, writable, whole, n):
        """Add and publish a chain of any shape, with `(address, length)` of its buffers; 0: the
        queue is full. They are in `whole`, the first `n` bytes of which the device reads.

        Raises ValueError where the queue could never hold it.
        """
        words = self._words
        queue = self._queue
        count = len(readable) + len(writable)
        if count > _LONGEST_CHAIN:
            raise ValueError("a chain has %d buffers at most" % _LONGEST_CHAIN)
        slots = 0 if queue.indirect else (count - 1) // _SLOT_CHAIN
        self.reap()
        self.chains_done()
        if words[w.OUT_FREE] <= words[w.OUT_RESERVE] + slots:
            if slots + words[w.OUT_RESERVE] >= self._slots:
                raise ValueError("the queue is too small for such a chain")
            return 0
        left = words[w.OUT_FREE] - 1 - slots
        chains = self._chains
        if slots:
            more = [words[w.OUT_STACK + left + 1 + i] for i in range(slots)]
            chains = chains + [[0, whole, more]]
        head = queue.add(readable, writable)
        words[w.OUT_FREE] = left
        words[words[w.OUT_HEADS] + head] = words[w.OUT_STACK + left] | w.OUT_BUFFER
        self._lent[head] = whole
        if slots:
            chains[-1][0] = head
            self._chains = chains
        self.publish()
        return 1

    @micropython.native
    def chains_done(self):
        """Take back the slots of long chains that the device has read; True: of all of them."""
        words = self._words
        chains = self._chains
        if not chains:
            return True
        # First what takes memory, of which there may be none.
        left = [chain for chain in chains if self._lent[chain[0]] is chain[1]]
        done = [chain for chain in chains if self._lent[chain[0]] is not chain[1]]
        self._chains = left
        for _, _, slots in done:
            for slot in slots:
                n = words[w.OUT_FREE]
                words[w.OUT_STACK + n] = slot
                words[w.OUT_FREE] = n + 1
        return not left

    @micropython.viper
    def reap(self) -> int:
        """Take back what the device is done with; returns how many packets that were."""
        out = ptr32(self.at)
        heads = out[w.OUT_HEADS]
        tx = out[w.OUT_RING] | (out[w.OUT_RING + 1] << 32)
        done = 0
        while True:
            used = int(ring.pop(tx))
            if used < 0:
                if used != -1:
                    self._stop()
                break
            head = used >> 32
            slot = out[heads + head]
            if slot >= w.OUT_SEGMENT:
                Store.returned(self._store, (slot - w.OUT_SEGMENT) >> w.OUT_MARK_SHIFT)
            elif slot >= w.OUT_BUFFER:
                self._returned(head)
            n = out[w.OUT_FREE]
            out[w.OUT_STACK + n] = slot & w.OUT_SLOT_MASK
            out[w.OUT_FREE] = n + 1
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
            owner.block[w.LENT] -= 1

    @micropython.viper
    def settle_debts(self, conn):
        """Add the control packets that a connection owes; publish() sends them."""
        at = int(conn.at)
        c = ptr32(at)
        out = ptr32(self.at)
        while c[w.OWED] != 0:
            if out[w.OUT_FREE] == 0:
                self.reap()
                if out[w.OUT_FREE] == 0:
                    self._wait_for_slot(conn)
                    return
            control.next_owed(at)
            self.copy(at, 0, 0)

    @micropython.native
    def _wait_for_slot(self, conn):
        if conn not in self._waiting:
            self._waiting.append(conn)

    @micropython.native
    def _retry(self):
        if self._retrying:
            return  # we are what wants slots
        self._retrying = True
        waiting = self._waiting
        self._waiting = self._retried
        self._retried = waiting
        for conn in waiting:
            self.settle_debts(conn)
        waiting.clear()
        self.publish()
        self._retrying = False

    @micropython.native
    def _stop(self):
        """The queue broke: there is no room any more."""
        self._words[w.OUT_FREE] = 0
        self._broke(self._queue.error())


@micropython.viper
def _number(at: int, slots: int):
    """Put all slots on the stack of free ones."""
    out = ptr32(at)
    while slots > 0:
        slots -= 1
        out[w.OUT_STACK + slots] = slots


# The Transmitter's words are a pointer here; there is a free slot.


@inline
@micropython.viper
def _header(out: ptr32, at: int) -> int:
    """Take a slot and copy the header at `at` to it; returns the slot's address."""
    left = out[w.OUT_FREE] - 1
    out[w.OUT_FREE] = left
    to = (out[w.OUT_BASE] | (out[w.OUT_BASE + 1] << 32)) + out[w.OUT_STACK + left] * _STRIDE
    receive.take_header(ptr32(to), ptr32(at))
    return to


@inline
@micropython.viper
def _copy(out: ptr32, at: int, data: int, n: int):
    """Add the header at `at` and a copy of the `n` bytes at `data`."""
    to = int(_header(out, at))
    slot = out[w.OUT_STACK + out[w.OUT_FREE]]
    if n != 0:
        copy(to, w.HEADER_LEN, data, 0, n)
    head = int(ring.add1(out[w.OUT_RING] | (out[w.OUT_RING + 1] << 32), to, w.HEADER_LEN + n, 0))
    out[out[w.OUT_HEADS] + head] = slot


@inline
@micropython.viper
def _lend(out: ptr32, at: int, data: int, n: int, mark: int) -> int:
    """Add the header at `at` and the `n` bytes at `data`, read where they lie; the head."""
    to = int(_header(out, at))
    slot = out[w.OUT_STACK + out[w.OUT_FREE]]
    head = int(ring.add2(out[w.OUT_RING] | (out[w.OUT_RING + 1] << 32), to, w.HEADER_LEN, data, n))
    out[out[w.OUT_HEADS] + head] = slot | mark
    return head
