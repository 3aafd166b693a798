# SPDX-License-Identifier: MIT
"""What differs between chipsets: how ECAM is switched on, and which addresses PCI may use.

Knows QEMU's q35 (ECAM) and pc (ports only). The windows come from the HOB list, that is from
what our IPL has mapped; the fixed parts of a PC are cut out of them here.
"""

import hob
import machine
from micropython import const

from .access import EcamAccess, PortAccess

_Q35 = const(0x29C08086)  # the host bridge's device and vendor id
_PCIEXBAR = const(0x60)  # Intel 3 Series MCH datasheet, 5.1.15: base | length << 1 | enable
_PCIEXBAR_HIGH = const(0x64)
_ECAM_BASE = const(0xB0000000)
_ECAM_SIZE = const(1 << 28)  # 256 buses

_GIB4 = const(1 << 32)
# From here up to 4 GiB: IOAPIC, HPET, TPM, chipset registers, local APIC, flash.
_FIXED_MMIO = const(0xFEC00000)
_LOWEST_MMIO = const(0x100000)  # below 1 MiB: VGA and ROMs
_FIXED_IO = (
    (0, 0x1000),  # ISA devices, PM block at 0x600, CF8
    (0x5000, 0x1000),  # QEMU's vmport at 0x5658
    (0xA000, 0x2000),  # pc: ACPI hot-plug registers at 0xAE00 and 0xAF00
)


def find_access(resources):
    """Give the best way into configuration space: ECAM, programmed if need be, or CF8/CFC.

    `resources` is what hob.resources() says.
    """
    ports = PortAccess()
    if ports.read32(0) != _Q35:
        return ports
    low = ports.read32(_PCIEXBAR)
    base = low & 0xF0000000
    if not low & 1 or ports.read32(_PCIEXBAR_HIGH):
        base = _ECAM_BASE
    if not _is_mapped(resources, base, base + _ECAM_SIZE):
        machine.log("pci", "ECAM at 0x%x is not mapped: using CF8/CFC" % base, "WARNING")
        return ports
    if low != base | 1:
        ports.write32(_PCIEXBAR_HIGH, 0)
        ports.write32(_PCIEXBAR, base | 1)
    ecam = EcamAccess(base)
    return ecam if ecam.read32(0) == _Q35 else ports


def windows(resources, access):
    """The address ranges that PCI may use: lists of (start, end) for I/O, low, high memory."""
    io = []
    low = []
    high = []
    for kind, start, length in resources:
        end = start + length
        if kind == hob.IO:
            io.append((start, end))
        elif kind == hob.MMIO:
            if end > _GIB4:
                high.append((max(start, _GIB4), end))
            if start < _FIXED_MMIO and end > _LOWEST_MMIO:
                low.append((max(start, _LOWEST_MMIO), min(end, _FIXED_MMIO)))
    for start, length in _FIXED_IO:
        io = _without(io, start, start + length)
    io.reverse()  # highest first: there the fewest of QEMU's own devices live
    if access.space == 4096:
        low = _without(low, access.base, access.base + _ECAM_SIZE)
    return io, low, high


def _is_mapped(resources, start, end):
    for kind, first, length in resources:
        if kind == hob.MMIO and first <= start and end <= first + length:
            return end <= _FIXED_MMIO
    return False


def _without(ranges, start, end):
    left = []
    for first, last in ranges:
        if first < start:
            left.append((first, min(last, start)))
        if last > end:
            left.append((max(first, end), last))
    return left
