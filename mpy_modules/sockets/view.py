# SPDX-License-Identifier: MIT
"""A view of received bytes where the device put them: for programs that want no copy at all."""

import errnos
from portable import micropython
from uctypes import bytearray_at

TWO_DEVICES = (
    "these sockets are of two devices: receive the bytes from one, send them to the other"
)


class View:
    """Received bytes, borrowed. `data` is a bytearray over them, `len()` how many.

    They count as received. Give them back with `release()`, the end of a `with` statement, or
    `forward()`; until then a receive buffer is missing elsewhere, so do not keep many.
    """

    def __init__(self, conn):
        store = conn.stack.store
        seg = conn.take()
        self._store = store
        self._segment = seg
        self._length = store.length(seg)
        self.data = bytearray_at(store.data(seg), self._length)

    def __len__(self):
        return self._length

    def __enter__(self):
        return self.data

    def __exit__(self, *exception):
        self.release()

    @micropython.native
    def release(self):
        """Give the bytes back; twice does nothing."""
        seg = self._segment
        if seg >= 0:
            self._segment = -1
            self.data = None
            self._store.release(seg)

    @micropython.native
    def forward(self, sock):
        """Send the bytes on through a connected socket, without a copy; this gives them back.

        False, and nothing happens, if the peer or the device has no room for all of them now.
        EINVAL: `sock` is one of another device.
        """
        conn = sock.connection
        if conn is None or self._segment < 0:
            return False
        if conn.stack.store is not self._store:
            raise OSError(errnos.EINVAL, TWO_DEVICES)
        if conn.room() < self._length:
            return False
        if not conn.out.put_segment(conn.at, self._segment, self._length, 0, 1):
            return False  # the device broke
        self._segment = -1
        self.data = None
        return True
