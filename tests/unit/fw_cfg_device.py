# SPDX-License-Identifier: MIT
"""QEMU's fw_cfg device in software, for the frozen modules under CPython."""

import ctypes
import struct

from pci_machine import Machine

MAGIC = 0x554D4551  # "QEMU" at the DMA register
READ, SELECT, ERROR = 2, 8, 1


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


def address_of(buffer):
    """Where a buffer's bytes lie, as uctypes.addressof has it."""
    return ctypes.addressof(
        (ctypes.c_char * len(memoryview(buffer).cast("B"))).from_buffer(buffer)
    )


class FwCfgDma(FwCfg):
    """The same with its DMA interface. `end` is what a transfer leaves in its control word, once
    `after` have gone well; `changes` is called before each one."""

    def __init__(self, files, count=None, end=0, after=0, changes=lambda device: None):
        super().__init__(files, count)
        self.end, self.after, self.changes = end, after, changes
        self.high = 0
        self.asked = []  # bytes, of each transfer

    def port_read(self, port, width):
        return MAGIC if port == 0x514 else super().port_read(port, width)

    def port_write(self, port, value, width):
        if port == 0x514:
            self.high = value
        elif port == 0x518:
            swapped = struct.pack("<II", self.high, value)
            self.high = 0
            self.transfer(struct.unpack(">Q", swapped)[0])
        else:
            super().port_write(port, value, width)

    def transfer(self, at):
        control, length, address = struct.unpack(">IIQ", ctypes.string_at(at, 16))
        self.changes(self)
        self.asked.append(length)
        if control & SELECT:
            self.key, self.at = control >> 16, 0
        if len(self.asked) > self.after and self.end:
            ctypes.memmove(at, struct.pack(">I", self.end), 4)
            return
        assert control & READ
        data = self.items[self.key][self.at : self.at + length].ljust(length, b"\0")
        self.at += length
        ctypes.memmove(address, data, length)
        ctypes.memmove(at, bytes(4), 4)
