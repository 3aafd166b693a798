# SPDX-License-Identifier: MIT
"""Packets that never leave the guest: VMADDR_CID_LOCAL, or the guest's own CID.

A device like any other: a way out with the interface of transmit.Transmitter, at whose end the
packets go down the receive road. They wait in a list until publish() hands them over; so no call
nests in another.
"""

from array import array

from portable import addressof, const, copy, micropython, octets

from . import control, credit
from . import words as w
from .receive import Receiver

_DEPTH = 64  # packets that may wait
_EDGES = const(256)  # of so many unread packets each has an edge of its own, of more only if
_SMALL = const(128)  # it has more bytes than this


class Loopback:
    """A way out of the stack that leads back into it."""

    def __init__(self, stack):
        self._store = stack.store
        self._packets = []  # (header, payload)
        self._words = array("I", [_DEPTH, 0, w.RESERVE])
        self.at = addressof(self._words)
        self._busy = False
        self.receiver = Receiver(stack, self, True)
        self.receiver.serve(w.CID_HOST, w.CID_LOCAL)  # Stack.is_local

    def free(self):
        """Packets that fit now."""
        return self._words[w.OUT_FREE]

    @micropython.native
    def full(self):
        """As Transmitter.full."""
        return self._words[w.OUT_FREE] <= w.RESERVE

    @micropython.native
    def copy(self, at, data, n):
        """Add a packet: the header at `at` and a copy of the `n` bytes at `data`."""
        header = array("I", bytes(w.HEADER_LEN))
        payload = octets(n)
        copy(header, 0, at, 0, w.HEADER_LEN)
        if n:
            copy(payload, 0, data, 0, n)
        self._packets.append((header, payload))
        self._count()

    @micropython.native
    def _count(self):
        self._words[w.OUT_FREE] = max(0, _DEPTH - len(self._packets))

    @micropython.native
    def _add(self, at, data, n, flags, last):
        """Send a packet of data; 0: there is no room."""
        if self.full():
            return 0
        control.send(at, n, flags)
        self.copy(at, data, n)
        if last:
            self.publish()
        return 1

    def small(self, at, data, n, flags):
        """As Transmitter.small."""
        return self._add(at, data, n, flags, 1)

    @micropython.native
    def put(self, conn, data, n, buffer, flags, changes, last):
        """As Transmitter.put; the program's buffer is copied, always."""
        return n if self._add(conn.at, data, n, flags, last) else 0

    @micropython.native
    def put_segment(self, at, seg, n, flags, last):
        """As Transmitter.put_segment."""
        if self.full():
            return 0
        data = self._store.lend(seg, n)
        self._add(at, data, n, flags, 0)
        self._store.returned(seg)
        if last:
            self.publish()
        return 1

    @micropython.native
    def told(self, conn):
        """Have a peer that has read all, or a message, say so now; True if it had not.

        Linux's tells of both at once, ours when the peer's program goes to sleep.
        """
        twin = conn.stack.table.find(conn.at, self)
        if twin is None or (credit.queued(twin.at) and not twin.block[w.BORDERS]):
            return False
        if not credit.tell(twin.at):
            return False
        twin.flush()
        return True

    @micropython.native
    def _arrived(self, conn, n):
        """A packet of `n` bytes was queued for a connection: where it ends."""
        if conn is None or not conn.block[w.OPTIONS] & w.OPT_LOOPBACK:
            return
        edges = conn.edges
        end = conn.block[w.RX_CNT]
        if edges is None:
            conn.edges = [end]
        elif len(edges) < _EDGES or n > _SMALL:
            edges.append(end)
        else:
            edges[-1] = end

    @micropython.native
    def taken(self, conn):
        """A program has read: as on Linux a packet gives credit once its last byte was read."""
        edges = conn.edges
        block = conn.block
        while edges:
            ahead = (edges[0] - block[w.READ_CNT]) & 0xFFFFFFFF
            if ahead and not ahead >> 31:
                break
            block[w.FWD_CNT] = edges.pop(0)
        if credit.update_due(conn.at):
            conn.flush()

    @micropython.native
    def forget(self, conn):
        """Nothing will be read there any more: all of it counts as read.

        The peer hears of it at once only if nothing of ours is unread there: then it waits for
        this alone, to end the connection. On Linux it would not, but still has no room to send.
        """
        conn.edges = None
        block = conn.block
        block[w.FWD_CNT] = block[w.READ_CNT]
        if block[w.FWD_CNT] == block[w.FWD_SENT] or block[w.STATE] == w.CLOSED:
            return
        twin = conn.stack.table.find(conn.at, self)
        if twin is not None and not credit.queued(twin.at):
            block[w.OWED] |= w.OWE_UPDATE
            conn.flush()

    def spare(self):
        """As Transmitter.spare: none, since everything is copied."""
        return -1

    def reap(self):
        """Nothing is ever under way."""
        return 0

    @micropython.native
    def settle_debts(self, conn):
        """Add the control packets that a connection owes."""
        while conn.block[w.OWED]:
            control.next_owed(conn.at)
            self.copy(conn.at, 0, 0)

    @micropython.native
    def publish(self):
        """Send everything down the receive road, and what that leads to."""
        if self._busy:
            return
        self._busy = True
        receiver = self.receiver
        try:
            while self._packets:
                header, payload = self._packets.pop(0)
                self._count()
                n = len(payload)
                length = w.HEADER_LEN + n
                receiver.packet(receiver.at, addressof(header), addressof(payload), length, -1)
                if n:
                    self._arrived(receiver.last, n)
        finally:
            self._busy = False
