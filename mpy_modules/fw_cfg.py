# SPDX-License-Identifier: MIT
"""QEMU's fw_cfg device: named files that the host hands to the firmware (`-fw_cfg name=...`).

The host chooses names, sizes and contents, so sizes are bounded by what the caller accepts, and
what was found in the directory at first stays so. A directory that cannot be read names no files.
Specification: QEMU, docs/specs/fw_cfg. DMA where there is the interface for it, else byte by byte.
"""

from array import array

import errnos
import micropython
from machine import log, port8, port16, port32
from micropython import const
from uctypes import addressof

_SELECTOR = const(0x510)
_DATA = const(0x511)
_DMA_HIGH = const(0x514)
_DMA_LOW = const(0x518)  # writing the address's low half starts the transfer

_KEY_SIGNATURE = const(0x0000)
_KEY_DIRECTORY = const(0x0019)

_DMA_READ = const(0x02)
_DMA_SELECT = const(0x08)

_MAGIC = const(0x554D4551)  # "QEMU" as port I/O delivers it
_ENTRY = const(64)  # directory entry: be32 size, be16 key, be16 reserved, char name[56]
_NAME = const(8)
_MAX_ENTRIES = const(1024)
_MAX_SIZE = const(64 << 20)  # a file that is larger is no script and no argument string

_directory = None
_dma = None  # whether it has the DMA interface; each access to a port leaves the guest: asked once

# This module runs at every boot, where under emulation each piece of the interpreter that is
# used for the first time costs: hence viper for numbers and search, and no struct.


def present():
    """True if this machine has a fw_cfg device."""
    if _has_dma():
        return True
    signature = bytearray(4)
    _read(signature, _KEY_SIGNATURE)
    return signature == b"QEMU"


def _has_dma():
    global _dma
    if _dma is None:
        _dma = port32[_DMA_HIGH] == _MAGIC
    return _dma


def names():
    """List the names of all files that can be asked for: those that are text, and have an end."""
    raw = _load_directory()
    found = []
    for at in range(0, len(raw), _ENTRY):
        name = raw[at + _NAME : at + _ENTRY]
        end = name.find(b"\0")
        try:
            if end >= 0:
                found.append(str(name[:end], "utf-8"))
        except UnicodeError:
            pass
    return found


def size(name):
    """The size of a file in bytes, or None if there is no such file."""
    raw = _load_directory()
    at = _find(raw, len(raw), name.encode())
    return None if at < 0 else _big_endian(raw, at, 4)


def read(name, limit=_MAX_SIZE):
    """The contents of a file as a bytearray, or None if there is no such file.

    A file of more than `limit` bytes raises ValueError and is not read; one that the memory does
    not hold is ENOMEM, one that the device does not give EIO.
    """
    raw = _load_directory()
    at = _find(raw, len(raw), name.encode())
    if at < 0:
        return None
    length = _big_endian(raw, at, 4)
    if length > limit:
        raise ValueError("fw_cfg file %s has %d bytes, more than %d" % (name, length, limit))
    try:
        contents = bytearray(length)
    except MemoryError:
        raise OSError(errnos.ENOMEM, "no memory for the %d bytes of fw_cfg's %s" % (length, name))
    _read(contents, _big_endian(raw, at + 4, 2))
    return contents


def _load_directory():
    global _directory
    if _directory is None:
        _directory = b""
        try:
            if present():
                _directory = _read_directory()
        except OSError as error:
            log("fw_cfg", str(error), "WARNING")
    return _directory


def _read_directory():
    count = bytearray(4)
    _read(count, _KEY_DIRECTORY)
    entries = _big_endian(count, 0, 4)
    raw = bytearray(_ENTRY * (entries if entries < _MAX_ENTRIES else _MAX_ENTRIES))
    _read(raw)
    return raw


def _read(into, key=None):
    """Fill the buffer `into` from the item `key`, or from where the last read ended."""
    if _has_dma():
        control = _DMA_READ
        if key is not None:
            control |= _DMA_SELECT | key << 16
        _transfer(control, len(into), addressof(into))
        return
    if key is not None:
        port16[_SELECTOR] = key
    for i in range(len(into)):
        into[i] = port8[_DATA]


def _transfer(control, length, address):
    """Run one FWCfgDmaAccess {be32 control, be32 length, be64 address}; QEMU does it at once."""
    access = array("I", (_swap(control), _swap(length), _swap(address >> 32), _swap(address)))
    at = addressof(access)
    if at >> 32:  # it is 0 at first, and after each transfer
        port32[_DMA_HIGH] = _swap(at >> 32)
    port32[_DMA_LOW] = _swap(at)
    if access[0]:
        raise OSError(errnos.EIO, "fw_cfg: DMA transfer failed (control 0x%x)" % _swap(access[0]))


@micropython.viper
def _swap(value: int) -> int:
    """The low 32 bits, in the other byte order."""
    value = value & 0xFFFFFFFF
    return value >> 24 | value >> 8 & 0xFF00 | value << 8 & 0xFF0000 | value << 24 & 0xFF000000


@micropython.viper
def _big_endian(raw: ptr8, at: int, count: int) -> int:
    """The number in `count` bytes of `raw` from `at` on."""
    value = 0
    while count > 0:
        value = value << 8 | raw[at]
        at += 1
        count -= 1
    return value


@micropython.viper
def _find(raw: ptr8, length: int, name) -> int:
    """The offset of the directory entry of that name, or -1."""
    wanted = ptr8(name)
    count = int(len(name))
    at = 0
    if count < _ENTRY - _NAME:
        while at < length:
            i = 0
            while i < count and raw[at + _NAME + i] == wanted[i]:
                i += 1
            if i == count and raw[at + _NAME + i] == 0:
                return at
            at += _ENTRY
    return -1
