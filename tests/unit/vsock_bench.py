# SPDX-License-Identifier: MIT
"""A test bench for the vsock package under CPython: a `machine` with DMA memory and addresses.

Memory has bounds: an access outside of a live buffer is an AssertionError, where the firmware
would read or write a stranger's bytes. `End` is one connection as the stack treats it, with a
model beside it in plain integers; every action is followed by a comparison of the two.
"""

import bisect
import importlib.util
import sys
import types
from array import array
from collections import deque
from pathlib import Path
from typing import Any

VSOCK = Path(__file__).resolve().parents[2] / "mpy_modules" / "vsock"
M32 = 0xFFFFFFFF
RESERVE = 8  # transmit.py's


class Memory:
    """Address space: DMA buffers until they are freed, the last few ordinary buffers."""

    def __init__(self):
        self.clear()

    def clear(self):
        self._starts = []
        self._buffers = []
        self._pinned: deque[tuple[int, memoryview]] = deque(maxlen=8)
        self._next = 0x1_4000_0000
        self.allocated = 0
        self.limit = None  # bytes of DMA memory; more is a MemoryError

    def _place(self, size):
        at = self._next
        self._next += (size + 0xFFFF & ~0xFFF) + 0x1000
        return at

    def allocate(self, size):
        if self.limit is not None and self.allocated + size > self.limit:
            raise MemoryError
        at = self._place(size)
        self._starts.append(at)
        self._buffers.append(bytearray(size))
        self.allocated += size
        return at

    def free(self, at):
        i = self._starts.index(at)
        self.allocated -= len(self._buffers[i])
        del self._starts[i], self._buffers[i]

    def addressof(self, buffer):
        """An address for a buffer that is not DMA memory; good for the last eight of them."""
        if isinstance(buffer, DMABuffer):
            return buffer.addr
        at = self._place(len(buffer))
        self._pinned.append((at, memoryview(buffer).cast("B")))
        return at

    def find(self, at, n):
        """The memory of `n` bytes at an address."""
        i = bisect.bisect_right(self._starts, at) - 1
        if i >= 0 and at < self._starts[i] + len(self._buffers[i]):
            start, buffer = self._starts[i], memoryview(self._buffers[i])
        else:
            for start, buffer in self._pinned:
                if start <= at <= start + len(buffer):
                    break
            else:
                raise AssertionError(f"{n} bytes at {at:#x}: nothing is there")
        assert at + n <= start + len(buffer), f"{n} bytes at {at:#x} pass the buffer's end"
        return buffer[at - start : at - start + n]


memory = Memory()


class DMABuffer:
    def __init__(self, size, align=4096, clear=True):
        self.addr = memory.allocate(size)
        self._size = size

    def __len__(self):
        return self._size

    def free(self):
        memory.free(self.addr)


def _span(where, offset, n):
    if isinstance(where, DMABuffer):
        where = where.addr
    if isinstance(where, int):
        found = sys.modules["vsock.portable"].array_at(where)
        if found is None:
            return memory.find(where + offset, n)
        where = found
    view = memoryview(where).cast("B")
    assert offset >= 0 and offset + n <= len(view), "copy passes the buffer's end"
    return view[offset : offset + n]


def copy(dst, dst_off, src, src_off, n):
    """machine.copy: `n` bytes between buffers or addresses."""
    assert n >= 0
    _span(dst, dst_off, n)[:] = bytes(_span(src, src_off, n))


def _words(at):
    """A pointer to 32-bit words: as far as a packet's header reaches."""
    return memory.find(at, 44).cast("I")


class Clock:
    """`time` as far as the stack asks for it: milliseconds that a test moves."""

    now = 0

    @classmethod
    def ticks_ms(cls):
        return cls.now & 0x3FFFFFFF

    @staticmethod
    def ticks_add(ticks, delta):
        return ticks + delta & 0x3FFFFFFF

    @staticmethod
    def ticks_diff(later, earlier):
        return (later - earlier + 0x20000000 & 0x3FFFFFFF) - 0x20000000


def _machine():
    machine: Any = types.ModuleType("machine")
    machine.DMABuffer = DMABuffer
    machine.copy = copy
    machine.nbytes = lambda buffer, write=False: memoryview(buffer).nbytes
    machine.addressof = memory.addressof
    machine.view32 = _words
    machine.log = lambda where, message, level="INFO": None
    return machine


def _load(name, path, places=None):
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=places)
    assert spec and spec.loader
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def module(name):
    """A module of the vsock package, as the firmware freezes it, on this bench's machine.

    The folder of the frozen modules does not get onto the path: it has a `socket`, too.
    """
    sys.modules["machine"] = _machine()
    if "inline" not in sys.modules:
        _load("inline", VSOCK.parent / "inline.py")
    if "vsock" not in sys.modules:
        _load("vsock", VSOCK / "__init__.py", [str(VSOCK)])
    found: Any = importlib.import_module("vsock." + name)
    if hasattr(found, "time"):
        found.time = Clock
    return found


class Wire(list):
    """A way out that keeps packets: (header words, payload). `slots` is what it has room for."""

    def __init__(self, store, slots=1 << 20):
        super().__init__()
        self.store = store
        self.slots = slots
        self.published = 0
        self._words = array("I", [0])

    @property
    def at(self):
        self._words[0] = min(self.free(), 0xFFFFFFFF)
        return sys.modules["vsock.portable"].addressof(self._words)

    def free(self):
        return max(0, self.slots - len(self))

    def copy(self, at, data, n):  # type: ignore[override]
        assert self.free(), "a packet was added to a full queue"
        payload = bytes(_span(data, 0, n)) if n else b""
        header = _span(at, 0, 44).cast("I")
        self.append((list(header), payload))

    def spare(self):
        return self.store.take_spare(8)

    def small(self, at, data, n, flags):
        return self._put(at, data, n, flags, 1)

    def put(self, conn, data, n, buffer, flags, changes, last):
        return self._put(conn.at, data, n, flags, last)

    def _put(self, at, data, n, flags, last):
        if self.free() <= RESERVE:
            return 0
        sys.modules["vsock.connection"].send(at, n, flags)
        self.copy(at, data, n)
        if last:
            self.publish()
        return 1

    def put_segment(self, at, seg, n, flags, last):
        done = self.free() > RESERVE and self._put(at, self.store.lend(seg, n), n, flags, last)
        if done:
            self.store.returned(seg)
        return int(done)

    def reap(self):
        return 0

    def settle_debts(self, conn):
        life = sys.modules["vsock.connection"]
        while conn.block[life.OWED] and self.free():
            life.next_owed(conn.at)
            self.copy(conn.at, 0, 0)

    def publish(self):
        self.published = len(self)

    def take(self):
        """What was published since the last take."""
        packets = self[: self.published]
        del self[: self.published]
        self.published = 0
        return packets
