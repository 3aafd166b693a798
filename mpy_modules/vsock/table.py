# SPDX-License-Identifier: MIT
"""The connections of one stack, by their peer and their two ports; what a look costs is bounded.

The host chooses CIDs and ports, and it knows all that a seed could come from. MicroPython's dict
takes an int for its own hash and probes linearly, so that a host could make each look at it as
long as the dict. Here a good hash spreads honest connections over buckets, at least half as many
as there may be connections, and no bucket takes more than DEEPEST. A host that fills one on
purpose is refused further connections that belong there, and only it has chosen those.
"""

from inline import inline
from portable import const, micropython, ptr32

from . import words as w

DEEPEST = const(16)  # with two to a bucket on average, 17 in one happen once in 10**10
_FEWEST = const(16)  # buckets


class Table:
    """Connections with their `key`, the number of their bucket; None outside of the table."""

    def __init__(self, most):
        """Room for `most` connections."""
        buckets = _FEWEST
        while 2 * buckets < most:
            buckets *= 2
        self._most = self._left = most
        self._buckets = [None] * buckets  # the first Connection of each; `twin` has the next
        self._mask = buckets - 1
        self._nobody = None  # viper compares objects with objects, not with None

    @micropython.viper
    def find(self, header, out):
        """The Connection that a header received from the other end of `out` is for, or None.

        A connection of another way out is none: a device does not speak for the loopback's peers,
        nor for another device's.
        """
        h = ptr32(header)
        nobody = self._nobody
        mask = int(self._mask)
        conn = self._buckets[int(_spread(h[w.DST_PORT], h[w.SRC_PORT], h[w.SRC_CID])) & mask]
        while conn is not nobody:
            c = ptr32(conn.at)
            if (
                c[w.SRC_PORT] == h[w.DST_PORT]
                and c[w.DST_PORT] == h[w.SRC_PORT]
                and c[w.DST_CID] == h[w.SRC_CID]
                and conn.out is out
            ):
                break
            conn = conn.twin
        return conn

    @property
    def full(self):
        return self._left == 0

    @property
    def count(self):
        """Connections that are in."""
        return self._most - self._left

    @micropython.viper
    def add(self, conn) -> bool:
        """Take a Connection in; False: there is no room. A MemoryError changes nothing."""
        c = ptr32(conn.at)
        nobody = self._nobody
        left = int(self._left)
        if left == 0:
            return False
        key = int(_spread(c[w.SRC_PORT], c[w.DST_PORT], c[w.DST_CID])) & int(self._mask)
        buckets = self._buckets
        twin = buckets[key]
        if twin is not nobody:
            depth = 0
            while twin is not nobody:
                depth += 1
                twin = twin.twin
            if depth >= DEEPEST:
                return False
            conn.twin = buckets[key]
        conn.key = key
        buckets[key] = conn
        self._left = left - 1
        return True

    @micropython.native
    def remove(self, conn):
        """Take out a Connection that is in."""
        key = conn.key
        conn.key = None
        twin = conn.twin
        buckets = self._buckets
        first = buckets[key]
        if first is conn:
            buckets[key] = twin
        else:
            while first.twin is not conn:
                first = first.twin
            first.twin = twin
        if twin is not None:
            conn.twin = None
        self._left += 1

    @micropython.native
    def each(self, function, argument):
        """Call function(connection, argument) for all; it may take out the one it is given.

        Allocates nothing.
        """
        for first in self._buckets:
            conn = first
            while conn is not None:
                twin = conn.twin
                function(conn, argument)
                conn = twin


@inline
@micropython.viper
def _spread(local_port: int, peer_port: int, peer_cid: int) -> int:
    """A hash of 16 bits and more: each bit of all three reaches the lower ones."""
    h = peer_port * 0x9E3779B1 + local_port * 0x85EBCA77 + peer_cid * 0xC2B2AE3D
    h = (h ^ (h >> 15)) & 0x3FFFFFFF
    h = h * 0x2C1B3C6D
    return (h >> 17) & 0xFFFF
