# SPDX-License-Identifier: MIT
"""The device's end of a split virtqueue: does what it is told, also what no device may do.

It reads and writes the rings where the driver put them; virtio/words.py has their layout.
"""

import struct

from bench_machine import span
from virtio import words as w


class Ring:
    """`desc`, `avail` and `used` are the addresses that the driver gave."""

    def __init__(self, size, desc, avail, used, event_idx):
        self.size = size
        self.event_idx = event_idx
        self._desc = desc
        self._avail = avail
        self._used = used
        self._event = 2 * w.USED_RING + w.USED_ENTRY_BYTES * size  # where avail_event is
        self.seen = 0  # chains taken; 16 bits, wraps
        self.done = 0  # chains given back; likewise
        self.told = 0  # `done` when the driver was last interrupted, or would have been

    def start_at(self, index):
        """Let both indices of the rings start somewhere else than at 0."""
        self._put16(self._avail + 2 * w.AVAIL_IDX, index)
        self._put16(self._used + 2 * w.USED_IDX, index)
        self.seen = self.done = self.told = index

    @staticmethod
    def _get16(at):
        return struct.unpack_from("<H", span(at, 2), 0)[0]

    @staticmethod
    def _put16(at, value):
        struct.pack_into("<H", span(at, 2), 0, value)

    # -- what the driver offers

    def avail_idx(self):
        return self._get16(self._avail + 2 * w.AVAIL_IDX)

    def take(self):
        """The next available chain: [head, [[address, length, writable], ...]], or None."""
        if self.avail_idx() == self.seen:
            return None
        slot = w.AVAIL_RING + self.seen % self.size
        head = self._get16(self._avail + 2 * slot)
        self.seen = (self.seen + 1) & 0xFFFF
        return [head, self._chain(self._desc, head)]

    def take_all(self):
        """All that are available now."""
        found = []
        while True:
            one = self.take()
            if one is None:
                return found
            found.append(one)

    def _chain(self, table, at):
        found = []
        while len(found) < max(self.size, 64):  # an indirect table may be longer than the ring
            row = span(table + w.DESC_BYTES * at, w.DESC_BYTES)
            address, length, flags, following = struct.unpack_from("<QIHH", row, 0)
            if flags & w.DESC_F_INDIRECT:
                inner = self._chain(address, 0)
                if length != w.DESC_BYTES * len(inner):
                    raise AssertionError("a table of %d bytes has %r" % (length, inner))
                return inner
            found.append([address, length, bool(flags & w.DESC_F_WRITE)])
            if not flags & w.DESC_F_NEXT:
                return found
            at = following
        raise AssertionError("a chain that does not end")

    # -- what the device gives back

    def put(self, head, length, publish=True):
        """Complete a chain."""
        place = self._used + 2 * w.USED_RING + w.USED_ENTRY_BYTES * (self.done % self.size)
        struct.pack_into("<II", span(place, w.USED_ENTRY_BYTES), 0, head, length)
        self.done = (self.done + 1) & 0xFFFF
        if publish:
            self.set_used_idx(self.done)

    def set_used_idx(self, index):
        """Any used index, also one that is not true."""
        self._put16(self._used + 2 * w.USED_IDX, index & 0xFFFF)

    def used_idx(self):
        """As the driver sees it."""
        return self._get16(self._used + 2 * w.USED_IDX)

    def ask_after(self, count):
        """Event index: notify me when `count` more chains have come."""
        self._put16(self._used + self._event, self.avail_idx() + count - 1 & 0xFFFF)

    def set_no_notify(self, value):
        self._put16(self._used + 2 * w.USED_FLAGS, value)

    def overwrite(self, head):
        """Overwrite one descriptor."""
        span(self._desc + w.DESC_BYTES * head, w.DESC_BYTES)[:] = b"\xff" * w.DESC_BYTES

    def scribble(self):
        """Overwrite every descriptor: the driver must not read them back."""
        span(self._desc, w.DESC_BYTES * self.size)[:] = b"\xff" * (w.DESC_BYTES * self.size)

    # -- interrupts

    def used_event(self):
        return self._get16(self._avail + 2 * (w.AVAIL_RING + self.size))

    def avail_flags(self):
        return self._get16(self._avail + 2 * w.AVAIL_FLAGS)

    def armed(self):
        """Whether the driver wants an interrupt with the next completion."""
        if self.event_idx:
            return self.used_event() == self.done
        return not self.avail_flags() & w.AVAIL_F_NO_INTERRUPT

    def wants_interrupt(self):
        """Whether it wants one for the completions since the last call (2.7.7.2)."""
        new, old, self.told = self.done, self.told, self.done
        if not self.event_idx:
            return new != old and self.armed()
        return (new - self.used_event() - 1) & 0xFFFF < (new - old) & 0xFFFF
