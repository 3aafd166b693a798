# SPDX-License-Identifier: MIT
"""What lets the vsock package run under CPython unchanged; nothing of it exists in the firmware.

There, `@micropython.viper` and `ptr32(...)` are the compiler's own. Here, viper functions are
plain Python: a "pointer" is the array at that address, or, if none is there, whatever the
`machine` module of the test bench makes of it.
"""

from array import array
from weakref import WeakValueDictionary

_arrays = WeakValueDictionary()  # by the numbers that `addressof` gives


class micropython:
    """Stands in for the module of that name: decorators that decorate nothing."""

    @staticmethod
    def viper(function):
        return function

    native = viper


def const(value):
    return value


def addressof(buffer):
    """A number by which `ptr32` finds an array; of other buffers the test bench knows it."""
    if isinstance(buffer, array):
        _arrays[id(buffer)] = buffer
        return id(buffer)
    import machine

    return machine.addressof(buffer)


def array_at(at):
    """The array whose address that is, or None."""
    return _arrays.get(at)


def _pointer(view):
    def pointer(at):
        if isinstance(at, array):
            return at
        found = array_at(at)
        if found is not None:
            return found
        import machine

        return getattr(machine, view)(at)

    return pointer


ptr8 = _pointer("view8")
ptr16 = _pointer("view16")
ptr32 = _pointer("view32")
uint = int
