# SPDX-License-Identifier: MIT
"""A test bench for the vsock package under CPython: a `machine` with DMA memory and addresses.

Memory has bounds: an access outside of a live buffer is an AssertionError, where the firmware
would read or write a stranger's bytes. `End` is one connection as the stack treats it, with a
model beside it in plain integers; every action is followed by a comparison of the two.
"""

import bisect
import importlib
import importlib.util
import struct
import sys
import types
from array import array
from collections import deque
from pathlib import Path
from typing import Any

MODULES = Path(__file__).resolve().parents[2] / "mpy_modules"
OURS = ("errnos", "inline", "portable", "sockets", "virtio", "vsock")
M32 = 0xFFFFFFFF


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

    def view(self, at, width):
        """What a pointer to items of that width is: see portable.py."""
        return View(at, width)

    def span(self, at, n):
        """As `find`, under the name that portable.py has for it."""
        return self.find(at, n)

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


class View:
    """A pointer: items of `width` bytes from an address on, each access within one buffer.

    What is stored is cut to the item's width, as the CPU does.
    """

    def __init__(self, at, width):
        self.at = at
        self.width = width
        self.form = {1: "<B", 2: "<H", 4: "<I"}[width]

    def __getitem__(self, index):
        at = self.at + self.width * index
        return struct.unpack(self.form, memory.find(at, self.width))[0]

    def __setitem__(self, index, value):
        value &= (1 << 8 * self.width) - 1
        memory.find(self.at + self.width * index, self.width)[:] = struct.pack(self.form, value)


memory = Memory()


class DMABuffer:
    def __init__(self, size, align=4096, clear=True):
        self.addr = memory.allocate(size)
        self._size = size

    def __len__(self):
        return self._size

    def free(self):
        memory.free(self.addr)


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
    machine.fence = lambda: None
    machine.log = lambda where, message, level="INFO": None
    return machine


class _Finder:
    """Finds the firmware's modules under their own names, but for those that CPython has too."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        parts = name.split(".")
        if parts[0] not in OURS:
            return None
        place = MODULES.joinpath(*parts)
        if place.is_dir():
            return importlib.util.spec_from_file_location(
                name, place / "__init__.py", submodule_search_locations=[str(place)]
            )
        return importlib.util.spec_from_file_location(name, place.with_suffix(".py"))


def module(name):
    """A firmware module, such as "vsock.stack", its source run by CPython on this bench's memory.

    The folder of the frozen modules does not get onto the path: it has a `socket`, too.
    """
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    sys.modules["machine"] = _machine()
    portable: Any = importlib.import_module("portable")
    portable.memory = memory
    found: Any = importlib.import_module(name)
    for clock in ("ticks_ms", "ticks_add", "ticks_diff"):
        if hasattr(found, clock):
            setattr(found, clock, getattr(Clock, clock))
    return found


portable = module("portable")
w = module("vsock.words")
control = module("vsock.control")


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
        self._words[w.OUT_FREE] = min(self.free(), M32)
        return portable.addressof(self._words)

    def free(self):
        return max(0, self.slots - len(self))

    def copy(self, at, data, n):  # type: ignore[override]
        assert self.free(), "a packet was added to a full queue"
        payload = bytes(portable._span(data, 0, n)) if n else b""
        header = portable._span(at, 0, w.HEADER_LEN).cast("I")
        self.append((list(header), payload))

    def spare(self):
        return self.store.take_spare(8)

    def small(self, at, data, n, flags):
        return self._put(at, data, n, flags, 1)

    def put(self, conn, data, n, buffer, flags, changes, last):
        return self._put(conn.at, data, n, flags, last)

    def _put(self, at, data, n, flags, last):
        if self.free() <= w.RESERVE:
            return 0
        control.send(at, n, flags)
        self.copy(at, data, n)
        if last:
            self.publish()
        return 1

    def put_segment(self, at, seg, n, flags, last):
        done = self.free() > w.RESERVE and self._put(at, self.store.lend(seg, n), n, flags, last)
        if done:
            self.store.returned(seg)
        return int(done)

    def reap(self):
        return 0

    def settle_debts(self, conn):
        while conn.block[w.OWED] and self.free():
            control.next_owed(conn.at)
            self.copy(conn.at, 0, 0)

    def publish(self):
        self.published = len(self)

    def take(self):
        """What was published since the last take."""
        packets = self[: self.published]
        del self[: self.published]
        self.published = 0
        return packets
