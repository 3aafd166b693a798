# SPDX-License-Identifier: MIT
"""Runs under MicroPython's unix port: a Virtqueue on real memory, and a device to put at its end.

Reads expressions, one to a line, and prints `= value` or `! exception` for each: test_virtqueue.py
at the other end of the pipe decides what the driver and the device do, and checks it.
"""

import struct
import sys

import uctypes


class FakeMachine:
    """What queue.py needs of `machine`."""

    class DMABuffer:
        def __init__(self, size, align=64):
            self._memory = bytearray(size + align)
            self.addr = (uctypes.addressof(self._memory) + align - 1) & -align

        def free(self):
            pass

    @staticmethod
    def fence():
        pass

    copy = log = nbytes = None  # of no use to a queue


sys.modules["machine"] = FakeMachine
sys.path.insert(0, sys.argv[1])
# Where in a queue's private words: the modules here have no names for them any more.
EVENT_IDX, *INDICES = map(int, sys.argv[2:])

from virtio.queue import Virtqueue  # noqa: E402

UNTOUCHED = 0xFFFF


class Device:
    """The device's side of a split queue; does what it is told, also what no device may do."""

    def __init__(self, queue, notify):
        size = queue.size
        self.size = size
        self.event_idx = bool(queue._words[EVENT_IDX])
        self.notify = notify
        self.descriptors = uctypes.bytearray_at(queue.desc_address, 16 * size)
        self.avail = uctypes.bytearray_at(queue.avail_address, 6 + 2 * size)
        self.used = uctypes.bytearray_at(queue.used_address, 6 + 8 * size)
        self.seen = 0
        self.done = 0

    def start_at(self, queue, index):
        """Let all indices start near their end, as if that many chains had passed."""
        for word in INDICES:
            queue._words[word] = index
        struct.pack_into("<H", self.avail, 2, index)
        struct.pack_into("<H", self.used, 2, index)
        self.seen = self.done = index
        queue.disable_interrupts()

    def avail_idx(self):
        return struct.unpack_from("<H", self.avail, 2)[0]

    def take(self):
        """The next available chain as (head, [(address, length, writable)]), or None."""
        if self.avail_idx() == self.seen:
            return None
        head = struct.unpack_from("<H", self.avail, 4 + 2 * (self.seen % self.size))[0]
        self.seen = (self.seen + 1) & 0xFFFF
        return head, self.chain(self.descriptors, head)

    def chain(self, table, at):
        found = []
        while True:
            address, length, flags, following = struct.unpack_from("<QIHH", table, 16 * at)
            if flags & 4:
                return self.chain(uctypes.bytearray_at(address, length), 0)
            found.append((address, length, bool(flags & 2)))
            if not flags & 1:
                return found
            at = following

    def put(self, head, length, publish=True):
        """Complete a chain."""
        struct.pack_into("<II", self.used, 4 + 8 * (self.done % self.size), head, length)
        self.done = (self.done + 1) & 0xFFFF
        if publish:
            struct.pack_into("<H", self.used, 2, self.done)

    def set_used_idx(self, index):
        struct.pack_into("<H", self.used, 2, index)

    def ask_after(self, count):
        """Event index: wake me when `count` more chains have come."""
        struct.pack_into(
            "<H", self.used, 4 + 8 * self.size, (self.avail_idx() + count - 1) & 0xFFFF
        )

    def set_no_notify(self, value):
        struct.pack_into("<H", self.used, 0, value)

    def used_event(self):
        return struct.unpack_from("<H", self.avail, 4 + 2 * self.size)[0]

    def avail_flags(self):
        return struct.unpack_from("<H", self.avail, 0)[0]

    def notified(self):
        """The notification since the last call, or None."""
        found = struct.unpack_from("<H", self.notify, 0)[0]
        struct.pack_into("<H", self.notify, 0, UNTOUCHED)
        return None if found == UNTOUCHED else found

    def scribble(self):
        """Overwrite every descriptor: the driver must not read them back."""
        for i in range(len(self.descriptors)):
            self.descriptors[i] = 0xFF


def new(size, event_idx=True, indirect=False, index=3):
    """Make the queue under test (q) and its device (d)."""
    global q, d
    notify = bytearray(struct.pack("<H", UNTOUCHED))
    q = Virtqueue(index, size, uctypes.addressof(notify), event_idx, indirect)
    d = Device(q, notify)


def allocated(function, *arguments):
    """Bytes of heap that one warm call takes."""
    import gc

    function(*arguments)
    gc.collect()
    before = gc.mem_alloc()
    function(*arguments)
    return gc.mem_alloc() - before


def run_long(rounds):
    """Many chains of all shapes through a small queue; True if each came back as it went."""
    new(8)
    for i in range(rounds):
        a = q.add1(0x1234_5678_9000 + i, 100, True)
        b = q.add2(1, 2, 3, 4)
        q.publish()
        taken = d.take(), d.take()
        wanted = (a, [(0x1234_5678_9000 + i, 100, True)]), (b, [(1, 2, False), (3, 4, False)])
        d.put(b, 0)
        d.put(a, i % 101)
        if taken != wanted or q.pop() != b << 32 or q.pop() != a << 32 | i % 101 or q.pop() != -1:
            return False
    return q.free == 8


while True:
    line = sys.stdin.readline()
    if not line:
        break
    try:
        print("=", repr(eval(line, globals())))
    except Exception as error:
        print("!", type(error).__name__, repr(error.args))
