# SPDX-License-Identifier: MIT
"""A guest's memory under CPython: buffers at addresses, with bounds.

An access outside of a live buffer is an AssertionError, where the firmware would read or write a
stranger's bytes.
"""

import bisect
import struct
from collections import deque

PINNED = 64  # ordinary buffers whose addresses are good at a time


class Memory:
    """Address space: DMA buffers until they are freed, ordinary ones for a while (`pin`)."""

    def __init__(self):
        self.places = []  # where the next buffers are to lie, in ascending order
        self.clear()

    def clear(self):
        self._starts = []  # ascending: no address is given twice
        self._views = []
        self._pinned: deque[int] = deque()
        self._next = 0x1_4000_0000
        self._hot = (0, -1, memoryview(b""))  # the last one found: begin, end, view
        self.allocated = 0
        self.limit = None  # bytes of DMA memory; more is a MemoryError

    def _place(self, view):
        at = self.places.pop(0) if self.places else self._next
        # In 4 GiB of its own: no half of an address can stand for that of another one.
        self._next = at + (len(view) + 0xFFFF & ~0xFFF) + 0x1_0000_1000
        self._starts.append(at)
        self._views.append(view)
        return at

    def _remove(self, at):
        i = self._starts.index(at)
        self._hot = (0, -1, memoryview(b""))
        del self._starts[i]
        return self._views.pop(i)

    def allocate(self, size, fill=b"\0"):
        """The address of a new DMA buffer. Raises MemoryError beyond `limit`."""
        if self.limit is not None and self.allocated + size > self.limit:
            raise MemoryError
        self.allocated += size
        return self._place(memoryview(bytearray(fill) * size))

    def free(self, at):
        self.allocated -= len(self._remove(at))

    def addressof(self, buffer):
        """An address for a buffer that is not DMA memory; good for the last PINNED of them."""
        if isinstance(buffer, DMABuffer):
            return buffer.addr
        if len(self._pinned) == PINNED:
            self._remove(self._pinned.popleft())
        at = self._place(memoryview(buffer).cast("B"))
        self._pinned.append(at)
        return at

    def locate(self, at, n):
        """The buffer that has `n` bytes at an address, and where in it they are."""
        begin, end, view = self._hot
        if not begin <= at <= end - n:
            i = bisect.bisect_right(self._starts, at) - 1
            if i >= 0:
                begin, view = self._starts[i], self._views[i]
                end = begin + len(view)
            assert i >= 0 and at <= end, f"{n} bytes at {at:#x}: nothing is there"
            assert at + n <= end, f"{n} bytes at {at:#x} pass the buffer's end"
            self._hot = begin, end, view
        return view, at - begin

    def find(self, at, n):
        """The memory of `n` bytes at an address."""
        view, offset = self.locate(at, n)
        return view[offset : offset + n]

    def view(self, at, width):
        """What a pointer to items of that width is: see portable.py."""
        return View(at, width)

    def span(self, at, n):
        """As `find`, under the name that portable.py has for it."""
        return self.find(at, n)


class View:
    """A pointer: items of `width` bytes from an address on, each access within one buffer.

    What is stored is cut to the item's width, as the CPU does.
    """

    FORMS = {1: struct.Struct("<B"), 2: struct.Struct("<H"), 4: struct.Struct("<I")}

    def __init__(self, at, width):
        self.at = at
        self.width = width
        self.form = self.FORMS[width]

    def __getitem__(self, index):
        view, offset = memory.locate(self.at + self.width * index, self.width)
        return self.form.unpack_from(view, offset)[0]

    def __setitem__(self, index, value):
        view, offset = memory.locate(self.at + self.width * index, self.width)
        self.form.pack_into(view, offset, value & (1 << 8 * self.width) - 1)


memory = Memory()


class DMABuffer:
    """machine.DMABuffer; what need not be cleared has noise in it."""

    def __init__(self, size, align=4096, clear=True):
        self._at = memory.allocate(size, b"\0" if clear else b"\xa5")
        self._size = size

    @property
    def addr(self):
        if self._at is None:
            raise ValueError("buffer is freed")
        return self._at

    def __len__(self):
        return self._size

    def __getitem__(self, part):
        return self._part(part)[:]

    def __setitem__(self, part, data):
        self._part(part)[:] = data

    def _part(self, part):
        start, stop, _ = part.indices(self._size)
        return memory.find(self.addr + start, stop - start)

    def free(self):
        if self._at is not None:  # the second time it does nothing
            memory.free(self._at)
            self._at = None
