# SPDX-License-Identifier: MIT
"""Queues that break every rule of virtio 1.2, 2.7: loops, addresses outside of memory, lengths,
indirect tables, heads and indices."""

import struct

from mpfw.device.firmware import virtio as v
from mpfw.device.firmware import vsock as w
from mpfw.device.wire import RX, TX
from mpfw.fuzz.device.guest import BUFFER, ENTRIES, FAR, SIZE, SPLIT, address
from mpfw.fuzz.device.world import World

_BAD = (
    0,
    1,
    SPLIT - 1,
    SPLIT,
    FAR - 1,
    FAR + SIZE - SPLIT - 1,
    FAR + SIZE,
    1 << 63,
    (1 << 64) - 1,
)
_LENGTHS = (0, 1, 15, 16, 43, 44, 45, 100, 4096, BUFFER, 65580, 1 << 31, (1 << 32) - 1)
_FLAGS = (0, 1, 2, 3, 4, 5, 6, 7, 0xFFFF)


class Rings:
    """A few words of a queue are wrong; then the device is notified."""

    def __init__(self, world: World):
        self.world = world
        self.random = world.random

    def step(self) -> None:
        liar, choice = self.world.liar, self.random.choice
        liar.receive()
        index = choice((RX, TX, TX))
        for _ in range(choice((1, 1, 2, 6))):
            choice((self._descriptor, self._descriptor, self._table, self._head, self._words))(
                index
            )
        if index == RX or self.random.random() < 0.2:
            # What is answered needs a receive buffer.
            liar.send(op=w.OP_CREDIT_REQUEST, src_port=1, dst_port=2)
        liar.kick(index)
        self.world.turn()
        if self.random.random() < 0.05:
            liar.begin(self.random.random() < 0.5)  # its driver begins anew by itself
        self.world.revive()

    def close(self) -> None:
        pass

    def _any(self) -> tuple[int, int, int, int]:
        """A descriptor."""
        choice = self.random.choice
        inside = address(SPLIT + self.random.randrange(2 * ENTRIES) * BUFFER)
        where = inside if self.random.random() < 0.6 else choice(_BAD)
        if self.random.random() < 0.1:
            where = self.random.getrandbits(64)
        after = choice((*range(ENTRIES), ENTRIES, 0xFFFF))
        return where, choice(_LENGTHS), choice(_FLAGS), after

    def _descriptor(self, index: int) -> None:
        number = self.random.randrange(ENTRIES)
        self.world.liar.describe(index, number, *self._any())
        if self.random.random() < 0.8:
            self.world.liar.offer(index, number)

    _one = _descriptor  # twice as often as others

    def _table(self, index: int) -> None:
        """An indirect table, whose descriptors lie or loop."""
        liar, entries = self.world.liar, self.random.choice((1, 2, 16, 64))
        at = SPLIT + self.random.randrange(2 * ENTRIES) * BUFFER
        for number in range(entries):
            struct.pack_into("<QIHH", liar.view, at + 16 * number, *self._any())
        length = 16 * entries + self.random.choice((0, 0, 0, 1, -1))
        number = self.random.randrange(ENTRIES)
        flags = v.DESC_F_INDIRECT | self.random.choice((0, 0, v.DESC_F_NEXT))
        liar.describe(index, number, address(at), length, flags, 0)
        liar.offer(index, number)

    def _head(self, index: int) -> None:
        self.world.liar.offer(index, self.random.choice((0, ENTRIES - 1, ENTRIES, 0xFFFF)))

    def _words(self, index: int) -> None:
        """Any word of the available or the used ring, idx most of all."""
        words = self.random.choice((self.world.liar.words, self.world.liar.used))(index)
        where = self.random.choice((0, 1, 1, len(words) - 1, self.random.randrange(len(words))))
        jump = self.random.choice((1, ENTRIES, ENTRIES + 1, 1 << 15, 0xFFFF))
        words[where] = words[where] + jump & 0xFFFF
