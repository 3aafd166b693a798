# SPDX-License-Identifier: MIT
"""One function of a PCI device: its header, base address registers and capabilities.

Everything that a function says about itself (sizes, offsets, lists) is checked here before
anyone uses it. Knows the header (PCI 3.0, chapter 6), not what the device is for.
"""

import micropython
from errnos import EINVAL, ENOSPC
from micropython import const

COMMAND = const(0x04)
_REVISION = const(0x08)  # and class code, in the upper 24 bits
_HEADER = const(0x0C)  # cache line, latency, header type, BIST
_STATUS = const(0x06)
_BAR0 = const(0x10)
_SUBSYSTEM = const(0x2C)
_CAPABILITIES = const(0x34)

_COMMAND_IO = const(0x0001)
_COMMAND_MEMORY = const(0x0002)
_COMMAND_MASTER = const(0x0004)
_COMMAND_NO_INTX = const(0x0400)
_STATUS_CAPABILITIES = const(0x0010)

CAP_END = const(0x100)  # capabilities lie below
CAP_MSIX = const(0x11)
CAP_VENDOR = const(0x09)
CAP_EXPRESS = const(0x10)


class Bar:
    """A base address register: `size` bytes of memory or I/O space, at `address` if placed."""

    def __init__(self, index, size, io, wide, prefetchable):
        self.index = index
        self.size = size
        self.io = io
        self.wide = wide  # 64-bit register
        self.prefetchable = prefetchable
        self.address = None  # set by the placement; None: there was no room

    def __repr__(self):
        kind = "I/O" if self.io else "64-bit" if self.wide else "32-bit"
        at = "not placed" if self.address is None else "at 0x%x" % self.address
        return "BAR%d %s %s, %s%s" % (
            self.index,
            kind,
            at,
            _size_text(self.size),
            " prefetchable" if self.prefetchable else "",
        )


class Function:
    """A function of a device, found at `where` (bus << 20 | device << 15 | function << 12)."""

    _capabilities = None  # a list, once somebody has asked

    def __init__(self, access, where, ids, header, parent):
        self._access = access
        self._where = where
        self.parent = parent  # the Bridge above, or None on a root bus
        self.vendor = ids & 0xFFFF
        self.device = ids >> 16
        self.header = header >> 16 & 0x7F
        revision = access.read32(where + _REVISION)
        self.revision = revision & 0xFF
        self.class_code = revision >> 8  # base class, subclass, programming interface
        self.bars = ()  # by register; None where there is none or where it is an upper half
        self.stuck = None  # a Bar that does not keep the address that it is given
        self.enabled = 0  # what of the command register is switched on
        self._msix = None

    @property
    def address(self):
        """(bus, device, function)."""
        where = self._where
        return where >> 20, where >> 15 & 31, where >> 12 & 7

    @property
    def subsystem(self):
        """(subsystem vendor id, subsystem id); (0, 0) for bridges, which have none here."""
        ids = 0 if self.header else self.read32(_SUBSYSTEM)
        return ids & 0xFFFF, ids >> 16

    def read8(self, register):
        return self._access.read8(self._where + register)

    def read16(self, register):
        return self._access.read16(self._where + register)

    def read32(self, register):
        return self._access.read32(self._where + register)

    def write8(self, register, value):
        self._access.write8(self._where + register, value)

    def write16(self, register, value):
        self._access.write16(self._where + register, value)

    def write32(self, register, value):
        self._access.write32(self._where + register, value)

    def capabilities(self, wanted=None):
        """List the `(id, register)` of its capabilities, in order; or only those of one id.

        The list is the device's word: it ends at the first register seen before, outside the
        space after the header, or of id 0xFF. What it was at first it stays.
        """
        if self._capabilities is None:
            self._capabilities = self._walk_capabilities()
        return [each for each in self._capabilities if wanted in (None, each[0])]

    def _walk_capabilities(self):
        found = []
        if not self.read16(_STATUS) & _STATUS_CAPABILITIES:
            return found
        seen = 0
        at = self.read8(_CAPABILITIES) & 0xFC
        while at >= 0x40 and not seen >> (at >> 2) & 1:
            seen |= 1 << (at >> 2)
            entry = self.read16(at)
            if entry & 0xFF == 0xFF:
                break
            found.append((entry & 0xFF, at))
            at = entry >> 8 & 0xFC
        return found

    def extended_capabilities(self):
        """List the `(id, register)` of its PCI Express extended capabilities; [] without ECAM."""
        found = []
        if self._access.space < 4096 or not self.capabilities(CAP_EXPRESS):
            return found
        seen = set()
        at = 0x100
        while at >= 0x100 and at not in seen:
            seen.add(at)
            entry = self.read32(at)
            if entry in (0, 0xFFFFFFFF):
                break
            found.append((entry & 0xFFFF, at))
            at = entry >> 20 & 0xFFC
        return found

    def region(self, bar, offset, length):
        """The address of `length` bytes at `offset` in a memory BAR, checked against its size."""
        found = self.bars[bar] if 0 <= bar < len(self.bars) else None
        if found is None or found.io:
            raise OSError(EINVAL, "%s: BAR%d is no memory BAR" % (self.slot, bar))
        if offset < 0 or length < 0 or offset + length > found.size:
            raise OSError(
                EINVAL,
                "%s: 0x%x+0x%x lies outside BAR%d" % (self.slot, offset, length, bar),
            )
        if found.address is None:
            raise OSError(ENOSPC, "%s: no address space for BAR%d" % (self.slot, bar))
        return found.address + offset

    @property
    def msix(self):
        """Its MSI-X table (pci.msix.Msix), or None if it has none. OSError if it is malformed."""
        if self._msix is None:
            found = self.capabilities(CAP_MSIX)
            if found:
                from .msix import Msix

                self._msix = Msix(self, found[0][1])
        return self._msix

    def enable(self, io=False):
        """Let it decode its memory BARs (and I/O BARs) and master the bus; INTx stays off.

        Raises OSError if a BAR of it does not keep its address.
        """
        if self.stuck is not None:
            raise OSError(EINVAL, "%s: BAR%d cannot be placed" % (self.slot, self.stuck.index))
        command = _COMMAND_MEMORY | _COMMAND_MASTER | (_COMMAND_IO if io else 0)
        if self.enabled & command == command:
            return
        if self.parent is not None:
            self.parent.enable(io)
        self.enabled |= command
        self.write16(COMMAND, self.enabled | _COMMAND_NO_INTX)

    @micropython.native
    def disable(self):
        """Stop it from decoding and from mastering the bus; the bridges above stay open."""
        self.enabled = 0
        self.write16(COMMAND, _COMMAND_NO_INTX)
        if self._msix is not None:
            self._msix.disable()
            self._msix = None

    @property
    def slot(self):
        """Its place as lspci writes it, for instance "00:02.0"."""
        return "%02x:%02x.%x" % self.address

    def __repr__(self):
        from . import names

        return "%s %s [%04x:%04x]" % (
            self.slot,
            names.describe(self),
            self.vendor,
            self.device,
        )


def _size_text(size):
    for shift, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >> shift:
            return "%d %s" % (size >> shift, unit)
    return "%d bytes" % size


def probe(access, where, ids, parent):
    """The function at `where`, or None; and whether its device has more functions.

    `ids` is what its first register says.
    """
    # All ones: nobody there. All zeros and 0xFFFF0001 are answers of broken or retrying devices.
    if ids & 0xFFFF in (0xFFFF, 0x0000) or ids == 0xFFFF0001:
        return None, False
    header = access.read32(where + _HEADER)
    if header >> 16 & 0x7F == 1:
        from .bridge import Bridge

        found = Bridge(access, where, ids, header, parent)
    else:
        found = Function(access, where, ids, header, parent)
    return found, bool(header >> 23 & 1)


def size_bars(function):
    """Find out which BARs a function has and how large they are; leaves it not decoding.

    A host bridge or ISA bridge is left alone: its registers are the chipset's.
    """
    if function.header > 1 or function.class_code >> 16 == 6 and function.header == 0:
        return
    command = function.read16(COMMAND)
    if command & 7:
        function.write16(COMMAND, command & ~7)
    bars = []
    count = 2 if function.header else 6
    while len(bars) < count:
        bar = _size_bar(function, len(bars), count)
        bars.append(bar)
        if bar is not None and bar.wide:
            bars.append(None)
    function.bars = bars


def _size_bar(function, index, count):
    access = function._access  # at hand: six registers of each function are asked at start-up
    register = function._where + _BAR0 + 4 * index
    access.write32(register, 0xFFFFFFFF)
    mask = access.read32(register)
    if mask in (0, 0xFFFFFFFF):
        return None
    if mask & 1:
        ports = mask & 0xFFFC
        return Bar(index, ports & -ports, True, False, False) if ports else None
    kind = mask >> 1 & 3
    wide = kind == 2 and index + 1 < count
    prefetchable = bool(mask & 8)
    mask &= 0xFFFFFFF0
    if wide:
        access.write32(register + 4, 0xFFFFFFFF)
        mask |= access.read32(register + 4) << 32
    if not mask or kind not in (0, 2) or kind == 2 and not wide:
        return None
    return Bar(index, mask & -mask, False, wide, prefetchable)


def write_bar(function, bar):
    """Put the address that the placement chose into the register; 0 if there was no room.

    False if it does not stay there: what it would decode is somebody else's.
    """
    register = _BAR0 + 4 * bar.index
    address = bar.address or 0
    function.write32(register, address & 0xFFFFFFFF)
    kept = function.read32(register) & (0xFFFFFFFC if bar.io else 0xFFFFFFF0)
    if bar.wide:
        function.write32(register + 4, address >> 32)
        kept |= function.read32(register + 4) << 32
    if kept == address:
        return True
    bar.address = None
    function.stuck = bar
    return False
