# SPDX-License-Identifier: MIT
"""What lets the vsock package run under CPython unchanged; nothing of it exists in the firmware.

There, `@micropython.viper` and `ptr32(...)` are the compiler's own. Here, viper functions are
plain Python: a "pointer" is the array itself, or, for an address, whatever the `machine` module of
the test bench makes of it.
"""

from array import array


class micropython:
    """Stands in for the module of that name: decorators that decorate nothing."""

    @staticmethod
    def viper(function):
        return function

    native = viper


def const(value):
    return value


def addressof(buffer):
    """An array is its own address; `ptr32` takes it back. Of others the test bench knows it."""
    if isinstance(buffer, array):
        return buffer
    import machine

    return machine.addressof(buffer)


def _pointer(view):
    def pointer(at):
        if isinstance(at, array):
            return at
        import machine

        return getattr(machine, view)(at)

    return pointer


ptr8 = _pointer("view8")
ptr16 = _pointer("view16")
ptr32 = _pointer("view32")
uint = int
