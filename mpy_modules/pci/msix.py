# SPDX-License-Identifier: MIT
"""MSI-X: a function's table of messages, each of which may hit a machine.Vector.

Specification: PCI Express 6.0, 7.7.2. The table's place is the device's word and is checked
against its BAR before anything is written.
"""

import machine
import micropython
from errnos import EINVAL
from machine import mem32
from micropython import const

from .function import CAP_END

_CONTROL = const(2)
_TABLE = const(4)  # offset, and the BAR in the low three bits
_BYTES = const(12)
_ENABLE = const(0x8000)
_MASK_ALL = const(0x4000)

_ENTRY = const(16)  # address low, address high, data, control (bit 0: masked)


class Msix:
    """The MSI-X capability of `function` at the register `at`; `size` entries.

    Entries are routed one by one; the capability is switched on with the first. Raises OSError
    if the table lies outside its BAR. The function must be enabled before route() is called.
    """

    def __init__(self, function, at):
        self._function = function
        self._at = at
        self._on = False
        if at + _BYTES > CAP_END:
            raise OSError(EINVAL, "%s: the MSI-X capability is cut off" % function.slot)
        control = function.read16(at + _CONTROL)
        if control & _ENABLE:  # left over from before a soft reset
            function.write16(at + _CONTROL, _MASK_ALL)
        self.size = (control & 0x7FF) + 1
        place = function.read32(at + _TABLE)
        self._table = function.region(place & 7, place & 0xFFFFFFF8, self.size * _ENTRY)
        self.vectors = {}

    def route(self, entry):
        """Give the entry a vector of its own; returns the machine.Vector, the same each time."""
        vector = self.vectors.get(entry)
        if vector is not None:
            return vector
        if not 0 <= entry < self.size:
            raise OSError(EINVAL, "%s: no MSI-X entry %d" % (self._function.slot, entry))
        vector = machine.Vector()
        address, data = vector.msi()
        at = self._table + _ENTRY * entry
        mem32[at] = address & 0xFFFFFFFF
        mem32[at + 4] = address >> 32
        mem32[at + 8] = data
        mem32[at + 12] = 0
        if not self._on:
            self._on = True
            self._function.write16(self._at + _CONTROL, _ENABLE)
        self.vectors[entry] = vector
        return vector

    @micropython.native
    def disable(self):
        """Switch MSI-X off and give the vectors back."""
        self._function.write16(self._at + _CONTROL, _MASK_ALL)
        self._on = False
        for vector in self.vectors.values():
            vector.close()
        self.vectors.clear()
