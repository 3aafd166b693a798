# SPDX-License-Identifier: MIT
"""Packets that never leave the guest: VMADDR_CID_LOCAL, or the guest's own CID.

Has the interface of transmit.Transmitter. Packets wait in a list until publish(), which hands
them to the stack as if a device had brought them; so no call nests in another.
"""

from array import array

import machine

from . import connection
from .layout import addressof

try:
    import micropython
except ImportError:
    from .portable import micropython

_HEADER_WORDS = 11
_DEPTH = 64
_RESERVE = 8  # transmit.py: packets that data leaves room for


class Loopback:
    """A wire from the stack to itself."""

    def __init__(self, stack):
        self._stack = stack
        self._packets = []
        self._words = array("I", [_DEPTH])  # the first: packets that fit now
        self.at = addressof(self._words)
        self._busy = False

    def free(self):
        return self._words[0]

    @micropython.native
    def copy(self, at, data, n):
        header = array("I", bytes(4 * _HEADER_WORDS))
        payload = bytearray(n)
        machine.copy(addressof(header), 0, at, 0, 4 * _HEADER_WORDS)
        if n:
            machine.copy(payload, 0, data, 0, n)
        self._packets.append((header, payload))
        self._count()

    @micropython.native
    def _count(self):
        self._words[0] = max(0, _DEPTH - len(self._packets))

    @micropython.native
    def small(self, at, data, n, flags):
        if self.free() <= _RESERVE:
            return 0
        connection.send(at, n, flags)
        self.copy(at, data, n)
        self.publish()
        return 1

    @micropython.native
    def put(self, conn, data, n, buffer, flags, changes, last):
        if self.free() <= _RESERVE:
            return 0
        connection.send(conn.at, n, flags)
        self.copy(conn.at, data, n)
        if last:
            self.publish()
        return 1

    @micropython.native
    def put_segment(self, at, seg, n, flags, last):
        if self.free() <= _RESERVE:
            return 0
        store = self._stack.store
        connection.send(at, n, flags)
        self.copy(at, store.lend(seg, n), n)
        store.returned(seg)
        if last:
            self.publish()
        return 1

    def reap(self):
        return 0

    @micropython.native
    def settle_debts(self, conn):
        while conn.block[connection.OWED]:
            connection.next_owed(conn.at)
            self.copy(conn.at, 0, 0)

    @micropython.native
    def publish(self):
        """Deliver everything, and what that leads to."""
        if self._busy:
            return
        self._busy = True
        try:
            while self._packets:
                header, payload = self._packets.pop(0)
                self._count()
                self._stack.deliver(header, payload)
        finally:
            self._busy = False
