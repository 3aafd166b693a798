# SPDX-License-Identifier: MIT
"""The Hand-Off Block list that the IPL leaves (UEFI PI 1.8, volume 3): what the machine has where.

Read-only, parsed on demand from `machine.hobs()`. Written by our own firmware, so it is trusted,
but a list that does not end is still an error and not a loop.
"""

from struct import unpack_from

import machine
from micropython import const

_ALLOCATION = const(0x0002)
_RESOURCE = const(0x0003)
_GUID = const(0x0004)
_VOLUME = const(0x0005)
_CPU = const(0x0006)
_END = const(0xFFFF)

RAM = const(0)  # resource types, EFI_RESOURCE_*
MMIO = const(1)
IO = const(2)
FIRMWARE = const(3)


def each(hob_type):
    """Yield the offset and length of each block of that type in `machine.hobs()`."""
    hobs = machine.hobs()
    at = 0
    while at + 8 <= len(hobs):
        found, length, _ = unpack_from("<HHI", hobs, at)
        if found == _END:
            return
        if length < 8 or at + length > len(hobs):
            break
        if found == hob_type:
            yield at, length
        at += length
    raise ValueError("HOB list is damaged at offset %d" % at)


def resources(resource_type):
    """List the `(start, length)` of every resource of that type (RAM, MMIO, IO, FIRMWARE)."""
    found = []
    hobs = machine.hobs()
    for at, _length in each(_RESOURCE):
        kind, _, start, size = unpack_from("<IIQQ", hobs, at + 24)
        if kind == resource_type:
            found.append((start, size))
    return found


def allocations():
    """List the `(start, length, memory type)` of the memory that the IPL has put to use."""
    hobs = machine.hobs()
    return [unpack_from("<QQI", hobs, at + 24) for at, _ in each(_ALLOCATION)]


def volumes():
    """List the `(start, length)` of the firmware volumes in flash."""
    hobs = machine.hobs()
    return [unpack_from("<QQ", hobs, at + 8) for at, _ in each(_VOLUME)]


def extension(guid):
    """The data of the GUID extension block with this 16-byte GUID, as bytes; None if absent."""
    hobs = machine.hobs()
    for at, length in each(_GUID):
        if bytes(hobs[at + 8 : at + 24]) == guid:
            return bytes(hobs[at + 24 : at + length])
    return None


def address_bits():
    """Width of the CPU's physical addresses in bits; 36, which every x86-64 has, if not told."""
    for at, _ in each(_CPU):
        return machine.hobs()[at + 8]
    return 36
