# SPDX-License-Identifier: MIT
"""Who gets a packet: connections by their two ports, listeners by one; and who holds which port.

Knows no queue. A device (device.py) or the loopback brings packets; a packet that nobody wants
is answered with RST, an RST never. Everything here that changes state is native code and so runs
as a whole, undisturbed by Ctrl-C and by interrupt handlers (see connection.py).
"""

import time
from array import array

from . import connection as life
from . import packet as wire
from .layout import addressof, const
from .loopback import Loopback
from .stream import Connection

try:
    import micropython
except ImportError:
    from .portable import micropython

_CLOSE_MS = const(8000)  # Linux waits so long for the RST that ends a closed connection
_FLUSH_MS = const(500)  # and we so long for a peer to say that it has all our bytes
_FIRST_AUTOMATIC = const(1024)  # automatic ports: 1024 up to 2**30, a small int in every product
_LAST_AUTOMATIC = const(0x3FFFFFFF)
_WIDENED_MOST = const(24)  # steps by which windows may grow without need, all together
_EADDRINUSE = const(98)


class Listener:
    """A port that takes connections: `pending` ones wait for accept()."""

    def __init__(self, kind, cid, backlog, options):
        self.kind = kind
        self.cid = cid  # takes connections to this CID only, or CID_ANY
        self.backlog = backlog
        self.options = options  # accepted connections begin with these
        self.pending = []
        self.watch = None
        self.queued = False
        self.behind = None
        self.socket = None

    @micropython.native
    def notify(self):
        if self.watch is not None and not self.queued:
            self.watch.add(self)


class Stack:
    """The sockets of one device, or, with `device` None, of the loopback alone."""

    def __init__(self, store, window_limit, seed):
        self.cid = wire.CID_LOCAL
        self.device = None
        self.out = None  # the device's Transmitter
        self.store = store
        self.window_limit = window_limit  # up to here a window grows by itself
        self.wire = Loopback(self)
        self.connections = {}  # key -> Connection, others with that key chained by .twin
        self.listeners = {}  # port -> list of Listener
        self.ports = {}  # port -> list of CIDs (or CID_ANY) bound to it
        self._automatic = seed
        self.lingering = []  # closed connections whose peers have not ended them yet
        self._widened = 0
        self._soonest = 0  # the earliest deadline of those, or one that is past
        self.starved = []  # connections that would send, had the device taken earlier packets
        self._reset = array("I", bytes(4 * wire.HEADER_WORDS))

    # -- ports ------------------------------------------------------------------------------------

    def bind(self, cid, port):
        """Occupy a port, or with CID_ANY as `port` a free one; returns its number."""
        if port == wire.CID_ANY:
            while True:
                port = self._automatic
                self._automatic = port + 1 if port < _LAST_AUTOMATIC else _FIRST_AUTOMATIC
                if port not in self.ports:
                    break
        holders = self.ports.setdefault(port, [])
        if wire.CID_ANY in holders or cid in holders or (holders and cid == wire.CID_ANY):
            raise OSError(_EADDRINUSE)
        holders.append(cid)
        return port

    @micropython.native
    def unbind(self, cid, port):
        holders = self.ports[port]
        holders.remove(cid)
        if not holders:
            del self.ports[port]

    def listen(self, listener, port):
        self.listeners.setdefault(port, []).append(listener)

    @micropython.native
    def unlisten(self, listener, port):
        """Stop listening; connections that nobody accepted are reset."""
        listeners = self.listeners[port]
        listeners.remove(listener)
        if not listeners:
            del self.listeners[port]
        for conn in listener.pending:
            life.fail(conn.at, 0)
            conn.close()

    # -- connections ------------------------------------------------------------------------------

    def is_local(self, cid):
        """True if that CID is this guest itself."""
        return cid == wire.CID_LOCAL or (cid == self.cid and self.device is not None)

    @micropython.native
    def open(self, local_cid, local_port, peer_cid, peer_port, kind, buf_alloc):
        """A new FRESH Connection in the table."""
        block = life.control_block(local_cid, local_port, peer_cid, peer_port, kind, buf_alloc)
        key = local_port ^ peer_port << 29 ^ peer_cid << 15
        out = self.wire if self.is_local(peer_cid) else self.out
        conn = Connection(self, out, block, key)
        twin = self.connections.get(key)
        if twin is not None:
            conn.twin = twin
        self.connections[key] = conn
        return conn

    @micropython.native
    def find(self, header):
        """The Connection that a received header is for, or None."""
        key = header[5] ^ header[4] << 29 ^ header[0] << 15
        conn = self.connections.get(key)
        while conn is not None:
            block = conn.block
            if block[4] == header[5] and block[5] == header[4] and block[2] == header[0]:
                return conn
            conn = conn.twin
        return None

    @micropython.native
    def remove(self, conn):
        """Take a connection out of the table; its queue may still be read."""
        key = conn.key
        if key is None:
            return
        conn.key = None
        first = self.connections[key]
        if first is conn:
            if conn.twin is None:
                del self.connections[key]
            else:
                self.connections[key] = conn.twin
        else:
            while first.twin is not conn:
                first = first.twin
            first.twin = conn.twin
        if conn.twin is not None:
            conn.twin = None
        if conn.deadline is not None:
            self.lingering.remove(conn)
            conn.deadline = None
        if conn.holder is not None:
            self.unbind(*conn.holder)
            conn.holder = None

    @micropython.native
    def after(self, conn, events):
        """Do what follows from the events of a connection: answer, remove, wake."""
        block = conn.block
        events |= block[life.EVENTS]
        block[life.EVENTS] = 0
        if events & life.EV_GROW:
            self._grow(conn)
        if block[life.OWED]:
            conn.out.settle_debts(conn)
            conn.out.publish()
        if events & life.EV_CLOSED:
            self.remove(conn)
        if events:
            conn.notify()

    @micropython.native
    def _grow(self, conn):
        """A larger window for a peer that is stuck: it may have to write before it reads.

        The memory is got first; without it the window stays.
        """
        if life.release_reserve(conn.at):
            return
        size = conn.block[life.BUF_ALLOC] + life.STEP
        if size <= self.window_limit and self.store.promise():
            conn.grown += 1
            life.grow(conn.at)

    @micropython.native
    def widen(self, conn):
        """A larger window for a program that reads fast, lest the peer wait for each update.

        With vhost-device-vsock 1 MiB gives 1.5 times the throughput of the 256 KiB that Linux has.
        Most of the memory is left for peers that are stuck.
        """
        if self._widened < _WIDENED_MOST and self.store.promise():
            self._widened += 1
            conn.widened += 1
            conn.grown += 1
            life.widen(conn.at)

    @micropython.native
    def shrink(self, conn):
        """A connection whose window grew is over."""
        self.store.redeem(conn.grown)
        self._widened -= conn.widened
        conn.grown = conn.widened = 0

    @micropython.native
    def linger(self, conn):
        """The program closed it: give the peer a while to end it too."""
        if conn.key is None or conn.deadline is not None:
            return
        shut = conn.block[life.SHUT]
        both = life.SHUT_PEER_RCV | life.SHUT_PEER_SEND
        wait = _FLUSH_MS if shut & both == both else _CLOSE_MS
        conn.deadline = deadline = time.ticks_add(time.ticks_ms(), wait)
        if not self.lingering or time.ticks_diff(deadline, self._soonest) < 0:
            self._soonest = deadline
        self.lingering.append(conn)

    @micropython.native
    def expire(self):
        """Reset closed connections whose peers did not answer in time."""
        now = time.ticks_ms()
        for conn in list(self.lingering):  # a copy: packets that come meanwhile change it
            deadline = conn.deadline
            if deadline is not None and time.ticks_diff(deadline, now) <= 0:
                life.fail(conn.at, 0)
                self.after(conn, life.EV_CLOSED)
        soonest = None
        for conn in list(self.lingering):
            deadline = conn.deadline
            if soonest is None or time.ticks_diff(deadline, soonest) < 0:
                soonest = deadline
        self._soonest = soonest

    @micropython.native
    def next_expiry(self):
        """Milliseconds until `expire` may have something to do; None if nothing lingers."""
        if not self.lingering:
            return None
        return max(0, time.ticks_diff(self._soonest, time.ticks_ms()))

    # -- packets ----------------------------------------------------------------------------------

    @micropython.native
    def control(self, header, out):
        """A packet without data, or for no connection; `header` is our own copy of it."""
        op = header[wire.W_TYPE_OP] >> 16
        kind = header[wire.W_TYPE_OP] & 0xFFFF
        conn = self.find(header)
        if conn is not None and conn.block[life.TYPE_OP] & 0xFFFF == kind:
            if op != wire.OP_REQUEST or not self._finished(conn):
                self.after(
                    conn,
                    life.on_control(conn.at, op, header[8], header[9], header[10]),
                )
                return
            # A new connection from a port whose last one has ended on that side.
            life.drop(conn.at, 0)
            self.remove(conn)
            conn = None
        if op == wire.OP_RST or op == wire.OP_INVALID:
            return
        # A connection that is still here is of the other type: Linux refuses that too.
        if conn is not None or op != wire.OP_REQUEST or not self._request(header, kind):
            self._refuse(header, kind, out)

    @micropython.native
    def _finished(self, conn):
        both = life.SHUT_PEER_RCV | life.SHUT_PEER_SEND
        block = conn.block
        return block[life.STATE] >= life.CLOSING or block[life.SHUT] & both == both

    @micropython.native
    def _request(self, header, kind):
        """A peer asks for a connection; False refuses it."""
        cid = header[wire.W_DST_CID]
        port = header[wire.W_DST_PORT]
        for listener in self.listeners.get(port, ()):
            if listener.cid == wire.CID_ANY or listener.cid == cid:
                break
        else:
            return False
        if listener.kind != kind or len(listener.pending) > listener.backlog:
            return False
        peer_cid = header[wire.W_SRC_CID]
        peer_port = header[wire.W_SRC_PORT]
        conn = self.open(cid, port, peer_cid, peer_port, kind, listener.options.size)
        listener.options.apply(conn)
        listener.pending.append(conn)
        life.accept(conn.at, header[9], header[10])
        conn.flush()
        listener.notify()
        return True

    @micropython.native
    def _refuse(self, header, kind, out):
        """RST to a packet for nobody (5.10.6.6.1), if there is room for it."""
        if not out.free():
            out.reap()
            if not out.free():
                return
        reset = self._reset
        reset[0] = header[2]
        reset[2] = header[0]
        reset[4] = header[5]
        reset[5] = header[4]
        reset[7] = kind | wire.OP_RST << 16
        out.copy(addressof(reset), 0, 0)
        out.publish()

    @micropython.native
    def deliver(self, header, payload):
        """A packet from the loopback."""
        n = header[wire.W_LEN]
        conn = None
        if header[wire.W_TYPE_OP] >> 16 == wire.OP_RW:
            conn = self.find(header)
        if conn is None:
            self.control(header, self.wire)
            return
        flags = 0
        if conn.block[life.TYPE_OP] & 0xFFFF == wire.TYPE_SEQPACKET:
            flags = header[wire.W_FLAGS]
        n = life.admit(conn.at, n, flags, header[9], header[10])
        if n > 0 and self.store.append(conn.at, addressof(payload), n, flags) < 0:
            life.overflow(conn.at, n, flags)
        self.after(conn, 0)

    @micropython.native
    def starve(self, conn):
        """`conn` would send but the transmit ring is full: tell it when the device took some."""
        if conn not in self.starved:
            self.starved.append(conn)
        if self.device is not None and self.device.sending_done():
            self.out.reap()

    @micropython.native
    def room_again(self):
        """The device gave slots back (Transmitter.reap): who watches to send may go on."""
        starved = self.starved
        self.starved = []
        for conn in starved:
            conn.notify()

    @micropython.native
    def transport_reset(self, cid, error=104):
        """The device was reset under us (5.10.6.8): connections are gone, listeners stay.

        What was connected gives ECONNRESET, or `error`.
        """
        self.cid = cid
        for conn in list(self.connections.values()):
            while conn is not None:
                twin = conn.twin
                if conn.out is not self.wire:
                    life.drop(conn.at, error)
                    self.after(conn, life.EV_READ | life.EV_CLOSED)
                conn = twin
