# SPDX-License-Identifier: MIT
"""QEMU's fw_cfg device in software, for the frozen modules under CPython."""

import struct

from pci_machine import Machine


class FwCfg(Machine):
    """A machine with fw_cfg ports; `files`: name -> contents."""

    def __init__(self, files, count=None):
        super().__init__({})
        entries = b""
        self.items = {0: b"QEMU"}
        for key, (name, contents) in enumerate(files.items(), 0x20):
            entries += struct.pack(">IHH56s", len(contents), key, 0, name.encode())
            self.items[key] = contents
        self.items[0x19] = struct.pack(">I", len(files) if count is None else count) + entries
        self.key = self.at = 0
        self.reads = 0

    def port_write(self, port, value, width):
        assert (port, width) == (0x510, 2)
        self.key, self.at = value, 0

    def port_read(self, port, width):
        if port != 0x511:
            return 0  # no DMA
        self.at += 1
        self.reads += 1
        return self.items[self.key][self.at - 1] if self.at <= len(self.items[self.key]) else 0
