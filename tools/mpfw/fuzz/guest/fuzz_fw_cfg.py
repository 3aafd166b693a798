# SPDX-License-Identifier: MIT
"""fw_cfg devices that lie: sizes, names without end, DMA that fails, contents that change.

An input is one device, whose directory is read and some of whose files are.
"""

import struct
from binascii import hexlify

import bench_machine
import fuzz_registers
import fw_cfg
from fuzz_source import Noise
from portable import copy

_MAGIC = 0x554D4551
_NAMES = (
    b"opt/a",
    b"opt/a/b",
    b"etc/extra-pci-roots",
    b"x" * 55,
    b"x" * 56,
    b"",
    b"\xff\xfe",
    b"opt",
)
_ASKED = ("opt/a", "opt/a/b", "etc/extra-pci-roots", "x" * 55, "x" * 56, "", "opt", "x" * 200)
_COUNTS = (3, 3, 3, 0, 1, 1024, 1025, 0x7FFFFFFF, 0xFFFFFFFF)
_SIZES = (0, 1, 8, 100, 5000, 1 << 20, (64 << 20) + 1, 0x7FFFFFFF, 0xFFFFFFFF)
_LIMIT = 1 << 14  # bytes of a file that a program asks for at most
_MOST = 1024 * 64 + 64 + _LIMIT  # bytes of one transfer that anybody could have asked for


class FwCfg:
    """Such devices, one after the other."""

    def __init__(self, kind, source):
        self._source = source
        self.lines = []
        self.inputs = 0
        fuzz_registers.ports = self
        self._dma = True
        self._failing = self._changing = False
        self._key = self._at = self._high = 0
        self._items = {}

    def step(self):
        """One device."""
        source = self._source
        self.inputs += 1
        self._dma = source.chance(128)
        self._failing = source.chance(20)
        self._changing = source.chance(20)
        self._noise = Noise(source.word())
        self._new_items()
        fw_cfg._directory = fw_cfg._dma = None
        self._tell(fw_cfg.present)
        if source.chance(128):
            self._tell(fw_cfg.names)
        for _ in range(source.below(4)):
            name = source.pick(_ASKED)
            self._tell(fw_cfg.size, name)
            self._tell(fw_cfg.read, name, source.pick((8, 100, _LIMIT)))
            if source.chance(60):
                self._new_items()

    def _tell(self, call, *arguments):
        try:
            found = call(*arguments)
        except (OSError, ValueError) as error:
            if isinstance(error, UnicodeError):
                raise
            found = "OSError" if isinstance(error, OSError) else "ValueError"
        if isinstance(found, bytearray):
            if arguments and len(found) > arguments[-1]:
                raise AssertionError("%d bytes, beyond the limit" % len(found))
            found = hexlify(found[:32])
        elif isinstance(found, list):
            found = [len(found)] + [each[:6] for each in found[:4]]
        which = _ASKED.index(arguments[0]) if arguments else -1
        self.lines.append("%s %d: %r" % (call.__name__, which, found))

    def _new_items(self):
        source = self._source
        entries = b""
        self._items = {0: b"QEMU" if source.chance(245) else b"NONE"}
        for key in range(source.below(5)):
            contents = bytes([key]) * source.below(200)
            size = len(contents) if source.chance(128) else source.pick(_SIZES)
            name = source.pick(_NAMES)
            entries += struct.pack(">IHH56s", size, key + 0x20, 0, name)
            if source.chance(220):
                self._items[key + 0x20] = contents
        count = len(entries) // 64
        if source.chance(16):
            # Byte by byte a large directory takes half a second.
            count = source.pick(_COUNTS) if self._dma or source.chance(4) else source.below(4)
        self._items[0x19] = struct.pack(">I", count) + entries

    # -- what the driver touches

    def port_read(self, port, width):
        """A byte of the item, or the DMA interface's signature."""
        if port == 0x514 and width == 4:
            return _MAGIC if self._dma else 0
        if port != 0x511 or width != 1:
            raise AssertionError("a read of port 0x%x" % port)
        return self._take(1)[0]

    def port_write(self, port, value, width):
        """The selector, or a transfer."""
        if port == 0x510 and width == 2:
            self._key, self._at = value, 0
        elif port == 0x514 and width == 4:
            self._high = _swapped(value)
        elif port == 0x518 and width == 4 and self._dma:
            self._transfer(self._high << 32 | _swapped(value))
        else:
            raise AssertionError("a write of port 0x%x" % port)

    def _take(self, n):
        item = self._items.get(self._key, b"")
        part = item[self._at : self._at + n]
        self._at += n
        if self._changing and self._noise.chance(16):
            return b"\xff" * n
        return part + bytes(n - len(part))

    def _transfer(self, at):
        words = bytearray(16)
        copy(words, 0, at, 0, 16)
        control, length, address = struct.unpack(">IIQ", words)
        if length > _MOST:
            raise AssertionError("a transfer of %d bytes" % length)
        if control & 8:
            self._key, self._at = control >> 16, 0
        if self._failing and self._source.chance(128):
            copy(at, 0, struct.pack(">I", 1), 0, 4)
            return
        if length:
            copy(address, 0, self._take(length), 0, length)
        copy(at, 0, bytes(4), 0, 4)

    def words(self):
        """Nothing more to tell."""

    def settle(self):
        """Nothing is kept."""
        fw_cfg._directory = fw_cfg._dma = None
        if bench_machine.dma_used():
            raise AssertionError("DMA memory is left")


def _swapped(value):
    return struct.unpack(">I", struct.pack("<I", value))[0]
