# SPDX-License-Identifier: MIT
"""Guards: what lies beside memory that devices or native code write to must stay as it is.

CPython's memory knows its bounds (bench_memory.py); this is for the expanded modules. DMA memory
lies between inaccessible pages (fast/arena.c), with canaries where it does not fill its slot, and
arrays that native code writes to get words behind their end.
"""

import os

import bench_machine

_PAGE = 4096
_WORDS = 8
_WORD = 0xC5C5C5C5
_CANARY = b"\xc5" * 64
_ZEROS = bytes(65536)
_HAVE = ("vsock.control", "vsock.device", "vsock.receive", "vsock.attention")
_HAVE += ("virtio.queue", "virtio.buffers", "vsock.transmit", "vsock.datagram")
_AT_A_TIME = 8  # arrays looked at after each input

_arrays = []  # that have guards
_checked = [0]  # the next one to be looked at


class Slots:
    """Places of one size in the arena."""

    def __init__(self, at, size, count):
        self.size = size
        self.free = [at + _PAGE + (size + _PAGE) * i for i in range(count)]


class DMABuffer:
    """machine.DMABuffer in the arena."""

    live = []
    slots = []

    def __init__(self, size, align=4096, clear=True):
        for slots in self.slots:
            if slots.size >= size and slots.free:
                break
        else:
            raise MemoryError
        self._slots = slots
        self._slot = slots.free.pop()
        self._size = size
        end = self._slot + slots.size
        self.addr = (end - size) & -align
        if clear:
            for at in range(0, size, len(_ZEROS)):
                n = min(len(_ZEROS), size - at)
                bench_machine.span(self.addr + at, n)[:] = memoryview(_ZEROS)[:n]
        # Alignment leaves a gap before the inaccessible page.
        gap = min(end - self.addr - size, len(_CANARY))
        self._canary = _CANARY[:gap]
        self._guard = bench_machine.span(self.addr + size, gap)
        self._guard[:] = self._canary
        before = min(self.addr - self._slot, len(_CANARY))
        self._first = _CANARY[:before]
        self._before = bench_machine.span(self.addr - before, before)
        self._before[:] = self._first
        DMABuffer.live.append(self)

    def __len__(self):
        return self._size

    def check(self):
        """Nobody wrote beside it."""
        if self._guard != self._canary or self._before != self._first:
            raise AssertionError("a write beside %d bytes of DMA memory" % self._size)

    def free(self):
        self.check()
        DMABuffer.live.remove(self)
        self._slots.free.append(self._slot)


def install():
    """From now on the modules under test have such memory and such arrays."""
    if not bench_machine.NATIVE:
        return
    from array import array

    for text in os.getenv("MPFW_ARENA").split():
        DMABuffer.slots.append(Slots(*[int(each, 16) for each in text.split(":")]))
    tail = array("I", [_WORD] * _WORDS)

    guard = bytes(tail)

    def guarded(code, initial):
        if isinstance(initial, bytes):
            initial = initial.replace(guard, b"")  # of a copy of an array that has one
        made = array(code, initial)
        made.extend(tail)
        _arrays.append(made)
        return made

    for name in _HAVE:
        module = __import__(name)
        for part in name.split(".")[1:]:
            module = getattr(module, part)
        module.array = guarded
    import virtio.memory

    bench_machine.DMABuffer = virtio.memory.DMABuffer = DMABuffer


def forget():
    """A new batch begins."""
    _arrays.clear()
    _checked[0] = 0


def check(everything=False):
    """Look after all DMA memory's guards, and after some arrays' in turns, or all."""
    if not bench_machine.NATIVE:
        return
    for each in DMABuffer.live:
        each.check()
    n = len(_arrays)
    at = _checked[0]
    for _ in range(n if everything else min(n, _AT_A_TIME)):
        at = at + 1 if at + 1 < n else 0
        words = _arrays[at]
        if words[-1] != _WORD or words[-_WORDS] != _WORD:
            raise AssertionError("a write behind an array of %d words" % (len(words) - _WORDS))
    _checked[0] = at
