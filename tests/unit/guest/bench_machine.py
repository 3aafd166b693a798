# SPDX-License-Identifier: MIT
"""What the modules under test find as `machine` and `uctypes`: memory, vectors, sleep.

Runs under CPython, on memory that knows its bounds (bench_memory.py), and under MicroPython's unix
port on ordinary memory.
"""

import builtins
import sys

import bench_clock as clock

NATIVE = sys.implementation.name == "micropython"  # these are the expanded modules

if NATIVE:
    from uctypes import addressof, bytearray_at

    class TimeoutError(OSError):
        """The firmware's builtin of that name (port/oserror.c), which the unix port lacks."""

        @property
        def errno(self):
            return self.args[0] if len(self.args) > 1 else 110

    builtins.TimeoutError = TimeoutError

    _GUARD = b"\xc5" * 64

    class DMABuffer:
        """machine.DMABuffer between two stretches of bytes that nobody must change."""

        live = []
        spare = {}  # size: memory of buffers that are no more; to find anew is slow in this heap

        def __init__(self, size, align=4096, clear=True):
            whole = size + 2 * len(_GUARD) + align
            spare = DMABuffer.spare.get(whole)
            self._memory = spare.pop() if spare else bytearray(whole)
            if clear:
                self._memory[:] = bytes(whole)
            at = addressof(self._memory) + len(_GUARD)
            self.addr = (at + align - 1) & -align
            self._size = size
            self._guards = []
            for place in self.addr - len(_GUARD), self.addr + size:
                guard = bytearray_at(place, len(_GUARD))
                guard[:] = _GUARD
                self._guards.append(guard)
            DMABuffer.live.append(self)

        def __len__(self):
            return self._size

        def check(self):
            """Nobody wrote beside it."""
            for guard in self._guards:
                if guard != _GUARD:
                    raise AssertionError("a write beside %d bytes of DMA memory" % self._size)

        def free(self):
            self.check()
            DMABuffer.live.remove(self)
            DMABuffer.spare.setdefault(len(self._memory), []).append(self._memory)

    def span(at, n):
        """The memory of `n` bytes at an address."""
        return bytearray_at(at, n)

    def copy(to, to_offset, source, source_offset, n):
        """machine.copy."""
        if not isinstance(to, int):
            to = addressof(to)
        if not isinstance(source, int):
            source = addressof(source)
        bytearray_at(to + to_offset, n)[:] = bytearray_at(source + source_offset, n)

    def nbytes(buffer, writable=False):
        """machine.nbytes."""
        if isinstance(buffer, (bytes, bytearray, memoryview)):
            return len(buffer)
        if isinstance(buffer, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        return len(bytes(buffer))

    def dma_used():
        """machine.dma_used; looks after the guards, too."""
        for each in DMABuffer.live:
            each.check()
        return sum([len(each) for each in DMABuffer.live])

    def forget():
        """Begin anew: DMA memory of before is gone."""
        for each in list(DMABuffer.live):
            each.free()
else:
    from bench_memory import DMABuffer, memory

    def span(at, n):
        return memory.find(at, n)

    bytearray_at = span

    def copy(to, to_offset, source, source_offset, n):
        """machine.copy."""
        _bytes(to, to_offset, n)[:] = bytes(_bytes(source, source_offset, n))

    def _bytes(where, offset, n):
        if isinstance(where, int):
            return memory.find(where + offset, n)
        if isinstance(where, DMABuffer):
            return memory.find(where.addr + offset, n)
        return memoryview(where)[offset : offset + n]

    def dma_used():
        return memory.allocated

    def forget():
        memory.clear()


at_fence = None  # what another processor does then, a function


def fence():
    """machine.fence: what was written before is seen, by a device that works at that moment."""
    if at_fence is not None:
        at_fence()


class Vector:
    """machine.Vector; the test fires it, or the clock does."""

    def __init__(self):
        self.count = 0
        self.handler = None
        self.due = None
        clock.timers.append(self)

    def irq(self, handler):
        self.handler = handler

    def after(self, micros):
        self.due = clock.now + micros

    def trigger(self):
        """It fires as soon as time passes."""
        self.due = clock.now

    def msi(self):
        """The message that fires it: address and data."""
        return 0xFEE00000, 0x50

    def close(self):
        self.due = None
        clock.timers.remove(self)

    def fire(self):
        """An interrupt; what its handler says: False if it found nothing."""
        if self not in clock.timers:
            raise AssertionError("a closed vector interrupts")
        self.count += 1
        return None if self.handler is None else self.handler(self)


logged = []  # [level, where, what]
at_reset = []  # functions that wait for a soft reset
alarms = []  # what `alarm` was told
waits = []  # how long `wait` was told to sleep
at_wait = []  # what happens while the program sleeps, one function for each time,
at_rest = None  # and what happens when there are no more of those


def log(where, what, level="INFO"):
    """machine.log."""
    logged.append([level, where, what])


def atreset(function):
    """machine.atreset."""
    at_reset.append(function)


def alarm(micros):
    """machine.alarm."""
    alarms.append(micros)


def wait(micros=-1):
    """machine.wait: what the test has planned happens, or time passes."""
    waits.append(micros)
    if at_wait:
        at_wait.pop(0)()
        return
    if at_rest is not None:
        at_rest()
    elif micros < 0:
        raise AssertionError("the program waits for ever")
    rest = clock.until_timer()
    clock.advance(micros if rest is None else min(rest, micros))


def ram():
    """machine.ram: those of a machine with 64 MiB."""
    return 63 << 20


reserved = [0]


def dma_reserve(n):
    """machine.dma_reserve; remembered for tests."""
    reserved[0] = n


PWRON_RESET, SOFT_RESET = 1, 2
cause = [PWRON_RESET]


_seeds = [0]


def seed():
    """machine.seed: another number each time."""
    _seeds[0] += 1009
    return _seeds[0]


def reset_cause():
    """machine.reset_cause."""
    return cause[0]


def timers():
    """How many vectors there are."""
    return len(clock.timers)


def reset():
    """Begin anew, with nothing left of before."""
    global at_fence, at_rest
    at_fence = at_rest = None
    forget()
    clock.reset()
    cause[:] = [PWRON_RESET]
    for each in (logged, alarms, waits, at_wait):
        each.clear()
