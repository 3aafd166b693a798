# SPDX-License-Identifier: MIT
"""A PCI-to-PCI bridge: its bus numbers and the address windows that it forwards.

Specification: PCI-to-PCI Bridge Architecture 1.2, chapter 3. Bridges have 1 MiB steps for memory
and 4 KiB steps for I/O. Does not choose numbers or addresses: scan.py and placement.py do.
"""

from micropython import const

from .function import CAP_EXPRESS, Function

_BUSES = const(0x18)  # primary, secondary, subordinate, latency timer
_IO = const(0x1C)  # base, limit: bits 15:12 of the port
_MEMORY = const(0x20)  # base, limit: bits 31:20 of the address
_PREFETCH = const(0x24)
_PREFETCH_BASE_HIGH = const(0x28)
_PREFETCH_LIMIT_HIGH = const(0x2C)
_IO_HIGH = const(0x30)

_PORT_TYPE = const(2)  # in the Express capability: bits 7:4 of the flags register
_ROOT_PORT = const(4)
_DOWNSTREAM_PORT = const(6)


class Bridge(Function):
    """A bridge, root port or switch port; `devices` is what was found right behind it."""

    secondary = 0
    subordinate = 0
    devices = ()

    def number(self, secondary, subordinate):
        """Forward configuration accesses for the buses from `secondary` to `subordinate`."""
        self.secondary = secondary
        self.subordinate = subordinate
        self.write32(_BUSES, self.address[0] | secondary << 8 | subordinate << 16)

    def is_link(self):
        """True for PCI Express ports, behind which there is only device 0."""
        for _, at in self.capabilities(CAP_EXPRESS):
            return self.read16(at + _PORT_TYPE) >> 4 & 15 in (_ROOT_PORT, _DOWNSTREAM_PORT)
        return False

    def has_wide_window(self):
        """True if its prefetchable window reaches above 4 GiB."""
        return self.read16(_PREFETCH) & 15 == 1

    def set_io_window(self, start, size):
        """Forward `size` ports from `start`; none if size is 0."""
        end = start + size - 1
        if not size:
            start, end = 0xF000, 0
        self.write16(_IO, start >> 8 & 0xF0 | end & 0xF000)
        self.write32(_IO_HIGH, 0)

    def set_memory_window(self, start, size):
        """Forward `size` bytes of memory below 4 GiB from `start`; none if size is 0."""
        self.write32(_MEMORY, _range(start, size))

    def set_prefetch_window(self, start, size):
        """Forward `size` bytes of prefetchable memory, anywhere, from `start`; none if 0."""
        end = start + size - 1 if size else 0
        self.write32(_PREFETCH, _range(start, size))
        self.write32(_PREFETCH_BASE_HIGH, start >> 32)
        self.write32(_PREFETCH_LIMIT_HIGH, end >> 32)


def _range(start, size):
    """Base and limit register in one; a base above the limit closes the window."""
    if not size:
        return 0x0000FFF0
    return start >> 16 & 0xFFF0 | (start + size - 1) & 0xFFF00000
