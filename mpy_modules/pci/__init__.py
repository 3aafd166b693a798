# SPDX-License-Identifier: MIT
"""PCI: every function of this machine, placed and ready to be opened.

    >>> import pci
    >>> pci.devices()
    00:00.0 Host bridge: Intel 82G33 host bridge [8086:29c0]
    00:02.0 Communication controller: Red Hat Virtio socket [1af4:1053]

Enumeration happens once, when somebody first asks. Nothing decodes addresses or masters the bus
until its driver calls `enable()`.
"""

import machine

_devices = None
access = None  # how configuration space is reached: EcamAccess or PortAccess


class Devices(list):
    """A list of functions that prints one to a line."""

    def __repr__(self):
        return "\n".join([repr(function) for function in self])

    __str__ = __repr__


def devices():
    """All functions of the machine as a list, in bus order; enumerates at the first call."""
    if _devices is None:
        rescan()
    return _devices


def find(vendor, device=None):
    """The functions of one vendor, or of one vendor and device."""
    return Devices(
        [f for f in devices() if f.vendor == vendor and device in (None, f.device)],
    )


def lspci():
    """Print all functions with their BARs and capabilities, and what bridges lead to."""
    from . import names

    for function in devices():
        print(function)
        if function.header == 1:
            print("        buses %02x to %02x" % (function.secondary, function.subordinate))
        for bar in function.bars:
            if bar is not None:
                print("        %r" % bar)
        for cap, at in function.capabilities():
            print("        [%02x] %s" % (at, names.capability(cap)))


def rescan():
    """Walk all buses and place all BARs, again if need be; functions from before are dead."""
    global _devices, access
    import hob

    from . import chipset, placement
    from .scan import Scan

    _quiesce()
    resources = hob.resources()
    access = chipset.find_access(resources)
    found = Scan(access)
    io, low, high = chipset.windows(resources, access)
    placement.place(found.roots, io, low, high)
    _devices = Devices(found.functions)


def _quiesce():
    for function in _devices or ():
        if function.enabled:
            function.disable()


machine.atreset(_quiesce)
