# SPDX-License-Identifier: MIT
"""virtio 1.x over PCI: `find()` a device, open it with `device.VirtioDevice`."""

from micropython import const

_VENDOR = const(0x1AF4)

NETWORK = const(1)  # device types, virtio 1.2, chapter 5
CONSOLE = const(3)
ENTROPY = const(4)
SOCKET = const(19)


def device_type(function):
    """The virtio device type of a pci.Function, or 0 if it is not a virtio device (4.1.2)."""
    if function.vendor != _VENDOR or not 0x1000 <= function.device < 0x1080:
        return 0
    if function.device >= 0x1040:
        return function.device - 0x1040
    return function.subsystem[1]  # a transitional device


def find(wanted):
    """List the pci.Functions that are virtio devices of type `wanted`, in bus order."""
    import pci

    return [function for function in pci.devices() if device_type(function) == wanted]
