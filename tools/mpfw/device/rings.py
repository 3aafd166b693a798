# SPDX-License-Identifier: MIT
"""A split virtqueue as the device sees it (virtio 1.2, 2.7), in the guest's mapped memory.

`pop` and `push` are what a device does. Below them are the words that a device can write into the
used ring, one by one: a liar writes what it likes there.
"""

import os
import struct
import threading
from array import array
from typing import Any

from mpfw.device.firmware import virtio as w
from mpfw.device.memory import GuestMemory

_MASK = 0xFFFF  # indices have 16 bits and wrap (2.7.6)
_DESCRIPTOR = struct.Struct("<QIHH")  # address, length, flags, next (2.7.5)
_MORE = w.DESC_F_NEXT | w.DESC_F_INDIRECT
_LENGTH, _FLAGS, _NEXT = 0xFFFFFFFF, 32, 48  # of a descriptor's second 64 bits
_IDX, _RING, _USED_IDX = w.AVAIL_IDX, w.AVAIL_RING, w.USED_IDX
_KNOWN = 1024  # chains that a ring remembers


class RingError(Exception):
    """The driver's part of a ring is not what the specification describes."""


class Chain:
    """What the driver made available: a head, and buffers with who may write them.

    `note` is what its user remembers of it, for when a ring that `reuses` gives it again.
    """

    __slots__ = ("buffers", "head", "note", "rest")

    def __init__(self, head: int, buffers: list[tuple[memoryview, bool]]):
        self.head = head
        self.buffers = buffers  # True: the device writes
        self.note: Any = None
        self.rest = 0  # of its descriptor, behind the address

    @property
    def room(self) -> int:
        """Bytes that the device may write."""
        return sum(len(view) for view, writes in self.buffers if writes)


class Ring:
    """One queue that runs. `kick`, `call` and `err` are eventfds: the driver's notifications to
    us, ours to it, and ours to QEMU that the queue is broken; -1 if there is none. Addresses are
    QEMU's own (GuestMemory.at_user)."""

    def __init__(
        self, memory: GuestMemory, size: int, desc: int, avail: int, used: int, base: int = 0
    ):
        """`base`: the available entry to begin with. Raises MemoryFault."""
        self.memory = memory
        self.size = size
        self.kick = self.call = self.err = -1
        self.event_idx = False
        self.quiet = False  # a liar: no interrupts at all
        self.reuses = False  # each chain is given back before the next is taken
        self.taken = self.done = base  # next available entry to take, next used one to write
        self._told = base  # `done` at the last look whether the driver wants to hear of it
        words = w.USED_RING + size * w.USED_ENTRY_SHORTS + 1  # with avail_event
        self._desc = memory.at_user(desc, size * w.DESC_BYTES)
        self._quads = self._desc.cast("Q")
        self._known: dict[int, Chain] = {}  # chains of one buffer, by its address
        self._regions = memory.regions  # what those lie in
        self._avail = memory.at_user(avail, 2 * (w.AVAIL_RING + size + 1)).cast("H")
        self._used = memory.at_user(used, 2 * words).cast("H")
        entries = memory.at_user(used + 2 * w.USED_RING, size * w.USED_ENTRY_BYTES)
        self._entries = entries.cast("I")
        self._avail_event = w.USED_RING + size * w.USED_ENTRY_SHORTS
        # `with self._barrier` is a fence: what was stored is seen before what is loaded next
        # (2.7.13.4.1). x86 keeps all other orders by itself, and CPython has no fence: taking a
        # lock that is free is a compare-and-swap, a locked instruction, which no load passes. The
        # lock is nobody else's, so that it is always free.
        self._barrier = threading.Lock()

    def state(self) -> str:
        """All indices, for a report: who waits for whom shows there."""
        available, used = self._avail[w.AVAIL_IDX], self._used[w.USED_IDX]
        found = f"driver: {available} available, {self.taken} of them taken; {used} used"
        if self.event_idx:
            kick = self._used[w.USED_RING + self.size * w.USED_ENTRY_SHORTS]
            event = self._avail[w.AVAIL_RING + self.size]
            return f"{found}; it is to notify us at {kick}, we are to interrupt at {event}"
        flags = self._used[w.USED_FLAGS], self._avail[w.AVAIL_FLAGS]
        return f"{found}; used.flags {flags[0]}, avail.flags {flags[1]}"

    # -- what a device does -----------------------------------------------------------------------

    @property
    def waiting(self) -> int:
        """Chains that the driver has made available and nobody has taken."""
        ahead: int = self._avail[w.AVAIL_IDX] - self.taken
        return ahead & _MASK

    def pop(self) -> Chain | None:
        """Take the next chain, None if there is none. Raises RingError, MemoryFault."""
        taken, size, avail = self.taken, self.size, self._avail
        waiting = (avail[_IDX] - taken) & _MASK
        if not waiting:
            return None
        if waiting > size:
            raise RingError(f"avail.idx is {waiting} ahead in a queue of {size}")
        head = avail[_RING + taken % size]
        self.taken = (taken + 1) & _MASK
        if head >= size:
            raise RingError(f"descriptor {head} in a table of {size}")
        # Most chains are one descriptor, and most drivers use the same buffers again.
        quads = self._quads
        address, rest = quads[2 * head], quads[2 * head + 1]
        known = self._known.get(address)
        if known is not None and known.rest == rest and self._regions is self.memory.regions:
            known.head = head
            return known
        if rest >> _FLAGS & _MORE:
            return Chain(head, self._walk(address, rest))
        return self._single(head, address, rest)

    def leave(self) -> None:
        """The last chain taken was not needed: the next pop takes it again."""
        self.taken = (self.taken - 1) & _MASK

    def push(self, chain: Chain, written: int) -> None:
        """Give a chain back of which the device wrote so many bytes."""
        self.put(chain.head, written)
        self.show()

    def ask(self) -> bool:
        """Ask to be notified of new chains; True: there are some already."""
        if self.event_idx:
            self._used[self._avail_event] = self.taken
        else:
            self._used[w.USED_FLAGS] = 0
        with self._barrier:
            pass
        index: int = self._avail[_IDX]
        return index != self.taken

    def interrupt(self) -> None:
        """Interrupt the driver if it wants to hear of what was given back since the last call."""
        with self._barrier:
            pass
        done = self.done
        old, self._told = self._told, done
        if self.event_idx:
            event = self._avail[_RING + self.size]
            wanted = (done - event - 1) & _MASK < (done - old) & _MASK
        else:
            wanted = not self._avail[w.AVAIL_FLAGS] & w.AVAIL_F_NO_INTERRUPT
        if wanted:
            self.ring()

    def publish(self) -> None:
        """show() what was put, and interrupt()."""
        self._used[_USED_IDX] = self.done
        self.interrupt()

    def _single(self, head: int, address: int, rest: int) -> Chain:
        """A chain of one buffer."""
        writes = rest >> _FLAGS & w.DESC_F_WRITE != 0
        chain = Chain(head, [(self.memory.at(address, rest & _LENGTH), writes)])
        chain.rest = rest
        if self.reuses:
            if self._regions is not self.memory.regions or len(self._known) >= _KNOWN:
                self._known.clear()
                self._regions = self.memory.regions
            self._known[address] = chain
        return chain

    def _walk(self, address: int, rest: int) -> list[tuple[memoryview, bool]]:
        """The buffers of a chain whose first descriptor is given."""
        quads, size = self._quads, self.size
        buffers = []
        for _ in range(self.size):
            flags = rest >> _FLAGS
            if flags & w.DESC_F_INDIRECT:
                length = rest & _LENGTH
                if quads is not self._quads:
                    raise RingError("an indirect table within an indirect table")
                if not length or length % w.DESC_BYTES:
                    raise RingError(f"an indirect table of {length} bytes")
                quads = self.memory.at(address, length).cast("Q")
                size, at = length // w.DESC_BYTES, 0
            else:
                buffers.append(
                    (self.memory.at(address, rest & _LENGTH), flags & w.DESC_F_WRITE != 0)
                )
                if not flags & w.DESC_F_NEXT:
                    return buffers
                at = rest >> _NEXT
                if at >= size:
                    raise RingError(f"descriptor {at} in a table of {size}")
            address, rest = quads[2 * at], quads[2 * at + 1]
        raise RingError("a chain has no end")

    # -- what a device can write ------------------------------------------------------------------

    def put(self, head: int, length: int) -> None:
        """Write the next used entry, whatever it says; show() lets the driver see it."""
        done, entries = self.done, self._entries
        row = 2 * (done % self.size)
        entries[row] = head & _LENGTH
        entries[row + 1] = length & _LENGTH
        self.done = (done + 1) & _MASK

    def show(self, index: int | None = None) -> None:
        """Write used.idx: what was put, or any number."""
        self._used[w.USED_IDX] = self.done if index is None else index & _MASK

    def first(self, head: int) -> tuple[int, int]:
        """Where the first buffer of a chain lies in the guest, and its bytes, unchecked."""
        address, length, _, _ = _DESCRIPTOR.unpack_from(self._desc, head * w.DESC_BYTES)
        return address, length

    def ring(self) -> None:
        """Interrupt the driver, whether or not it wants that."""
        if self.call >= 0 and not self.quiet:
            os.eventfd_write(self.call, 1)

    def heads(self) -> list[int]:
        """Take all chains that are available, heads alone: for who does not look at buffers."""
        first, n = self.taken % self.size, min(self.waiting, self.size)
        ring = self._avail[w.AVAIL_RING : w.AVAIL_RING + self.size].tolist()
        self.taken = (self.taken + n) & _MASK
        return (ring[first:] + ring[:first])[:n]

    def put_all(self, heads: list[int], length: int) -> None:
        """Give all of these back at once, as fast as it goes, each with this length."""
        while heads:
            first = self.done % self.size
            some = heads[: self.size - first]
            entries = array("I", [length]) * (2 * len(some))
            entries[w.USED_ID :: 2] = array("I", some)
            self._entries[2 * first : 2 * (first + len(some))] = memoryview(entries)
            self.done = (self.done + len(some)) & _MASK
            heads = heads[len(some) :]
        self.show()
