# SPDX-License-Identifier: MIT
"""virtio 1.x: `find()` a device, open it with `device.VirtioDevice`.

Devices on PCI are found; of another transport, which cannot be looked for, one makes the
Transport by hand.
"""

from portable import const

NETWORK = const(1)  # device types, virtio 1.2, chapter 5
CONSOLE = const(3)
ENTROPY = const(4)
SOCKET = const(19)


def find(wanted):
    """List the transports of the machine's virtio devices of type `wanted`; none is open."""
    from . import pci

    return pci.find(wanted)
