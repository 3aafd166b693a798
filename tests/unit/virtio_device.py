# SPDX-License-Identifier: MIT
"""A virtio device in software: its PCI capabilities and common configuration structure.

Behaves as virtio 1.2 says until a test tells it not to, by changing its attributes.
"""

import struct

from pci_machine import Function

VERSION_1 = 1 << 32
COMMON, NOTIFY, ISR, CONFIG = 0x0000, 0x3000, 0x1000, 0x2000  # offsets in BAR 4


class VirtioFunction(Function):
    """One device; `structures` are its vendor capabilities: (type, BAR, offset, length)."""

    STRUCTURES = (
        (1, 4, COMMON, 0x1000),
        (3, 4, ISR, 0x1000),
        (4, 4, CONFIG, 0x1000),
        (2, 4, NOTIFY, 0x1000),
        (5, 0, 0, 0),
    )

    def __init__(self, structures=STRUCTURES, offered=VERSION_1, multiplier=4, msix=4):
        super().__init__(0x10531AF4, bars={1: ("m32", 4096), 4: ("p64", 16384)})
        self.offered = offered
        self.accepted = {}
        self.refuse_features = False
        self.status = 0
        self.statuses = []  # every value that the driver wrote
        self.reset_reads = 0  # how many reads a reset takes
        self.resetting = 0
        self.vectors_left = 99  # how many vector assignments succeed
        self.vector = {}
        self.queue_size = [128, 128, 128]
        self.notify_off = [0, 1, 2]
        self.enabled = {}
        self.selected = 0
        self.selections = []  # every queue that the driver selected
        self.feature_select = 0
        self.generation = 0
        self.restless = 0  # how many times the generation changes under a reader
        self.config_data = bytes(range(64))
        self.registers[4] = self.access
        at = 0x40
        for kind, bar, offset, length in structures:
            size = 20 if kind == 2 else 16
            data = struct.pack("<BBBBBBII", size, kind, bar, 0, 0, 0, offset, length)
            self.capability(at, 9, at + 20, data + struct.pack("<I", multiplier))
            at += 20
        if msix:
            self.capability(at, 0x11, 0, struct.pack("<HII", msix - 1, 1, 0x801))
            self.allow(at + 2, 2, 0xC000)
        else:
            self.config[at - 19] = 0

    def access(self, offset, value, width):
        name = {
            (0x00, 4): "feature_select_",
            (0x04, 4): "device_feature",
            (0x08, 4): "feature_select_",
            (0x0C, 4): "driver_feature",
            (0x10, 2): "config_vector",
            (0x14, 1): "device_status",
            (0x15, 1): "config_generation",
            (0x16, 2): "queue_select",
            (0x18, 2): "size",
            (0x1A, 2): "queue_vector",
            (0x1C, 2): "queue_enable",
            (0x1E, 2): "queue_notify_off",
        }.get((offset, width))
        if CONFIG <= offset < CONFIG + 64:
            return int.from_bytes(self.config_data[offset - CONFIG :][:width], "little")
        if name is None:
            assert width == 4 and 0x20 <= offset < 0x38, f"access to {offset:#x}, {width} bytes"
            return None
        return getattr(self, name)(value)

    def feature_select_(self, value):
        self.feature_select = value

    def device_feature(self, value):
        return self.offered >> 32 * self.feature_select & 0xFFFFFFFF

    def driver_feature(self, value):
        self.accepted[self.feature_select] = value

    def features(self):
        return self.accepted[0] | self.accepted[1] << 32

    def device_status(self, value):
        if value is None:
            if self.resetting:
                self.resetting -= 1
                return 0xFF
            return self.status
        self.statuses.append(value)
        if value == 0:
            self.resetting = self.reset_reads
            self.selected = 0
        if self.refuse_features:
            value &= ~8
        self.status = value
        return None

    def config_generation(self, value):
        if self.restless:
            self.restless -= 1
            self.generation = self.generation + 1 & 0xFF
        return self.generation

    def queue_select(self, value):
        self.selected = value
        self.selections.append(value)

    def size(self, value):
        exists = self.selected < len(self.queue_size)
        if value is None:
            return self.queue_size[self.selected] if exists else 0
        self.queue_size[self.selected] = value
        return None

    def queue_vector(self, value):
        return self.assign(self.selected, value)

    def config_vector(self, value):
        return self.assign("config", value)

    def assign(self, key, value):
        if value is None:
            return self.vector.get(key, 0xFFFF)
        self.vectors_left -= 1
        self.vector[key] = value if self.vectors_left >= 0 else 0xFFFF
        return None

    def queue_enable(self, value):
        self.enabled[self.selected] = value

    def queue_notify_off(self, value):
        return self.notify_off[self.selected]
