# SPDX-License-Identifier: MIT
"""One PCI function that lies: its configuration space and its registers behind BARs."""

import struct

from fuzz_source import Noise

_IDS = (0x10531AF4, 0x10531AF4, 0x10531AF4, 0x10121AF4, 0x12345678, 0xFFFF0001, 0x0000FFFF)
_TYPES = (0, 0, 0, 0, 0, 1, 1, 2, 0x7F, 0x80, 0x81)
_CLASSES = (0x078000, 0x078000, 0x060400, 0x060000, 0xFF0000)
# BARs: bits that say what it is, and bits that can be written.
_BARS = (
    (0, 0xFFFFF000),
    (0, 0xFFFFF000),
    (12, 0xFFFFC000),
    (4, 0xFFFFC000),
    (1, 0xFFFFFFE0),
    (0, 0),
    (2, 0xFFFFF000),
    (6, 0xFFFFF000),
    (8, 0xF0000000),
    (0, 0xFFFFF00F),
)
_WIDE = (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0, 0xFFF00000)
_STATUS = 0x14


class Space:
    """A function's 256 bytes, or 4096, of which some can be written and some are lies."""

    def __init__(self, source, device):
        self._source = source
        self.device = device
        self.config = bytearray(256)
        self._mask = bytearray(256)
        self.children = []
        self.gone = False  # all ones from some access on
        self.stubborn = False  # its command register is not what was written
        self._left = source.below(400) if source.chance(20) else -1
        self._noise = Noise(source.word())
        self._unsteady = source.chance(20)
        self._nervous = source.chance(60)
        self._registers = {}
        header = source.pick(_TYPES)
        self.bridge = header & 0x7F == 1
        self._put(0, source.pick(_IDS[:5] if source.chance(230) else _IDS))
        self._put(8, source.pick(_CLASSES) << 8 | 1)
        self._put(12, header << 16)
        self._put(0x2C, 0x00131AF4)
        self._allow(4, 0x0407)
        if source.chance(4):
            self.stubborn = True
            self._allow(4, 0)
        if self.bridge:
            self._allow(0x18, 0x00FFFFFF)
            self._allow(0x1C, 0xF0F0)
            for register in (0x20, 0x24, 0x28, 0x2C):
                self._allow(register, 0xFFF0FFF0 if register < 0x28 else 0xFFFFFFFF)
        self._make_bars(2 if self.bridge else 6)
        if source.chance(240):
            self._make_list()

    def _put(self, at, value):
        self.config[at : at + 4] = struct.pack("<I", value)

    def _allow(self, at, mask):
        self._mask[at : at + 4] = struct.pack("<I", mask)

    def _make_bars(self, count):
        source = self._source
        index = 0
        while index < count:
            kind, mask = _BARS[0] if source.chance(100) else source.pick(_BARS)
            self._put(0x10 + 4 * index, kind)
            self._allow(0x10 + 4 * index, mask)
            if kind & 7 == 4 and source.chance(220):
                index += 1
                if index < 6:
                    self._put(0x10 + 4 * index, 0)
                    self._allow(0x10 + 4 * index, source.pick(_WIDE))
            index += 1

    def _make_list(self):
        """Capabilities: mostly those of a virtio device, some cut off, looped, out of place."""
        source = self._source
        config = self.config
        config[6] = 0x10
        at = config[0x34] = 0x40 if source.chance(240) else source.byte()
        at &= 0xFC
        kinds = [1, 2, 4, 0x11, 0x10, 3, 5]
        while kinds:
            kind = kinds.pop(0)
            if source.chance(12) or at < 0x40 or at > 0xE8:
                continue
            following = (at + 20) & 0xFC if kinds else 0
            if source.chance(8):
                following = source.byte()
            if kind == 0x11:
                self._msix(at, following)
            elif kind == 0x10:
                config[at : at + 4] = bytes([0x10, following, source.byte(), 0])
            else:
                self._virtio(at, following, kind)
            at = following & 0xFC
            if at == 0:
                break
        if source.chance(20):
            config[0x34 + source.below(200)] = source.byte()

    def _msix(self, at, following):
        source = self._source
        size = source.pick((3, 3, 0, 1, 31, 0x7FF))
        place = source.word() if source.chance(20) else 0x800
        self.config[at : at + 8] = struct.pack("<BBHI", 0x11, following, size, place)
        self._mask[at + 3] = 0xC0

    def _virtio(self, at, following, kind):
        source = self._source
        bar, offset, size = 0, (kind - 1) * 0x400, 0x100
        if source.chance(20):
            bar = source.byte()
        if source.chance(20):
            offset = source.word()
        if source.chance(20):
            size = source.word()
        multiplier = source.word() if source.chance(20) else 4
        length = source.byte() if source.chance(10) else 20
        text = struct.pack("<6BH", 9, following, length, kind, bar, 0, 0)
        text += struct.pack("<III", offset, size, multiplier)
        self.config[at : at + 20] = text[: max(0, min(20, 256 - at))]

    # -- configuration space

    def secondary(self):
        """The bus behind a bridge, 0: none."""
        return self.config[0x19]

    def read(self, register, width):
        """Some bytes, as a number."""
        if self._left >= 0:
            self._left -= 1
            if self._left < 0:
                self.gone = True
        if self.gone or register > 256 - width:
            return (1 << 8 * width) - 1
        if self._unsteady and self._noise.chance(40):
            return self._noise.word() & (1 << 8 * width) - 1
        return int.from_bytes(self.config[register : register + width], "little")

    def write(self, register, value, width):
        """What can be written is."""
        if self.gone or register > 256 - width:
            return
        for i in range(width):
            mask = self._mask[register + i]
            kept = self.config[register + i] & ~mask
            self.config[register + i] = kept | value >> 8 * i & mask

    # -- registers behind BARs

    def register_read(self, at, width, features):
        """A register: what was written, or, of virtio's, what a device would say."""
        if self.gone:
            return (1 << 8 * width) - 1
        if self._nervous and self._noise.chance(20):
            return self._noise.word() & (1 << 8 * width) - 1
        offset = at & 0xFFF
        if offset == 4 and width == 4:
            selected = self._registers.get(at - 4, 0)
            return features >> 32 * selected & 0xFFFFFFFF if selected < 2 else 0
        if offset == 0x18 and width == 2:
            return self._registers.get(at, 64)
        return self._registers.get(at, 0)

    def register_write(self, at, value, width):
        """A register keeps what it is told."""
        self._registers[at] = value
