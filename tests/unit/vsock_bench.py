# SPDX-License-Identifier: MIT
"""The firmware's virtio and vsock modules under CPython, and a way out that keeps packets.

What they import as `machine`, `time`, `io` and `uctypes` is the bench's (guest/bench_machine.py),
on memory with bounds.
"""

import contextlib
import importlib
import importlib.machinery
import importlib.util
import sys
import types
from array import array
from errno import ETIMEDOUT
from pathlib import Path
from typing import Any

from bench_memory import DMABuffer, memory
from pci_machine import MODULES

__all__ = ("DMABuffer", "memory")
GUEST = Path(__file__).with_name("guest")
FOLDERS = [GUEST]  # of modules that run in either engine
OURS = (
    "channel",
    "errnos",
    "fw_cfg",
    "hob",
    "inline",
    "pci",
    "portable",
    "sockets",
    "virtio",
    "vsock",
)
M32 = 0xFFFFFFFF


class MicroOSError(OSError):
    """The OSError of MicroPython, whose `errno` is its argument even if it is the only one."""

    errno = property(lambda self: self.args[0] if self.args else None)


class MicroTimeoutError(MicroOSError):
    """The firmware's TimeoutError, whose `errno` is ETIMEDOUT where it says none."""

    errno = property(lambda self: self.args[0] if len(self.args) > 1 else ETIMEDOUT)


class _Loader(importlib.machinery.SourceFileLoader):
    """Gives modules the names that MicroPython has built in."""

    def exec_module(self, module):
        module.OSError = MicroOSError
        module.TimeoutError = MicroTimeoutError
        module.ptr8 = lambda buffer: buffer  # where viper only points to one
        super().exec_module(module)


class _Finder:
    """Finds the firmware's modules under their own names, but for those that CPython has too.

    Their folder does not get onto the path: it has a `socket`, too.
    """

    @staticmethod
    def find_spec(name, path=None, target=None):
        parts = name.split(".")
        for folder in [MODULES] if parts[0] in OURS else FOLDERS:
            place = folder.joinpath(*parts)
            package = [str(place)] if place.is_dir() else None
            place = place / "__init__.py" if package else place.with_suffix(".py")
            if place.exists():
                return importlib.util.spec_from_file_location(
                    name,
                    place,
                    loader=_Loader(name, str(place)),
                    submodule_search_locations=package,
                )
        return None


@contextlib.contextmanager
def _as_in_the_guest():
    """Imports find the bench's modules; `machine` stays, for what functions import."""
    sys.modules["machine"] = bench_machine
    plain_io: Any = types.ModuleType("io")
    plain_io.IOBase = object  # CPython's closes what is collected
    plain_python: Any = types.ModuleType("micropython")
    plain_python.const = lambda value: value
    plain_python.viper = plain_python.native = lambda function: function
    names = {"time": clock, "uctypes": bench_machine, "io": plain_io}
    names["micropython"] = plain_python
    saved = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, before in saved.items():
            if before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = before


def _addressof(buffer):
    """As portable.addressof, but the upper halves of arrays' addresses differ, too."""
    if not isinstance(buffer, array):
        return memory.addressof(buffer)
    at = id(buffer)
    at |= (at >> 4 & 0x7FFF) << 48
    portable._arrays[at] = buffer
    return at


def module(name):
    """A firmware module, such as "vsock.stack", or one of guest/, run by CPython on the bench."""
    with _as_in_the_guest():
        found: Any = importlib.import_module(name)
    return found


sys.meta_path.insert(0, _Finder())
bench_machine: Any = importlib.import_module("bench_machine")
clock: Any = importlib.import_module("bench_clock")
portable = module("portable")
portable.memory = memory
portable.addressof = _addressof
for _name in ("ticks_ms", "ticks_add", "ticks_diff"):
    setattr(portable, _name, getattr(clock, _name))
portable.log = bench_machine.log
w = module("vsock.words")
control = module("vsock.control")


def owed(block):
    """The ops of the control packets that a connection sends now."""
    ops = []
    while op := control.next_owed(block):
        ops.append(op)
    return ops


class Wire(list):
    """A way out that keeps packets: (header words, payload). `slots` is what it has room for."""

    def __init__(self, store, slots=1 << 20):
        super().__init__()
        self.store = store
        self.slots = slots
        self.published = 0
        self._words = array("I", [0, 0, w.RESERVE])

    @property
    def at(self):
        self._words[w.OUT_FREE] = min(self.free(), M32)
        return portable.addressof(self._words)

    def free(self):
        return max(0, self.slots - len(self))

    def full(self):
        return self.free() <= w.RESERVE

    def copy(self, at, data, n):  # type: ignore[override]
        assert self.free(), "a packet was added to a full queue"
        payload = bytes(portable._span(data, 0, n)) if n else b""
        header = portable._span(at, 0, w.HEADER_LEN).cast("I")
        self.append((list(header), payload))

    def spare(self):
        return self.store.take_spare(8)

    def small(self, at, data, n, flags):
        return self._put(at, data, n, flags, 1)

    def put(self, conn, data, n, buffer, flags, changes, last):
        return n if self._put(conn.at, data, n, flags, last) else 0

    def _put(self, at, data, n, flags, last):
        if self.free() <= w.RESERVE:
            return 0
        control.send(at, n, flags)
        self.copy(at, data, n)
        if last:
            self.publish()
        return 1

    def put_segment(self, at, seg, n, flags, last):
        done = self.free() > w.RESERVE and self._put(at, self.store.lend(seg, n), n, flags, last)
        if done:
            self.store.returned(seg)
        return int(done)

    def reap(self):
        return 0

    def settle_debts(self, conn):
        while conn.block[w.OWED] and self.free():
            control.next_owed(conn.at)
            self.copy(conn.at, 0, 0)

    def publish(self):
        self.published = len(self)

    def take(self):
        """What was published since the last take."""
        packets = self[: self.published]
        del self[: self.published]
        self.published = 0
        return packets
