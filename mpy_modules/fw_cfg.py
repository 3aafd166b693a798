# SPDX-License-Identifier: MIT
"""QEMU's fw_cfg device: named files that the host hands to the firmware (`-fw_cfg name=...`).

The host chooses names, sizes and contents, so sizes are bounded by what the caller accepts.
Specification: QEMU, docs/specs/fw_cfg. DMA where there is the interface for it, else byte by byte.
"""

from struct import pack_into, unpack_from

from machine import port8, port16, port32
from micropython import const
from uctypes import addressof

_SELECTOR = const(0x510)
_DATA = const(0x511)
_DMA_HIGH = const(0x514)
_DMA_LOW = const(0x518)  # writing the address's low half starts the transfer

_KEY_SIGNATURE = const(0x0000)
_KEY_DIRECTORY = const(0x0019)

_DMA_ERROR = const(0x01)
_DMA_READ = const(0x02)
_DMA_SKIP = const(0x04)
_DMA_SELECT = const(0x08)

_MAGIC = const(0x554D4551)  # "QEMU" as port I/O delivers it
_ENTRY = const(64)  # directory entry: be32 size, be16 key, be16 reserved, char name[56]
_MAX_ENTRIES = const(1024)
_MAX_SIZE = const(64 << 20)  # a file that is larger is no script and no argument string

_directory = None


def present():
    """True if this machine has a fw_cfg device."""
    if _has_dma():
        return True
    signature = bytearray(4)
    _read(_KEY_SIGNATURE, 0, signature)
    return signature == b"QEMU"


def names():
    """List the names of all files."""
    raw = _load_directory()
    entries = (raw[at + 8 : at + _ENTRY] for at in range(0, len(raw), _ENTRY))
    return [str(name[: name.find(b"\0")], "utf-8") for name in entries]


def size(name):
    """The size of a file in bytes, or None if there is no such file."""
    found = _find(name)
    return found and found[0]


def read(name, limit=_MAX_SIZE):
    """The contents of a file as a bytearray, or None if there is no such file.

    A file of more than `limit` bytes raises ValueError and is not read.
    """
    found = _find(name)
    if found is None:
        return None
    length, key = found
    if length > limit:
        raise ValueError("fw_cfg file %s has %d bytes, more than %d" % (name, length, limit))
    contents = bytearray(length)
    _read(key, 0, contents)
    return contents


def _has_dma():
    return port32[_DMA_HIGH] == _MAGIC


def _load_directory():
    global _directory
    if _directory is None:
        raw = bytearray()
        if present():
            count = bytearray(4)
            _read(_KEY_DIRECTORY, 0, count)
            raw = bytearray(_ENTRY * min(unpack_from(">I", count, 0)[0], _MAX_ENTRIES))
            _read(_KEY_DIRECTORY, 4, raw)
        _directory = raw
    return _directory


def _find(name):
    raw = _load_directory()
    wanted = name.encode() + b"\0"
    at = raw.find(wanted)
    while at >= 0:
        if at % _ENTRY == 8:
            return unpack_from(">IH", raw, at - 8)
        at = raw.find(wanted, at + 1)
    return None


def _read(key, skip, into):
    """Fill the buffer `into` from the item `key`, leaving out its first `skip` bytes."""
    if _has_dma():
        if skip:
            _transfer(_DMA_SELECT | _DMA_SKIP | key << 16, skip, 0)
            _transfer(_DMA_READ, len(into), addressof(into))
        else:
            _transfer(_DMA_SELECT | _DMA_READ | key << 16, len(into), addressof(into))
        return
    port16[_SELECTOR] = key
    for _ in range(skip):
        port8[_DATA]
    for i in range(len(into)):
        into[i] = port8[_DATA]


def _transfer(control, length, address):
    """Run one FWCfgDmaAccess {be32 control, be32 length, be64 address}; QEMU does it at once."""
    access = bytearray(16)
    pack_into(">IIQ", access, 0, control, length, address)
    at = addressof(access)
    port32[_DMA_HIGH] = _swap32(at >> 32)
    port32[_DMA_LOW] = _swap32(at & 0xFFFFFFFF)
    left = unpack_from(">I", access, 0)[0]
    if left:
        raise OSError(5, "fw_cfg: DMA transfer failed (control 0x%x)" % left)


def _swap32(value):
    return value >> 24 | value >> 8 & 0xFF00 | value << 8 & 0xFF0000 | value << 24 & 0xFF000000
