# SPDX-License-Identifier: MIT
"""A guest's memory, rings and notifications, as a device in this process has them.

An honest guest uses `send` and `receive`; a liar writes what it likes where it likes.
"""

import mmap
import os
import struct

from mpfw.device.firmware import virtio as v
from mpfw.device.firmware import vsock as w
from mpfw.device.memory import GuestMemory, Region
from mpfw.device.rings import Ring
from mpfw.device.wire import RX, TX, Wire

ENTRIES = 16  # of each queue
BUFFER = 0x2000  # bytes of each buffer
SPLIT = 0x2000  # where the second region begins; the rings are in the first
FAR = 1 << 32  # where the guest has that one
SIZE = SPLIT + 2 * ENTRIES * BUFFER
USER = 0x7F0000000000  # QEMU's address of the guest's address 0
_DESCRIPTOR = struct.Struct("<QIHH")
_AVAIL, _USED, _QUEUE = 0x200, 0x400, 0x1000  # bytes from a queue's start; of a queue
_HEADER = struct.Struct("<QQIIIHHIII")


def header(fields: dict[str, int]) -> bytes:
    """A packet's 44 bytes; fields as vsock.packet.Packet calls them, of any value."""
    wide = ("src_cid", "dst_cid")
    names = (*wide, "src_port", "dst_port", "len", "type", "op", "flags", "buf_alloc", "fwd_cnt")
    bits = {"src_cid": 64, "dst_cid": 64, "type": 16, "op": 16}
    return _HEADER.pack(*(fields.get(name, 0) & (1 << bits.get(name, 32)) - 1 for name in names))


class Guest:
    """One guest of `wire`; begin() starts its queues."""

    def __init__(self, wire: Wire):
        self.wire = wire
        self.mapped = mmap.mmap(-1, SIZE)
        self.view = memoryview(self.mapped)
        near = Region(0, SPLIT, USER, 0, self.mapped)
        far = Region(FAR, SIZE - SPLIT, USER + FAR, SPLIT, self.mapped)
        self.memory = GuestMemory([near, far])
        self._kicks = [os.eventfd(0, os.EFD_NONBLOCK) for _ in (RX, TX)]
        self.err = os.eventfd(0, os.EFD_NONBLOCK)
        self.event_idx = False

    def close(self) -> None:
        """The device has nothing of it any more."""
        for index in (RX, TX):
            self.wire.stop_ring(index)
        self.wire.leave()
        for descriptor in (*self._kicks, self.err):
            os.close(descriptor)

    def begin(self, event_idx: bool) -> None:
        """Both queues begin anew, with all receive buffers posted."""
        self.event_idx = event_idx
        self.view[:SPLIT] = bytes(SPLIT)
        self.posted, self.seen = [0, 0], [0, 0]
        for number in range(ENTRIES):
            self.post(number)
        for index in (RX, TX):
            self.wire.stop_ring(index)
            ring = self.ring(index)
            ring.event_idx, ring.kick, ring.err = event_idx, self._kicks[index], self.err
            self.wire.start_ring(index, ring)

    def ring(self, index: int) -> Ring:
        """The device's side of a queue."""
        at = USER + index * _QUEUE
        return Ring(self.memory, ENTRIES, at, at + _AVAIL, at + _USED)

    def words(self, index: int) -> memoryview:
        """The available ring of a queue, by 16 bits."""
        at = index * _QUEUE + _AVAIL
        return self.view[at : at + 2 * (v.AVAIL_RING + ENTRIES + 1)].cast("H")

    def used(self, index: int) -> memoryview:
        """The used ring of a queue, by 16 bits."""
        at = index * _QUEUE + _USED
        return self.view[at : at + 2 * v.USED_RING + 8 * ENTRIES].cast("H")

    def offset(self, index: int, number: int) -> int:
        """Where a buffer lies in `view`."""
        return SPLIT + (index * ENTRIES + number) * BUFFER

    def describe(
        self, index: int, number: int, address: int, length: int, flags: int, after: int = 0
    ) -> None:
        """Write a descriptor."""
        at = index * _QUEUE + number * v.DESC_BYTES
        _DESCRIPTOR.pack_into(self.view, at, address, length, flags, after)

    def offer(self, index: int, head: int) -> None:
        """Make a chain available."""
        words = self.words(index)
        words[v.AVAIL_RING + self.posted[index] % ENTRIES] = head
        self.posted[index] = self.posted[index] + 1 & 0xFFFF
        words[v.AVAIL_IDX] = self.posted[index]

    def kick(self, index: int) -> None:
        """Notify the device, which may not want it."""
        os.eventfd_write(self._kicks[index], 1)

    def post(self, number: int) -> None:
        """A receive buffer for the device."""
        self.describe(RX, number, address(self.offset(RX, number)), BUFFER, v.DESC_F_WRITE)
        self.offer(RX, number)

    def send(self, data: bytes = b"", **fields: int) -> None:
        """One packet in one descriptor. The device takes all that is sent at once."""
        given = {"type": w.TYPE_STREAM, "dst_cid": w.CID_HOST, "len": len(data)}
        given |= {"src_cid": self.wire.cid, "buf_alloc": 1 << 18}
        self.send_raw(header(given | fields) + data)

    def send_raw(self, whole: bytes) -> None:
        """These bytes in one descriptor."""
        number = self.posted[TX] % ENTRIES
        at = self.offset(TX, number)
        self.view[at : at + len(whole)] = whole
        self.describe(TX, number, address(at), len(whole), 0)
        self.offer(TX, number)
        self.kick(TX)

    def receive(self) -> list[tuple[tuple[int, ...], bytes]]:
        """All packets that have come: the header's fields in their order, data. Their buffers are
        posted again."""
        found = []
        used = self.used(RX)
        while used[v.USED_IDX] != self.seen[RX]:
            row = v.USED_RING + self.seen[RX] % ENTRIES * v.USED_ENTRY_SHORTS
            number, length = used[row] % ENTRIES, used[row + 2]
            self.seen[RX] = self.seen[RX] + 1 & 0xFFFF
            at = self.offset(RX, number)
            whole = bytes(self.view[at : at + length])
            if len(whole) >= w.HEADER_LEN:
                found.append((_HEADER.unpack_from(whole), whole[w.HEADER_LEN :]))
            self.post(number)
        if found:
            self.kick(RX)
        return found


def address(offset: int) -> int:
    """What the guest calls a place in its memory."""
    return offset if offset < SPLIT else offset - SPLIT + FAR
