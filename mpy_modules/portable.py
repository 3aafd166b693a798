# SPDX-License-Identifier: MIT
"""The one seam between the virtio and vsock modules and the Python that runs them.

MicroPython's compiler knows `@micropython.viper`, `ptr32(...)`, `uint` and `const` by name: what
is bound to those names here is never used there. Under CPython a viper function is plain Python. A
pointer is then the array whose `addressof` it was made of, or, for any other address, what
`memory` makes of it: the test bench's or a device's idea of a guest's memory.
"""

import sys

if sys.implementation.name == "micropython":
    from time import ticks_add, ticks_diff, ticks_ms

    import micropython
    from machine import copy, log, nbytes
    from micropython import const
    from uctypes import addressof, bytearray_at

    def octets_of(words, n):
        """The first `n` bytes of an array, where they lie; good as long as the array is."""
        return bytearray_at(addressof(words), n)

    ptr8 = ptr16 = ptr32 = uint = int
    octets = bytearray  # a buffer of so many bytes that has an address
else:
    import time
    from array import array
    from weakref import WeakValueDictionary

    class micropython:
        """Decorators that decorate nothing."""

        @staticmethod
        def viper(function):
            return function

        native = viper

    class Memory:
        """What an address means; whoever has memory at addresses puts one of its own here.

        `view(at, width)` gives something to index by items of `width` bytes, `span(at, n)` a
        writable memoryview of bytes, `addressof(buffer)` a buffer's address.
        """

        def view(self, at, width):
            raise ValueError("nothing is known to be at 0x%x" % at)

        def span(self, at, n):
            raise ValueError("nothing is known to be at 0x%x" % at)

        def addressof(self, buffer):
            raise TypeError("only arrays have addresses here")

    memory = Memory()
    _arrays = WeakValueDictionary()  # by the numbers that `addressof` gives
    uint = int

    def const(value):
        return value

    def addressof(buffer):
        """A number by which `ptr32` and `copy` find an array; `memory` knows other buffers."""
        if isinstance(buffer, array):
            _arrays[id(buffer)] = buffer
            return id(buffer)
        return memory.addressof(buffer)

    def octets(n):
        """A writable buffer of `n` bytes that has an address."""
        return array("B", bytes(n))

    def octets_of(words, n):
        """The first `n` bytes of an array, where they lie."""
        return memoryview(words).cast("B")[:n]

    def _pointer(width):
        def pointer(at):
            if isinstance(at, array):
                return at
            found = _arrays.get(at)
            return memory.view(at, width) if found is None else found

        return pointer

    ptr8 = _pointer(1)
    ptr16 = _pointer(2)
    ptr32 = _pointer(4)

    def _span(where, offset, n):
        if isinstance(where, int):
            found = _arrays.get(where)
            if found is None:
                return memory.span(where + offset, n)
            where = found
        view = memoryview(where).cast("B")
        if not 0 <= offset <= offset + n <= len(view):
            raise ValueError("%d bytes at %d of a buffer of %d" % (n, offset, len(view)))
        return view[offset : offset + n]

    def copy(to, to_offset, source, source_offset, n):
        """machine.copy: `n` bytes between buffers or addresses."""
        _span(to, to_offset, n)[:] = bytes(_span(source, source_offset, n))

    def nbytes(buffer, writable=False):
        """machine.nbytes: a buffer's length in bytes; TypeError if it is not `writable`."""
        view = memoryview(buffer)
        if writable and view.readonly:
            raise TypeError("the buffer is read-only")
        return view.nbytes

    def log(where, what, level="INFO"):
        """machine.log: there is no debug console here."""

    def ticks_ms():
        return int(time.monotonic() * 1000)

    def ticks_add(ticks, delta):
        return ticks + delta

    def ticks_diff(later, earlier):
        return later - earlier


def put_address(words, at, address):
    """Store a 64-bit address in two words of an array, the low half first."""
    words[at] = address & 0xFFFFFFFF
    words[at + 1] = address >> 32


__all__ = (
    "addressof",
    "const",
    "copy",
    "log",
    "micropython",
    "nbytes",
    "octets",
    "octets_of",
    "ptr16",
    "ptr32",
    "ptr8",
    "put_address",
    "ticks_add",
    "ticks_diff",
    "ticks_ms",
    "uint",
)
