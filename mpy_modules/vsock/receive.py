# SPDX-License-Identifier: MIT
"""The receive road: what becomes of a packet, from memory that others may write to the program.

    1  take_header  the header is copied out of that memory, once; only the copy is looked at
    2  fault        is it whole, is it for us, may its sender speak here
    3  find         the connection that it is for; `Stack.control` has the packets for none, and
                    datagram.py those that are datagrams
    4  admit        its state and its credit, in control.py
    5  _keep        its bytes are queued, or refused for lack of memory
    6  _follow      what the connection owes is answered, the program that waits is woken

Devices and the loopback go this road alike. It knows neither: no ring, no queue; a device hands in
an address and a length and is told which receive buffer it may post again.
"""

from array import array

from inline import inline
from portable import addressof, log, micropython, ptr32, put_address

from . import control, credit
from . import words as w
from .store import Store

DROPPED = (
    None,
    "dropped a packet shorter than a header",
    None,  # a device may complete a buffer without a packet
    "dropped a packet not for this CID",
    "dropped a packet from a CID that cannot speak here",
    "dropped a packet longer than its buffer",
    "dropped a packet for lack of memory",
    "dropped a datagram with another operation or with flags",
    "dropped a datagram for a port that nobody has",
    "dropped a datagram from another sender than its socket is connected to",
    "dropped a datagram: its socket has not read the earlier ones",
)


class Receiver:
    """The road from one device, or from the loopback, into a Stack.

    `out` takes the answers to packets that are for no connection. `header` is our copy of the last
    packet's header, `dropped` counts what went no further, by DROP_*.
    """

    def __init__(self, stack, out, local):
        """`local`: packets come from this guest itself."""
        self._stack = stack
        self._store = stack.store
        self._table = stack.table
        self._out = out
        self._nobody = None  # viper compares objects with objects, not with None
        self.last = None  # the Connection that the last packet was for: often the next one's too
        self.header = array("I", bytes(4 * w.HEADER_WORDS))
        self.dropped = [0] * len(DROPPED)
        self.words = array("I", bytes(4 * w.RX_WORDS))
        self.at = addressof(self.words)
        put_address(self.words, w.RX_HEADER, addressof(self.header))
        self.words[w.RX_LOCAL] = int(local)

    def serve(self, cid, alias):
        """From now on packets may be addressed to `cid` and `alias`; no others."""
        self.words[w.RX_CID] = cid
        self.words[w.RX_ALIAS] = alias

    @inline
    @micropython.viper
    def packet(self, road: int, shared: int, data: int, n: int, seg: int) -> int:
        """One packet: a header at address `shared`, payload at `data`, `n` bytes with both.

        `road` is our `at`; `seg` the large segment (store.py) that holds it, or -1. Returns that
        to post in its place, which is `seg` itself if its bytes were not kept there.

        @inline: called, it took 1,370 instructions more, half as many again.
        """
        r = ptr32(road)
        h = ptr32(r[w.RX_HEADER] | (r[w.RX_HEADER + 1] << 32))
        take_header(h, ptr32(shared))
        why = int(fault(r, h, n))
        if why != 0:
            self.drop(why)
            return seg
        op = h[w.TYPE_OP] >> w.OP_SHIFT
        if op < w.OP_RW or op > w.OP_CREDIT_REQUEST or (op == w.OP_RW and h[w.LEN] == 0):
            return int(Receiver._apart(self, h, seg, data))
        # Only a connection that is established is sure to be in the table still.
        at = r[w.RX_LAST] | (r[w.RX_LAST + 1] << 32)
        c = ptr32(at)
        if (
            at == 0
            or c[w.STATE] != w.ESTABLISHED
            or c[w.SRC_PORT] != h[w.DST_PORT]
            or c[w.DST_PORT] != h[w.SRC_PORT]
            or c[w.DST_CID] != h[w.SRC_CID]
        ):
            at = 0
            if h[w.TYPE_OP] & w.TYPE_MASK != w.TYPE_DGRAM:
                at = int(self.find())
            c = ptr32(at)
        if (
            at == 0
            or (c[w.TYPE_OP] ^ h[w.TYPE_OP]) & w.TYPE_MASK
            or (op != w.OP_RW and c[w.STATE] != w.ESTABLISHED)
        ):
            return int(Receiver._apart(self, h, seg, data))
        if op == w.OP_RW:
            seg = int(Receiver._keep(self, at, h, seg, data))
        elif op == w.OP_CREDIT_UPDATE and c[w.SHUT] == 0:
            events = int(credit.note(at, h[w.BUF_ALLOC], h[w.FWD_CNT]))
            c[w.EVENTS] = c[w.EVENTS] | events
        else:
            events = int(control.on_control(at, op, 0, h[w.BUF_ALLOC], h[w.FWD_CNT]))
            c[w.EVENTS] = c[w.EVENTS] | events
        Receiver._follow(self, at)
        return seg

    @inline
    @micropython.viper
    def _apart(self, h: ptr32, seg: int, data: int) -> int:
        """No data for a connection: a datagram, or for `control`. Returns the segment to post."""
        if h[w.TYPE_OP] & w.TYPE_MASK == w.TYPE_DGRAM:
            return int(self.datagram(seg, data))
        self.control()
        return seg

    @inline
    @micropython.viper
    def _keep(self, at: int, h: ptr32, seg: int, data: int) -> int:
        """Data for a connection: admit it and queue it. Returns the segment to post."""
        c = ptr32(at)
        n = h[w.LEN]
        flags = h[w.FLAGS] & c[w.BORDERS]
        if int(control.admit(at, n, flags, h[w.BUF_ALLOC], h[w.FWD_CNT])) <= 0:
            return seg
        fresh = int(Store.keep_bytes(self._store, at, seg, data, n, flags))
        if fresh == w.NO_MEMORY:
            control.overflow(at, n, flags)
            return seg
        return fresh

    @inline
    @micropython.viper
    def _follow(self, at: int):
        """What a packet for the connection `last` leads to: an answer, a program that wakes."""
        c = ptr32(at)
        if c[w.OWED] != 0 or c[w.EVENTS] & w.EV_STACK:
            self.after()
            return
        if c[w.EVENTS] != 0:
            c[w.EVENTS] = 0
            if c[w.WATCHED] != 0:
                conn = self.last
                if not conn.queued:
                    conn.watch.add(conn)

    @micropython.viper
    def find(self) -> int:
        """Find the connection that the header is for; the address of its words, 0: none."""
        conn = self._table.find(self.header, self._out)
        self.last = conn
        at = 0
        if conn is not self._nobody:
            at = int(conn.at)
        r = ptr32(self.at)
        high = at >> 32
        r[w.RX_LAST] = at - (high << 32)
        r[w.RX_LAST + 1] = high
        return at

    # A device's buffer is in the road's hand: without memory for a packet that packet is lost, or
    # an answer to it, and nothing else.

    @micropython.native
    def control(self):
        """A packet without data, or for no connection."""
        try:
            self._stack.control(self.header, self._out)
        except MemoryError:
            self.drop(w.DROP_MEMORY)

    @micropython.native
    def datagram(self, seg, data):
        """A packet of type 3, its payload at `data`. Returns the segment to post."""
        datagrams = self._stack.datagrams
        if datagrams is None:
            self.control()  # a type that nobody knows here
            return seg
        return datagrams.take(self, seg, data)

    @micropython.native
    def after(self):
        """What follows from the events of the connection `last`."""
        try:
            self._stack.after(self.last, 0)
        except MemoryError:
            self.drop(w.DROP_MEMORY)

    @micropython.native
    def drop(self, why):
        """Count a packet that goes no further, and tell of the first one in the log."""
        self.dropped[why] += 1
        if self.dropped[why] == 1 and why != w.DROP_INVALID:
            log("vsock", DROPPED[why], "WARNING")


@inline
@micropython.viper
def take_header(h: ptr32, shared: ptr32):
    """Copy the header at `shared`, each word once: whoever writes there may do so at any time."""
    h[w.SRC_CID] = shared[w.SRC_CID]
    h[w.SRC_CID_HIGH] = shared[w.SRC_CID_HIGH]
    h[w.DST_CID] = shared[w.DST_CID]
    h[w.DST_CID_HIGH] = shared[w.DST_CID_HIGH]
    h[w.SRC_PORT] = shared[w.SRC_PORT]
    h[w.DST_PORT] = shared[w.DST_PORT]
    h[w.LEN] = shared[w.LEN]
    h[w.TYPE_OP] = shared[w.TYPE_OP]
    h[w.FLAGS] = shared[w.FLAGS]
    h[w.BUF_ALLOC] = shared[w.BUF_ALLOC]
    h[w.FWD_CNT] = shared[w.FWD_CNT]


@inline
@micropython.viper
def fault(r: ptr32, h: ptr32, n: int) -> int:
    """What is wrong with a header that came with `n` bytes in all: DROP_*, or 0.

    5.10.4: CIDs have 32 bits. This guest's own CID and the loopback's are the loopback's to use;
    0, which stands for a hypervisor, and ANY are nobody's.
    """
    if n < w.HEADER_LEN:
        return w.DROP_SHORT
    if h[w.TYPE_OP] >> w.OP_SHIFT == w.OP_INVALID:
        return w.DROP_INVALID  # a device may complete a buffer without having written a header
    if h[w.DST_CID_HIGH] != 0 or (h[w.DST_CID] != r[w.RX_CID] and h[w.DST_CID] != r[w.RX_ALIAS]):
        return w.DROP_STRAY
    local = 0
    source = h[w.SRC_CID]
    if source <= w.CID_LOCAL or source == r[w.RX_CID] or source == w.CID_ANY:
        local = 1
    if local != r[w.RX_LOCAL] or h[w.SRC_CID_HIGH] != 0:
        return w.DROP_SENDER
    if h[w.LEN] > n - w.HEADER_LEN:
        return w.DROP_LONG
    return 0
