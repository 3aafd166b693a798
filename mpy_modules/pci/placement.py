# SPDX-License-Identifier: MIT
"""Addresses for every BAR and bridge window: sizes go up the tree, addresses come down.

Each bus asks for three blocks: I/O, memory below 4 GiB, and memory that may lie anywhere (64-bit
BARs; behind a bridge only prefetchable ones, since only that window has 64 bits). Blocks that
may lie anywhere go below 4 GiB while they are small and there is room, else above. What does not
fit stays unplaced, with a line in the log, and the rest of the machine works.
"""

import machine
from micropython import const

from .bridge import Bridge
from .function import size_bars, write_bar

IO = const(0)
LOW = const(1)
ANY = const(2)

_KINDS = ("I/O", "32-bit memory", "64-bit memory")
_IO_STEP = const(0x1000)
_MEMORY_STEP = const(0x100000)
_SMALL = const(64 << 20)  # larger blocks that can lie above 4 GiB leave the space below to others


class _Block:
    """A run of addresses that a function needs: for one of its BARs, or for a bridge's window."""

    def __init__(self, kind, size, align, function, bar, inner):
        # A window keeps its kind where it lies within one of another kind: a prefetchable window
        # behind a bridge without 64-bit addresses.
        self.kind = kind
        self.size = size
        self.align = align
        self.function = function
        self.bar = bar  # None for a window
        self.inner = inner  # the blocks within a bridge's window


class Space:
    """Free address ranges, given out first fit, never twice."""

    def __init__(self, ranges):
        self._free = list(ranges)

    def take(self, size, align):
        """The start of `size` free addresses at a multiple of `align`, or None."""
        free = self._free
        for i in range(len(free)):
            start, end = free[i]
            at = (start + align - 1) & -align
            if at + size <= end:
                free[i : i + 1] = [r for r in ((start, at), (at + size, end)) if r[0] < r[1]]
                return at
        return None


def place(roots, io, low, high):
    """Size and place all BARs and windows on these root buses, within those address ranges."""
    wanted = ([], [], [])
    for functions in roots:
        for blocks, more in zip(wanted, _collect(functions, True)):
            blocks.extend(more)
    io = Space(io)
    low = Space(low)
    high = Space(high)
    _place_root(wanted[IO], (io,))
    _place_root(wanted[LOW], (low,))
    for block in _largest_first(wanted[ANY]):
        spaces = (low, high) if block.size <= _SMALL else (high, low)
        _place_root((block,), spaces)


def _collect(functions, root):
    """The blocks that one bus needs, as a list for each kind."""
    wanted = ([], [], [])
    for function in functions:
        size_bars(function)
        for bar in function.bars:
            if bar is not None:
                anywhere = bar.wide and (root or bar.prefetchable)
                kind = IO if bar.io else ANY if anywhere else LOW
                wanted[kind].append(_Block(kind, bar.size, bar.size, function, bar, None))
        if isinstance(function, Bridge):
            _collect_bridge(function, wanted)
    return wanted


def _collect_bridge(bridge, wanted):
    inner = _collect(bridge.devices, False)
    if inner[ANY] and not bridge.has_wide_window():
        inner[LOW].extend(inner[ANY])
        inner[ANY].clear()
    for kind in (IO, LOW, ANY):
        step = _IO_STEP if kind == IO else _MEMORY_STEP
        if not inner[kind]:
            _set_window(bridge, kind, 0, 0)
            continue
        blocks = _largest_first(inner[kind])
        end = 0
        for block in blocks:
            end = ((end + block.align - 1) & -block.align) + block.size
        size = (end + step - 1) & -step
        wanted[kind].append(_Block(kind, size, max(step, blocks[0].align), bridge, None, blocks))


def _largest_first(blocks):
    return sorted(blocks, key=lambda block: -block.align)


def _place_root(blocks, spaces):
    for block in _largest_first(blocks):
        start = None
        for space in spaces:
            start = space.take(block.size, block.align)
            if start is not None:
                break
        if start is None:
            machine.log(
                "pci",
                "no room for %d bytes of %s: %r"
                % (block.size, _KINDS[block.kind], block.function),
                "WARNING",
            )
        _assign(block, start)


def _assign(block, start):
    """Give a block its start, or None, and the blocks within it theirs."""
    if block.bar is not None:
        block.bar.address = start
        if not write_bar(block.function, block.bar):
            machine.log("pci", "%r: %r" % (block.function, block.bar), "WARNING")
        return
    _set_window(block.function, block.kind, start or 0, 0 if start is None else block.size)
    for inner in block.inner:
        if start is not None:
            start = (start + inner.align - 1) & -inner.align
        _assign(inner, start)
        if start is not None:
            start += inner.size


def _set_window(bridge, kind, start, size):
    if kind == IO:
        bridge.set_io_window(start, size)
    elif kind == LOW:
        bridge.set_memory_window(start, size)
    else:
        bridge.set_prefetch_window(start, size)
