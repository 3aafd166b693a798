# SPDX-License-Identifier: MIT
"""The Hand-Off Block list that the IPL leaves (UEFI PI 1.8, volume 3): what the machine has where.

Read-only, parsed on demand from `machine.hobs()`. Written by our own firmware, so it is trusted,
but a list that does not end is still an error and not a loop.
"""

import machine
from machine import mem16, mem32, mem64
from micropython import const
from uctypes import addressof

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


def find(hob_type):
    """List the addresses of the blocks of that type."""
    found = []
    hobs = machine.hobs()
    at = addressof(hobs)
    end = at + len(hobs)
    while at + 8 <= end:
        kind = mem16[at]
        if kind == hob_type:
            found.append(at)
        if kind == _END:
            return found
        length = mem16[at + 2]
        if length < 8:
            break
        at += length
    raise ValueError("HOB list is damaged at 0x%x" % at)


def resources():
    """List the `(type, start, length)` of all address space: RAM, MMIO, IO, FIRMWARE."""
    return [(mem32[at + 24], mem64[at + 32], mem64[at + 40]) for at in find(_RESOURCE)]


def allocations():
    """List the `(start, length, memory type)` of the memory that the IPL has put to use."""
    return [(mem64[at + 24], mem64[at + 32], mem32[at + 40]) for at in find(_ALLOCATION)]


def volumes():
    """List the `(start, length)` of the firmware volumes in flash."""
    return [(mem64[at + 8], mem64[at + 16]) for at in find(_VOLUME)]


def extension(guid):
    """The data of the GUID extension block with this 16-byte GUID, as bytes; None if absent."""
    hobs = machine.hobs()
    for at in find(_GUID):
        start = at - addressof(hobs)
        if bytes(hobs[start + 8 : start + 24]) == guid:
            return bytes(hobs[start + 24 : start + mem16[at + 2]])
    return None


def address_bits():
    """Width of the CPU's physical addresses in bits; 36, which every x86-64 has, if not told."""
    for at in find(_CPU):
        return mem16[at + 8] & 0xFF
    return 36
