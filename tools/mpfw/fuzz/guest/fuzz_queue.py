# SPDX-License-Identifier: MIT
"""A virtqueue by itself: chains of any shape, completions true or not, in any order."""

import bench_machine
import fuzz_guards
from bench_ring import Ring
from virtio import words as w
from virtio.errors import QueueBroken, QueueFull
from virtio.queue import Virtqueue

_SIZES = (1, 2, 4, 8, 8, 16, 64, 256)
_PLACES = (0, 1, 4096, 1 << 32, (1 << 48) - 1, 1 << 63)
_LENGTHS = (1, 44, 4096, 65580, 1 << 20, (1 << 31) - 1)
_BELL = 64


class Queue:
    """Queues, one after the other when they break."""

    def __init__(self, kind, source):
        self._source = source
        self.lines = []
        self.inputs = 0
        self._bell = bench_machine.DMABuffer(_BELL)
        self._queue = None
        self._new()

    def _new(self):
        source = self._source
        if self._queue is not None:
            self._queue.close()
        size = source.pick(_SIZES)
        event_idx = source.chance(128)
        width = source.pick((2, 4))
        indirect, guarded = source.chance(128), bench_machine.DMABuffer
        self._queue = q = Virtqueue(1, size, self._bell.addr, event_idx, indirect, width, guarded)
        self._ring = Ring(size, q.desc_address, q.avail_address, q.used_address, event_idx)
        self._has = []  # heads that the device has
        self._added = {}  # head: writable bytes
        self._lied = False
        self.lines.append("queue of %d" % size)

    def step(self):
        """One call, or something that the device does."""
        self.inputs += 1
        kind = self._source.byte()
        if kind < 90:
            self._tell("add", self._add)
        elif kind < 120:
            self._queue.publish()
            self._take()
        elif kind < 190:
            self._complete()
        elif kind < 235:
            self._tell("pop", self._pop)
        elif kind < 243:
            self._lie()
        elif kind < 250:
            self.lines.append("armed %s" % self._queue.enable_interrupts())
        else:
            self._queue.disable_interrupts()
        q = self._queue
        self.lines.append("%d %d %s" % (q.free, q.in_flight, q.broken))
        if q.free > q.size or q.in_flight > q.size:
            raise AssertionError("%d free, %d in flight of %d" % (q.free, q.in_flight, q.size))
        if q.broken is not None and self._source.chance(100):
            self._new()
        fuzz_guards.check()

    def _tell(self, what, call):
        try:
            found = call()
        except (QueueFull, QueueBroken, ValueError) as error:
            found = "%s" % error.args[-1]
        self.lines.append("%s %s" % (what, found))

    def _add(self):
        source = self._source
        if source.chance(128):
            length = source.pick(_LENGTHS)
            writable = source.chance(160)
            head = self._queue.add1(4096, length, writable)
            writable = length if writable else 0
        elif source.chance(100):
            head = self._queue.add2(4096, source.pick(_LENGTHS), 8192, 1)
            writable = 0
        else:
            chains = []
            for _ in range(2):
                chains.append([self._segment() for _ in range(source.below(5))])
            head = self._queue.add(*chains)
            writable = sum([length for _, length in chains[1]])
        if head in self._added:
            raise AssertionError("head %d is in use" % head)
        self._added[head] = writable
        return head

    def _segment(self):
        return self._source.pick(_PLACES), self._source.pick(_LENGTHS)

    def _take(self):
        """The device takes what it is shown."""
        while True:
            taken = self._ring.take()
            if taken is None:
                return
            head, chain = taken
            if head not in self._added:
                if not self._lied:
                    raise AssertionError("head %d was shown and not added" % head)
                continue  # a lie has completed it before it was shown
            self._has.append(head)
            self.lines.append("shown %d %r" % (head, [each[1:] for each in chain]))

    def _complete(self):
        if self._has:
            head = self._has.pop(self._source.below(len(self._has)))
            writable = self._added.get(head, 0)
            length = self._source.pick((0, writable, writable // 2))
            if self._source.chance(16):
                length += 1 + self._source.byte()
            self._ring.put(head, length, self._source.chance(230))

    def _pop(self):
        words = self._queue._words
        last = words[w.Q_LAST_USED]
        ahead = (self._ring.used_idx() - last) & 0xFFFF
        offered = (words[w.Q_PUBLISHED] - last) & 0xFFFF
        used = self._queue.pop()
        if ahead > offered:
            raise AssertionError("%d used of %d is believed" % (ahead, offered))
        if used < 0:
            return used
        head, length = used >> 32, used & 0xFFFFFFFF
        if head not in self._added or length > self._added[head]:
            raise AssertionError("head %d, %d bytes: that was not added" % (head, length))
        del self._added[head]
        if head in self._has:
            self._has.remove(head)
        return head, length

    def _lie(self):
        source = self._source
        self._lied = True
        kind = source.below(4)
        if kind == 0:
            self._ring.put(source.word(), source.word())
        elif kind == 1:
            self._ring.set_used_idx(source.word())
        elif kind == 2:
            self._ring.put(source.below(256), source.word())
        else:
            self._ring.set_no_notify(source.word() & 0xFFFF)
            self._ring.ask_after(source.below(300))

    def words(self):
        """Nothing more to tell."""

    def settle(self):
        """Its memory is given back."""
        self._queue.close()
        self._bell.free()
        if bench_machine.dma_used():
            raise AssertionError("DMA memory is left")
