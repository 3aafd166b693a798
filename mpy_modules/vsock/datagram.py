# SPDX-License-Identifier: MIT
"""Datagrams: messages of up to 64 KiB from port to port, without a connection, that may be lost.

Not in virtio 1.2: packet type 3 and feature bit 3, as the series of 2026 for Linux has them. One
message a packet (OP_RW, no flags), the window's fields are 0. There is no credit and no RST: what
finds no port, or no room in its port's queue, is dropped and counted. The ports are none of those
that streams have. As a connection's window, a port's queue is memory that was promised before
(budget.py), and taking a message in allocates nothing.
"""

from array import array

import errnos
from portable import addressof, copy, micropython, octets, ptr32

from . import control
from . import words as w


class Datagrams:
    """Which port of one stack is whose; `take` is the receive road's way here."""

    def __init__(self, automatic):
        """`automatic`: the stack's ports.Automatic."""
        self.ports = {}  # number -> list of Port; those that want one sender only come first
        self._automatic = automatic

    def bind(self, port, cid, number):
        """Give a Port its address, with PORT_ANY a free number; the number. Raises EADDRINUSE.

        Ports that share (SO_REUSEADDR) may have the same one.
        """
        if number == w.PORT_ANY:
            number = self._automatic.unused(self.ports)
        holders = self.ports.setdefault(number, [])
        for one in holders:
            if port.shares and one.shares:
                continue
            if cid == one.cid or w.CID_ANY in (cid, one.cid):
                raise OSError(errnos.EADDRINUSE)
        port.cid = cid
        port.block[w.SRC_PORT] = number
        holders.append(port)
        return number

    @micropython.native
    def unbind(self, port):
        """Its address is free again."""
        number = port.block[w.SRC_PORT]
        holders = self.ports[number]
        holders.remove(port)
        if not holders:
            del self.ports[number]

    @micropython.native
    def only_from(self, port, cid, number):
        """From now on a bound Port takes messages from there alone, and is asked before others of
        its address. Those in its queue stay."""
        block = port.block
        block[w.DG_PEER_CID] = cid
        block[w.DG_PEER_PORT] = number
        block[w.DG_FILTER] = 1
        holders = self.ports[block[w.SRC_PORT]]
        holders.remove(port)
        holders.insert(0, port)

    @micropython.native
    def take(self, receiver, seg, data):
        """A packet of our type: its header is the Receiver's, its payload at `data`.

        It came in the large segment `seg`, or -1: in none. Returns the segment to post.
        """
        header = receiver.header
        if header[w.TYPE_OP] >> w.OP_SHIFT != w.OP_RW or header[w.FLAGS]:
            receiver.drop(w.DROP_DATAGRAM)
            return seg
        cid = header[w.DST_CID]
        why = w.DROP_UNBOUND
        for port in self.ports.get(header[w.DST_PORT], ()):
            if port.cid == w.CID_ANY or port.cid == cid:
                fresh = port.keep(header, seg, data)
                if fresh == w.NOT_WANTED:
                    why = w.DROP_FILTERED
                    continue
                if fresh == w.NO_MEMORY:
                    why = w.DROP_FULL
                    break
                port.notify()
                return fresh
        receiver.drop(why)
        return seg


class Port:
    """One socket's end: the messages that came, and the header of those that it sends.

    Its `cid` is set with its number by Datagrams.bind. `error` is what a broken device left to
    tell, once.
    """

    queued = False  # it is in the Ready's list
    behind = None  # next in that list
    socket = None  # what Ready hands out
    watch = None  # the ready.Ready that wants to hear of messages
    cid = None
    shares = False  # other ports that share may have its address
    error = 0

    def __init__(self, stack, kind):
        """`kind`: its socket type, with its packet_type and without borders."""
        self.stack = stack
        block = control.control_block(w.CID_ANY, w.PORT_ANY, 0, 0, kind, 0)
        self.block = array("I", bytes(block) + bytes(4 * (w.DG_WORDS - w.BLOCK_WORDS)))
        self.at = addressof(self.block)

    def __repr__(self):
        return "<Port %s:%d queued=%d full=%d>" % (
            self.cid,
            self.block[w.SRC_PORT],
            self.block[w.MESSAGES],
            self.block[w.DG_FULL],
        )

    def full(self):
        """Messages that found no room in its queue."""
        return self.block[w.DG_FULL]

    # -- the queue --------------------------------------------------------------------------------

    @micropython.native
    def promise(self, size):
        """Let up to `size` bytes of messages queue, or as many as there is memory for.

        False: there is none, and nothing is promised. A smaller size takes nothing back.
        """
        block = self.block
        # Wherever in a block the bytes begin, they fill one block more.
        more = size + w.BLOCK - (block[w.PLEDGE] << w.BLOCK_SHIFT)
        if more > 0:
            self.stack.budget.more(self.at, more, 0)
        block[w.DG_LIMIT] = min(size, max(0, block[w.PLEDGE] - 1) << w.BLOCK_SHIFT)
        if block[w.DG_LIMIT]:
            return True
        self.stack.budget.closed(self.at, 0)
        return False

    @micropython.viper
    def keep(self, header, seg: int, data: int) -> int:
        """Queue the message of this header, whose payload is at `data`; the segment to post.

        NO_MEMORY: the queue is full. NOT_WANTED: it is not from the sender that this port wants.
        """
        h = ptr32(header)
        at = int(self.at)
        c = ptr32(at)
        cid = h[w.SRC_CID]
        sender = h[w.SRC_PORT]
        n = h[w.LEN]
        if c[w.DG_FILTER] != 0 and (c[w.DG_PEER_CID] != cid or c[w.DG_PEER_PORT] != sender):
            return w.NOT_WANTED
        count = c[w.MESSAGES]
        queued = (c[w.RX_CNT] - c[w.READ_CNT]) & c[w.ONES]
        if count == w.DG_MOST or queued + n > c[w.DG_LIMIT]:
            c[w.DG_FULL] = c[w.DG_FULL] + 1
            return w.NO_MEMORY
        fresh = seg
        if n != 0:
            # A call, not Store.keep_bytes: expanded, it would be 4 KiB of native code more.
            fresh = int(self.stack.store.keep_bytes(at, seg, data, n, 0))
            if fresh == w.NO_MEMORY:
                c[w.DG_FULL] = c[w.DG_FULL] + 1
                return fresh
        row = w.DG_RECORDS + ((c[w.DG_FIRST] + count) & (w.DG_MOST - 1)) * w.REC_WORDS
        c[row + w.REC_CID] = cid
        c[row + w.REC_PORT] = sender
        c[row + w.REC_LEN] = n
        c[w.MESSAGES] = count + 1
        c[w.RX_CNT] = (c[w.RX_CNT] + n) & c[w.ONES]
        return fresh

    @micropython.native
    def receive(self, into, want, peek):
        """Copy the first message, cut to `want` bytes, to address `into`; None: there is none.

        (bytes copied, its length, its sender's (cid, port)). It leaves the queue unless `peek`.
        """
        block = self.block
        if not block[w.MESSAGES]:
            return None
        row = w.DG_RECORDS + block[w.DG_FIRST] * w.REC_WORDS
        length = block[row + w.REC_LEN]
        n = min(want, length)
        found = n, length, (block[row + w.REC_CID], block[row + w.REC_PORT])
        if n:
            self.stack.store.read(self.at, into, n, True)
        if not peek:
            self._skip(length)
        return found

    @micropython.native
    def receive_all(self, want, peek):
        """The same into a buffer of its own: (that, its sender), or None."""
        block = self.block
        row = w.DG_RECORDS + block[w.DG_FIRST] * w.REC_WORDS
        buffer = octets(min(want, block[row + w.REC_LEN]))
        found = self.receive(addressof(buffer), want, peek)
        return None if found is None else (buffer, found[2])

    @micropython.native
    def _skip(self, n):
        """The first message, of `n` bytes, leaves the queue."""
        block = self.block
        store = self.stack.store
        at = self.at
        block[w.DG_FIRST] = (block[w.DG_FIRST] + 1) & (w.DG_MOST - 1)
        block[w.MESSAGES] -= 1
        block[w.READ_CNT] = (block[w.READ_CNT] + n) & 0xFFFFFFFF
        while n:
            seg = store.head(at)
            length = store.length(seg)
            if length <= n:
                store.release(store.unlink(at))
                n -= length
            else:
                store.lend(seg, n)  # only the bytes of the next message are left of it
                store.returned(seg)
                n = 0

    @micropython.native
    def close(self):
        """The socket is done with it; its messages are gone, and its memory is free."""
        self.hear(None)
        self.stack.store.discard(self.at)
        self.stack.budget.closed(self.at, 0)
        self.block[w.MESSAGES] = self.block[w.DG_LIMIT] = 0
        self.block[w.READ_CNT] = self.block[w.RX_CNT]

    # -- the way out ------------------------------------------------------------------------------

    @micropython.native
    def send(self, out, source, to, data, n, buffer):
        """Send the `n` bytes at `data`, at most MAX_DATA, to the (cid, port) `to` through `out`.

        `source` is our CID there. The device may read `buffer`, to which `data` belongs, if it is
        bytes, and of everything else a copy. False: there is no room now.
        """
        block = self.block
        block[w.SRC_CID] = source
        block[w.DST_CID], block[w.DST_PORT] = to
        if n <= w.INLINE:
            return out.small(self.at, data, n, 0) != 0
        if type(buffer) is not bytes and out is not self.stack.loopback:
            seg = out.spare()
            if seg >= 0:
                store = self.stack.store
                store.fill(seg, data, n)
                if out.put_segment(self.at, seg, n, 0, 1):
                    return True
                store.release(seg)
                return False
            buffer = bytearray(n)
            copy(buffer, 0, data, 0, n)
            data = addressof(buffer)
        return out.put(self, data, n, buffer, 0, 0, 1) != 0

    # -- news -------------------------------------------------------------------------------------

    @micropython.native
    def hear(self, watch):
        """From now on the Ready `watch` hears of messages; None: nobody does."""
        self.watch = watch

    @micropython.native
    def notify(self):
        """Something happened: tell who watches."""
        if self.watch is not None and not self.queued:
            self.watch.add(self)
