# SPDX-License-Identifier: MIT
"""The transmit queue: headers from a pool, payload copied beside them or read where it lies.

Small payload is copied behind its header: one descriptor, and nobody waits for the device. Large
payload stays where it is, in the program's buffer or in a receive buffer; the device reads it
there until the used ring gives it back, and this module keeps the buffer's object alive so long.
Data leaves a few slots free, so that what is owed to peers (RST, credit) always finds one.
"""

from array import array

from machine import DMABuffer, copy

from . import connection
from .layout import addressof, const

try:
    import micropython
except ImportError:
    from .portable import micropython, ptr32

_HEADER_LEN = const(44)
INLINE = const(4096)  # up to here copying costs less than waiting for the device
_STRIDE = const(4160 + 64)
_HEADER_AT = const(20)  # the payload behind the header is aligned to 64
RESERVE = const(8)
_LENT = const(25)  # connection.py's word for this module

# Private words: how many slots are free, then the stack of them, then the slot of each head.
_FREE = const(0)
_STACK = const(1)


class Transmitter:
    """Puts the packets of all connections into one virtqueue."""

    def __init__(self, queue, store):
        self.queue = queue
        self._store = store
        # Two descriptors for a packet at most: while a slot is free, so are two descriptors.
        slots = queue.size // 2
        self._memory = DMABuffer(slots * _STRIDE)
        self._base = self._memory.addr + _HEADER_AT
        self._words = array("I", [slots] + list(range(slots)) + [0] * queue.size)
        self._heads = _STACK + slots  # where in _words the slot of head 0 stands
        self.at = addressof(self._words)
        self._owner = [None] * queue.size  # head: the Connection whose payload is read in place
        self._lent = [None] * queue.size  # head: that payload's buffer, or its segment's number
        # publish(): show the device everything added, with one notification at most.
        self.publish = queue.publish
        self._waiting = []  # connections that owe packets for which there was no slot

    @micropython.viper
    def free(self) -> int:
        """Packets that fit now."""
        return ptr32(self.at)[_FREE]

    @micropython.viper
    def _slot(self, at: int) -> int:
        """Take a slot and copy the header that stands at `at` into it; the header's address."""
        w = ptr32(self.at)
        left = w[_FREE] - 1
        w[_FREE] = left
        to = int(self._base) + w[_STACK + left] * _STRIDE
        source = ptr32(at)
        header = ptr32(to)
        header[0] = source[0]
        header[1] = source[1]
        header[2] = source[2]
        header[3] = source[3]
        header[4] = source[4]
        header[5] = source[5]
        header[6] = source[6]
        header[7] = source[7]
        header[8] = source[8]
        header[9] = source[9]
        header[10] = source[10]
        return to

    @micropython.viper
    def copy(self, at: int, data: int, n: int):
        """Add a packet: the header at `at` and a copy of the `n` bytes at `data`."""
        to = int(self._slot(at))
        if n != 0:
            copy(to, _HEADER_LEN, data, 0, n)
        head = int(self.queue.add1(to, _HEADER_LEN + n, 0))
        w = ptr32(self.at)
        w[int(self._heads) + head] = w[_STACK + w[_FREE]]

    @micropython.viper
    def lend(self, owner, data: int, n: int, buffer):
        """Add a packet of `owner`'s whose `n` bytes the device reads at `data`.

        `buffer` is kept until then: an object, or the number of a segment to release.
        """
        at = int(owner.at)
        head = int(self.queue.add2(int(self._slot(at)), _HEADER_LEN, data, n))
        w = ptr32(self.at)
        w[int(self._heads) + head] = w[_STACK + w[_FREE]]
        c = ptr32(at)
        c[_LENT] = c[_LENT] + 1
        self._owner[head] = owner
        self._lent[head] = buffer

    @micropython.native
    def reap(self):
        """Take back what the device is done with; returns how many packets that were."""
        queue = self.queue
        done = 0
        while True:
            used = queue.pop()
            if used < 0:
                break
            head = used >> 32
            self._give_back(head)
            owner = self._owner[head]
            if owner is not None:
                self._returned(owner.at)
                buffer = self._lent[head]
                self._owner[head] = self._lent[head] = None
                if type(buffer) is int:
                    self._store.release(buffer)
            done += 1
        if done and self._waiting:
            self._retry()
        return done

    @micropython.viper
    def _give_back(self, head: int):
        w = ptr32(self.at)
        n = w[_FREE]
        w[_STACK + n] = w[int(self._heads) + head]
        w[_FREE] = n + 1

    @micropython.viper
    def _returned(self, at: int):
        c = ptr32(at)
        c[_LENT] = c[_LENT] - 1

    @micropython.native
    def settle_debts(self, conn):
        """Add the control packets that a connection owes; publish() sends them."""
        at = conn.at
        while conn.block[connection.OWED]:
            if not self.free():
                self.reap()
                if not self.free():
                    if conn not in self._waiting:
                        self._waiting.append(conn)
                    return
            connection.next_owed(at)
            self.copy(at, 0, 0)

    @micropython.native
    def _retry(self):
        waiting = self._waiting
        self._waiting = []
        for conn in waiting:
            self.settle_debts(conn)
        self.publish()
