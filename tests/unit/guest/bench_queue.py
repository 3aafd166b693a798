# SPDX-License-Identifier: MIT
"""A Virtqueue (`q`) by itself, with a pool of buffers (`pool`), and a device at its end (`d`)."""

import bench_machine
from bench_machine import span
from bench_objects import objects, offered
from bench_ring import Ring
from virtio import words as w
from virtio.buffers import Buffers
from virtio.queue import Virtqueue

_INDICES = (w.Q_AVAIL_IDX, w.Q_PUBLISHED, w.Q_TOLD, w.Q_LAST_USED)


class Bell:
    """Memory that takes notifications."""

    def __init__(self):
        self._memory = bench_machine.DMABuffer(64)
        self.address = self._memory.addr
        self.rung()

    def rung(self):
        """The four bytes there if one was written since the last call, or None."""
        memory = span(self.address, 4)
        found = bytes(memory)
        memory[:] = b"\xff" * 4
        return None if found == b"\xff" * 4 else found


@offered
def new_queue(size, event_idx=True, indirect=False, notify_bytes=2, start=0):
    """Make `q`, with index 3, and `d`; the indices of its rings begin at `start`."""
    bench_machine.reset()
    bell = Bell()
    q = Virtqueue(3, size, bell.address, event_idx, indirect, notify_bytes)
    d = Ring(size, q.desc_address, q.avail_address, q.used_address, event_idx)
    if start:
        for word in _INDICES:
            q._words[word] = start
        d.start_at(start)
        q.disable_interrupts()
    d.rung = bell.rung
    objects["q"] = q
    objects["d"] = d


@offered
def new_pool(length, buffers):
    """Make `pool`, buffers of that length for `q`, and fill it; how many it took."""
    objects["pool"] = pool = Buffers(objects["q"], length)
    return pool.fill([tuple(each) for each in buffers])


@offered
def run_long(start, rounds):
    """Many chains of all shapes through a small queue; True if each came back as it went."""
    new_queue(8, start=start)
    q = objects["q"]
    d = objects["d"]
    for i in range(rounds):
        a = q.add1(0x1234_5678_9000 + i, 100, True)
        b = q.add2(1, 2, 3, 4)
        q.publish()
        taken = [d.take(), d.take()]
        wanted = [[a, [[0x1234_5678_9000 + i, 100, True]]]]
        wanted.append([b, [[1, 2, False], [3, 4, False]]])
        d.put(b, 0)
        d.put(a, i % 101)
        popped = [q.pop(), q.pop(), q.pop()]
        if taken != wanted or popped != [b << 32, a << 32 | i % 101, -1]:
            return False
    return q.free == 8


@offered
def allocated(path, *arguments):
    """Bytes of heap that one warm call of a method of `q` takes (MicroPython's heap)."""
    import gc

    function = getattr(objects["q"], path)
    function(*arguments)
    gc.collect()
    before = gc.mem_alloc()
    function(*arguments)
    return gc.mem_alloc() - before
