# SPDX-License-Identifier: MIT
"""Configuration space: how its registers are reached, through ECAM or through ports CF8/CFC.

A register's place is one number, `bus << 20 | device << 15 | function << 12 | register`: what
ECAM adds to its base (PCI Express 6.0, 7.2.2), and what CF8's address is derived from (PCI 3.0,
3.2.2.3.2). Trusts the chipset; knows nothing of what the registers mean.
"""

import micropython
from machine import mem8, mem16, mem32, port8, port16, port32
from micropython import const

_CONFIG_ADDRESS = const(0xCF8)
_CONFIG_DATA = const(0xCFC)
_ENABLE = const(0x80000000)


class EcamAccess:
    """Memory-mapped access to all 4096 bytes of each function, from the address `base` on."""

    name = "ECAM"
    space = 4096

    def __init__(self, base):
        self.base = base

    def read8(self, where):
        return mem8[self.base + where]

    def read16(self, where):
        return mem16[self.base + where]

    def read32(self, where):
        return mem32[self.base + where]

    def write8(self, where, value):
        mem8[self.base + where] = value

    def write16(self, where, value):
        mem16[self.base + where] = value

    def write32(self, where, value):
        mem32[self.base + where] = value


class PortAccess:
    """Access by ports, to the first 256 bytes of each function."""

    name = "CF8/CFC"
    space = 256

    @micropython.native
    def _select(self, where):
        if where & 0xF00:
            raise ValueError("register beyond 255 needs ECAM")
        port32[_CONFIG_ADDRESS] = _ENABLE | where >> 4 & 0xFFFF00 | where & 0xFC
        return _CONFIG_DATA + (where & 3)

    def read8(self, where):
        return port8[self._select(where)]

    def read16(self, where):
        return port16[self._select(where)]

    def read32(self, where):
        return port32[self._select(where)]

    def write8(self, where, value):
        port8[self._select(where)] = value

    def write16(self, where, value):
        port16[self._select(where)] = value

    def write32(self, where, value):
        port32[self._select(where)] = value
