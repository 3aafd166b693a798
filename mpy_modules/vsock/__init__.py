# SPDX-License-Identifier: MIT
"""vsock for MicroPython: `get()` is the one that `socket` uses; device 0 unless told otherwise.

Nothing touches the hardware before the first call of `get()`.
"""

_stacks = {}
_LARGE = 40  # receive buffers: 16 in the ring, the others hold what programs have not read


def functions():
    """The vsock devices of this machine, as pci.Functions in bus order."""
    import virtio

    return virtio.find(virtio.SOCKET)


def get(index=0):
    """The sockets of the machine's vsock device number `index`, brought up when first asked for.

    Without any device there is still the loopback. IndexError for a device that is not there.
    """
    if index not in _stacks:
        _stacks[index] = _bring_up(index)
    return _stacks[index]


def _bring_up(index):
    import os

    from .device import Device
    from .stack import Stack
    from .store import Store
    from .wait import Waiter

    found = functions()
    if index and index >= len(found):
        raise IndexError("this machine has %d vsock devices" % len(found))
    seed = 1024 + (int.from_bytes(os.urandom(4), "little") & 0x0FFFFFFF)
    made = Stack(Store(_LARGE if found else 1, 32 << 20), 16 << 20, seed)
    made.waiter = Waiter(made)
    if found:
        Device(found[index], made)
    return made
