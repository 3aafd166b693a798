# SPDX-License-Identifier: MIT
"""A PCI machine in software: configuration space, bridges and a HOB list, under CPython.

It stands in for the firmware's `machine` module, so that the frozen PCI modules run unchanged
against topologies that no QEMU command line gives, and against devices that lie. It is the
tests' oracle too: `placed()` reads back from the registers where everything decodes.
"""

import builtins
import contextlib
import importlib
import os
import struct
import sys
import types
from pathlib import Path
from typing import Any

MODULES = Path(
    os.environ.get("UNIT_MODULES") or Path(__file__).resolve().parents[2] / "mpy_modules"
)
GIB = 1 << 30

Q35 = 0x29C08086
I440FX = 0x12378086
HOBS = 0x3F0000  # where the HOB list lies in memory


class Function:
    """A function's configuration space. `bars`: register -> (kind, size), kinds as below."""

    KINDS = {"io": 1, "m32": 0, "p32": 8, "m64": 4, "p64": 12}

    def __init__(self, ids=0x10531AF4, class_code=0x078000, bars=None, multi=False, header=0):
        self.config = bytearray(4096)
        self.mask = bytearray(4096)
        self.children = {}
        self.registers = {}  # BAR -> function(offset, value or None to read, width)
        self.bars = bars or {}
        struct.pack_into("<I", self.config, 0, ids)
        struct.pack_into("<I", self.config, 8, class_code << 8 | 1)
        self.config[0x0E] = header | (0x80 if multi else 0)
        self.allow(4, 2, 0x0407)
        for index, (kind, size) in self.bars.items():
            flags = self.KINDS[kind]
            mask = -size & (0xFFFFFFFFFFFFFFFF if kind.endswith("64") else 0xFFFFFFFF)
            width = 8 if kind.endswith("64") else 4
            self.config[0x10 + 4 * index] = flags
            self.allow(0x10 + 4 * index, width, mask & ~(3 if kind == "io" else 15))

    def allow(self, at, width, mask):
        self.mask[at : at + width] = mask.to_bytes(width, "little")

    def put(self, at, value, width=4):
        self.config[at : at + width] = value.to_bytes(width, "little")

    def get(self, at, width=4):
        return int.from_bytes(self.config[at : at + width], "little")

    def write(self, at, value, width):
        for i, byte in enumerate((value & (1 << 8 * width) - 1).to_bytes(width, "little")):
            mask = self.mask[at + i]
            self.config[at + i] = self.config[at + i] & ~mask | byte & mask

    def capability(self, at, cap, following, data=b""):
        """Put a capability into the list by hand; the list's head too if it is the first."""
        if not self.config[0x34]:
            self.config[0x34] = at
            self.config[6] |= 0x10
        self.config[at : at + 2 + len(data)] = bytes([cap, following]) + data

    def bar_address(self, index):
        kind, _ = self.bars[index]
        value = self.get(0x10 + 4 * index, 8 if kind.endswith("64") else 4)
        return value & ~(3 if kind == "io" else 15)


class Bridge(Function):
    """A PCI-to-PCI bridge; `port` is its PCI Express port type, None for conventional PCI."""

    def __init__(self, port=None, wide=True, **kwargs):
        super().__init__(0x000C1B36, 0x060400, header=1, **kwargs)
        self.allow(0x18, 4, 0x00FFFFFF)
        self.allow(0x1C, 2, 0xF0F0)
        self.allow(0x20, 4, 0xFFF0FFF0)
        self.allow(0x24, 4, 0xFFF0FFF0)
        if wide:
            self.put(0x24, 0x00010001)
            self.allow(0x28, 8, 0xFFFFFFFFFFFFFFFF)
        self.wide = wide
        if port is not None:
            self.capability(0x40, 0x10, 0, struct.pack("<H", port << 4 | 2))

    def windows(self):
        """What it forwards: kind -> (start, end), absent where the window is closed."""
        found = {}
        base, limit = self.get(0x1C, 1), self.get(0x1D, 1)
        if base <= limit:
            found["io"] = ((base & 0xF0) << 8, ((limit & 0xF0) << 8) + 0x1000)
        base, limit = self.get(0x20, 2), self.get(0x22, 2)
        if base <= limit:
            found["memory"] = (base << 16, (limit << 16) + 0x100000)
        base = (self.get(0x24, 2) & 0xFFF0) << 16
        limit = (self.get(0x26, 2) & 0xFFF0) << 16
        if self.wide:
            base |= self.get(0x28) << 32
            limit |= self.get(0x2C) << 32
        if base <= limit:
            found["prefetch"] = (base, limit + 0x100000)
        return found


class Ports:
    """machine.port8 and friends."""

    def __init__(self, width):
        self.width = width

    def __getitem__(self, port):
        return current.port_read(port, self.width)

    def __setitem__(self, port, value):
        current.port_write(port, value, self.width)


class Memory:
    """machine.mem8 and friends."""

    def __init__(self, width):
        self.width = width

    def __getitem__(self, at):
        return current.memory(at, None, self.width)

    def __setitem__(self, at, value):
        current.memory(at, value, self.width)


class Vector:
    """machine.Vector."""

    def __init__(self):
        current.vectors.append(self)
        self.number = 0x50 + len(current.vectors)
        self.count = 0

    def msi(self):
        return 0xFEE00000, self.number

    def close(self):
        current.vectors.remove(self)


class Machine:
    """A chipset with devices on bus 0 (`devices`: (device, function) -> Function) and its HOBs."""

    def __init__(self, devices, host=Q35, mmio=((0xB0000000, 0x4EC00000), (4 * GIB, 32 * GIB))):
        bridge = Function(host, 0x060000)
        bridge.allow(0x60, 8, 0xFFFFFFFFF0000007)
        self.roots = {0: {(0, 0): bridge, **devices}}
        self.host_bridge = bridge
        self.ecam_touched = 0
        self.accesses = 0
        self.selected = 0
        self.vectors = []
        self.at_reset = []
        self.log_lines = []
        self.ram = {}  # what drivers wrote to device memory: address -> byte
        self.mmio = mmio
        self.hobs = b"".join(_resource(1, *r) for r in mmio) + _resource(2, 0, 0x10000)
        self.hobs += struct.pack("<HHI", 0xFFFF, 8, 0)

    def find(self, bus, device, function):
        if bus in self.roots:
            return self.roots[bus].get((device, function))
        functions = [f for root in self.roots.values() for f in root.values()]
        while functions:
            for bridge in functions:
                if not isinstance(bridge, Bridge):
                    continue
                secondary, subordinate = bridge.config[0x19], bridge.config[0x1A]
                if secondary and secondary <= bus <= subordinate:
                    if bus == secondary:
                        return bridge.children.get((device, function))
                    functions = list(bridge.children.values())
                    break
            else:
                return None
        return None

    def config(self, where, value, width):
        self.accesses += 1
        found = self.find(where >> 20 & 255, where >> 15 & 31, where >> 12 & 7)
        at = where & 0xFFF
        if value is not None:
            if found:
                found.write(at, value, width)
            return None
        return found.get(at, width) if found else (1 << 8 * width) - 1

    def port_read(self, port, width):
        if port >> 2 == 0xCFC >> 2:
            where = (self.selected & 0xFFFF00) << 4 | self.selected & 0xFC | port & 3
            return self.config(where, None, width)
        return 0xFF

    def port_write(self, port, value, width):
        if port == 0xCF8:
            self.selected = value
        elif port >> 2 == 0xCFC >> 2:
            where = (self.selected & 0xFFFF00) << 4 | self.selected & 0xFC | port & 3
            self.config(where, value, width)

    def memory(self, at, value, width):
        base = self.host_bridge.get(0x60, 8)
        if base & 1 and 0 <= at - (base & ~0xFFFFFFF) < 1 << 28:
            self.ecam_touched += 1
            return self.config(at & 0xFFFFFFF, value, width)
        if HOBS <= at < HOBS + len(self.hobs):
            return int.from_bytes(self.hobs[at - HOBS :][:width], "little")
        assert any(s <= at and at + width <= s + n for s, n in self.mmio), f"fault at {at:#x}"
        for function in self.roots[0].values():
            for index, registers in function.registers.items():
                offset = at - function.bar_address(index)
                if 0 <= offset < function.bars[index][1]:
                    return registers(offset, value, width)
        if value is None:
            return int.from_bytes(bytes(self.ram.get(at + i, 0) for i in range(width)), "little")
        for i, byte in enumerate((value & (1 << 8 * width) - 1).to_bytes(width, "little")):
            self.ram[at + i] = byte
        return None

    def placed(self):
        """Every BAR that decodes, as its registers say: (function, index, kind, start, end)."""
        found = []

        def visit(functions, windows):
            for function in functions.values():
                for index, (kind, size) in function.bars.items():
                    start = function.bar_address(index)
                    if start:
                        _check_reach(kind, start, start + size, windows)
                        found.append((function, index, kind, start, start + size))
                if isinstance(function, Bridge):
                    visit(function.children, [*windows, function.windows()])

        for root in self.roots.values():
            visit(root, [])
        return found


def _check_reach(kind, start, end, windows):
    """A BAR must lie in a window of every bridge above it that forwards its kind of access."""
    for window in windows:
        names = ("io",) if kind == "io" else ("memory", "prefetch")
        if kind.startswith("m"):
            names = ("memory",)
        ranges = [window[name] for name in names if name in window]
        assert any(s <= start and end <= e for s, e in ranges), (kind, hex(start), window)


def _resource(kind, start, length):
    return struct.pack("<HHI16sIIQQ", 3, 48, 0, bytes(16), kind, 7, start, length)


current: Any = None


def _log(where, message, level="INFO"):
    current.log_lines.append((level, where, message))


def _modules():
    machine: Any = types.ModuleType("machine")
    for width in (1, 2, 4, 8):
        setattr(machine, f"mem{8 * width}", Memory(width))
    for width in (1, 2, 4):
        setattr(machine, f"port{8 * width}", Ports(width))
    machine.Vector = Vector
    machine.DMABuffer = None  # of the queues, which these tests have no use for
    machine.log = _log
    machine.hobs = lambda: memoryview(current.hobs)
    machine.atreset = lambda function: current.at_reset.append(function)
    micropython: Any = types.ModuleType("micropython")
    micropython.const = lambda value: value
    micropython.viper = micropython.native = lambda function: function
    uctypes: Any = types.ModuleType("uctypes")
    uctypes.addressof = lambda buffer: HOBS
    return {"machine": machine, "micropython": micropython, "uctypes": uctypes}


OURS = ("_credentials", "apps", "errnos", "fw_cfg", "hob", "inline", "pci", "portable", "virtio")


def _forget():
    for name in list(sys.modules):
        if name.split(".")[0] in (*OURS, "machine", "micropython", "uctypes"):
            del sys.modules[name]


@contextlib.contextmanager
def imported(machine, *names):
    """Import frozen modules so that they see `machine`; gives the modules named, fresh."""
    global current
    current = machine
    saved = dict(sys.modules)
    _forget()
    sys.modules.update(_modules())
    vars(builtins)["ptr8"] = lambda buffer: (
        buffer
    )  # viper's pointer, where it only points to a buffer
    sys.path.insert(0, str(MODULES))
    try:
        modules = [importlib.import_module(name) for name in names]
        yield modules[0] if len(modules) == 1 else modules
    finally:
        del vars(builtins)["ptr8"]
        sys.path.remove(str(MODULES))
        _forget()
        for name, module in saved.items():
            sys.modules.setdefault(name, module)
