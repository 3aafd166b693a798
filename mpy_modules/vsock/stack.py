# SPDX-License-Identifier: MIT
"""Who gets a packet: connections by their two ports, listeners by one; and who holds which port.

Knows no queue. A Receiver (receive.py) brings packets; a packet that nobody wants is answered with
RST, an RST never. Everything here that changes state is native code and so runs as a whole,
undisturbed by Ctrl-C and by interrupt handlers (see control.py).
"""

from array import array

import errnos
from portable import addressof, const, micropython, ticks_add, ticks_diff, ticks_ms

from . import control
from . import words as w
from .budget import LEAST, Budget
from .connection import Connection
from .loopback import Loopback
from .ports import Automatic
from .table import Table

_CLOSE_MS = const(8000)  # Linux waits so long for the RST that ends a closed connection
_FLUSH_MS = const(500)  # and we so long for a peer to say that it has all our bytes
_LOOK_MS = const(60000)  # looks for what is over are no further apart


class Listener:
    """A port that takes connections: `pending` ones wait for accept()."""

    def __init__(self, kind, cid, backlog, options):
        self.kind = kind
        self.cid = cid  # takes connections to this CID only, or CID_ANY
        self.backlog = backlog
        self.options = options  # accepted connections begin with these
        self.pending = []
        self.error = 0  # the device broke: accept() tells it once
        self.watch = None
        self.queued = False
        self.behind = None

    def hear(self, watch):
        """From now on the Ready `watch` hears of connections; None: nobody does."""
        self.watch = watch

    @micropython.native
    def notify(self):
        if self.watch is not None and not self.queued:
            self.watch.add(self)


class Stack:
    """The sockets of one device, or, with `device` None, of the loopback alone.

    What joins it to a device is set and cleared by `join` and `part`: `cid`, `device` and `out`.
    """

    def __init__(self, store, window_limit, seed):
        """`window_limit`: bytes up to which a window grows; `seed`: the first automatic port.

        `waiter` is for whoever assembles this: its `spin()` waits a moment for packets.
        """
        self.cid = w.CID_LOCAL
        self.device = None
        self.out = None  # the device's Transmitter
        self.waiter = None
        self.tap = None  # the Tap (tap.py) while somebody wants to see packets
        self.store = store
        self.window_limit = window_limit
        self.budget = Budget(store)
        self.table = Table(self.budget.connections)
        self.alone = True  # until a device joins
        self.loopback = Loopback(self)
        self.datagrams = None  # Datagrams, once there may be any
        self.listeners = {}  # port -> list of Listener
        self.ports = {}  # port -> list of CIDs (or CID_ANY) bound to it
        self.automatic = Automatic(seed)
        self.late = []  # late senders whose peers have shut both directions
        self.lingering = []  # closed connections whose peers have not ended them yet
        self.refused = 0  # requests for which there was no room
        self._soonest = 0  # the earliest deadline of all those, or one that is past
        self.starved = []  # connections that would send, had the device taken earlier packets
        self._fed = []  # the list that takes its place: packets come where none can be made
        self._reset = array("I", bytes(4 * w.HEADER_WORDS))

    # -- the device -------------------------------------------------------------------------------

    def join(self, device, out, cid):
        """From now on packets for other CIDs go out through `out`, and ours is `cid`."""
        self.alone = False
        self.device = device
        self.out = out
        self.rename(cid)
        self.warn(0)

    def part(self, error):
        """There is no device any more: what went through it ends with `error`; listeners stay."""
        self.device = self.out = None
        self.rename(w.CID_LOCAL)
        self.lose(error)

    def rename(self, cid):
        """Our CID is `cid`."""
        self.cid = cid
        self.loopback.receiver.serve(cid, w.CID_LOCAL)

    @micropython.native
    def lose(self, error):
        """The device lost its connections (5.10.6.8) or broke: they are gone, listeners stay.

        So are those of the loopback under a CID that was ours: nothing reaches them any more.
        """
        self.table.each(self._lose, error)

    @micropython.native
    def _lose(self, conn, error):
        if conn.out is not self.loopback or not self.is_local(conn.block[w.SRC_CID]):
            control.lose(conn.at, error)
            self.after(conn, w.EV_CLOSED)

    @micropython.native
    def warn(self, error):
        """Who waits for connections or messages from the device hears `error`, once; 0: nobody
        any more."""
        _warn(self.listeners, error)
        if self.datagrams is not None:
            _warn(self.datagrams.ports, error)

    def have_datagrams(self):
        """From now on packets of their type find datagram ports, and are never answered."""
        from .datagram import Datagrams

        if self.datagrams is None:
            self.datagrams = Datagrams(self.automatic)

    # -- ports ------------------------------------------------------------------------------------

    def deaf(self):
        """Whether the device takes nothing of what is sent."""
        return self.device is not None and self.device.deaf()

    def bind(self, cid, port):
        """Occupy a port, or with CID_ANY as `port` a free one; returns its number."""
        if port == w.CID_ANY:
            port = self.automatic.unused(self.ports)
        holders = self.ports.setdefault(port, [])
        if w.CID_ANY in holders or cid in holders or (holders and cid == w.CID_ANY):
            raise OSError(errnos.EADDRINUSE)
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
            control.fail(conn.at, 0)
            conn.close()

    # -- connections ------------------------------------------------------------------------------

    @micropython.native
    def is_local(self, cid):
        """True if that CID is this guest itself. Where there never was a device the host is, too:
        so it is on Linux, whose loopback then takes what is for the host."""
        if cid == w.CID_LOCAL or (cid == self.cid and self.device is not None):
            return True
        return cid == w.CID_HOST and self.alone

    @micropython.native
    def open(self, local_cid, local_port, peer_cid, peer_port, kind, buf_alloc):
        """A new FRESH Connection in the table; None: there is no room for it.

        `buf_alloc` is the window that it should have; the one that it gets may be smaller.
        """
        block = control.control_block(local_cid, local_port, peer_cid, peer_port, kind, buf_alloc)
        out = self.loopback if self.is_local(peer_cid) else self.out
        conn = Connection(self, out, block)
        if not self.table.add(conn):
            if not self.table.full or not self.lingering:
                return None
            self._give_up(self.lingering[0])
            if not self.table.add(conn):
                return None
        if not self.budget.begin(conn.at):
            self.table.remove(conn)
            return None
        return conn

    @micropython.native
    def remove(self, conn):
        """Take a connection out of the table; its queue may still be read."""
        if conn.key is None:
            return
        self.table.remove(conn)
        self.budget.left_table(conn.at)
        if conn.deadline is not None:
            self.lingering.remove(conn)
            conn.deadline = None
        if self.late and conn.looked is not None:
            self._forget(conn)
        if conn.holder is not None:
            self.unbind(*conn.holder)

    @micropython.native
    def after(self, conn, events):
        """Do what follows from the events of a connection: answer, remove, wake."""
        block = conn.block
        events |= block[w.EVENTS]
        block[w.EVENTS] = 0
        if events & w.EV_GROW:
            self.budget.grow(conn.at, self.window_limit)
            conn.stalled = None  # it asks: its peer is there
        if block[w.OWED]:
            conn.out.settle_debts(conn)
            conn.out.publish()
        if events & w.EV_CLOSED:
            self.remove(conn)
        if events:
            conn.notify()

    @micropython.native
    def linger(self, conn):
        """The program closed it: give the peer a while to end it too."""
        if conn.key is None:
            if conn.block[w.PLEDGE]:
                self.budget.closed(conn.at, 0)
            return
        if conn.deadline is not None:
            return
        self.budget.closed(conn.at, LEAST)
        shut = conn.block[w.SHUT]
        wait = _FLUSH_MS if shut & w.SHUT_PEER == w.SHUT_PEER else _CLOSE_MS
        conn.deadline = deadline = ticks_add(ticks_ms(), wait)
        if not (self.lingering or self.late) or ticks_diff(deadline, self._soonest) < 0:
            self._soonest = deadline
        self.lingering.append(conn)
        if len(self.lingering) > self.budget.lingering:
            self._give_up(self.lingering[0])

    @micropython.native
    def _give_up(self, conn):
        """Reset a connection that lingers."""
        control.fail(conn.at, 0)
        self.after(conn, w.EV_CLOSED)

    @micropython.native
    def mind(self, conn):
        """If the peer of a late sender has shut both directions: progress from now on, or an end.

        Nobody would ever tell us that such a peer is gone.
        """
        if conn.looked is None and conn.patience and control.shut_late(conn.at):
            now = ticks_ms()
            conn.moved = conn.progress()
            conn.looked = ticks_add(now, conn.patience)
            self.late.append(conn)
            self._soonest = now

    @micropython.native
    def _forget(self, conn):
        """It is no late sender any more."""
        conn.looked = None
        if conn in self.late:  # it is not if there was no memory for that
            self.late.remove(conn)

    @micropython.native
    def expire(self):
        """Reset connections whose peers did not answer, or take what is sent, in time."""
        now = ticks_ms()
        for conn in list(self.lingering):  # a copy: packets that come meanwhile change it
            deadline = conn.deadline
            if deadline is not None and ticks_diff(deadline, now) <= 0:
                self._give_up(conn)
        for conn in list(self.late):
            if conn.looked is not None and ticks_diff(conn.looked, now) <= 0:
                self._look(conn, now)
        soonest = ticks_add(now, _LOOK_MS)
        for conn in self.lingering:
            if ticks_diff(conn.deadline, soonest) < 0:
                soonest = conn.deadline
        for conn in self.late:
            if ticks_diff(conn.looked, soonest) < 0:
                soonest = conn.looked
        self._soonest = soonest

    @micropython.native
    def _look(self, conn, now):
        """See whether a late sender came on since the last time; if it could not, end it."""
        block = conn.block
        if not conn.patience:
            self._forget(conn)
            return
        moved = conn.progress()
        waits = block[w.WANTED] or block[w.TX_CNT] != block[w.PEER_FWD]
        if waits and moved == conn.moved:
            control.fail(conn.at, errnos.ETIMEDOUT)
            self.after(conn, w.EV_CLOSED)
        else:
            conn.moved = moved
            conn.looked = ticks_add(now, conn.patience)

    def look_for_stalled(self):
        """Note which connections hold unread bytes and have not moved since the last look.

        For a program that serves strangers, some of whom may be gone: see `end_stalled`. A peer
        that asks for room counts as one that moves. Returns in how many looks in a row the most
        stalled connection has not.
        """
        self._stalled = 0
        self.table.each(self._look_for_stalled, None)
        return self._stalled

    @micropython.native
    def _look_for_stalled(self, conn, _):
        block = conn.block
        moved = conn.progress() + block[w.RX_CNT]
        if block[w.RX_CNT] == block[w.READ_CNT] or moved != conn.stalled:
            conn.stalled = moved
            conn.looks = 0
        else:
            conn.looks += 1
            self._stalled = max(self._stalled, conn.looks)

    def end_stalled(self, looks):
        """End the connections that have not moved in so many looks, and have not since."""
        self.table.each(self._end_stalled, looks)

    @micropython.native
    def _end_stalled(self, conn, looks):
        block = conn.block
        if conn.looks >= looks and conn.progress() + block[w.RX_CNT] == conn.stalled:
            control.fail(conn.at, errnos.ENOBUFS)
            self.after(conn, w.EV_CLOSED)

    @micropython.native
    def next_expiry(self):
        """Milliseconds until `expire` may have something to do; None if it never will."""
        if not self.lingering and not self.late:
            return None
        return max(0, ticks_diff(self._soonest, ticks_ms()))

    # -- packets ----------------------------------------------------------------------------------

    @micropython.native
    def control(self, header, out):
        """A packet without data, or for no connection; `header` is our own copy of it.

        `out` is the way to whoever sent it.
        """
        op = header[w.TYPE_OP] >> w.OP_SHIFT
        packet_type = header[w.TYPE_OP] & w.TYPE_MASK
        conn = self.table.find(header, out)
        if conn is not None and conn.block[w.TYPE_OP] & w.TYPE_MASK == packet_type:
            if op != w.OP_REQUEST or not self._finished(conn):
                alloc = header[w.BUF_ALLOC]
                fwd = header[w.FWD_CNT]
                self.after(conn, control.on_control(conn.at, op, header[w.FLAGS], alloc, fwd))
                if op == w.OP_SHUTDOWN and conn.block[w.OPTIONS] & w.OPT_LATE_SEND:
                    self.mind(conn)
                return
            # A new connection from a port whose last one has ended on that side.
            control.drop(conn.at, 0)
            self.after(conn, 0)
            conn = None
        if op == w.OP_RST or op == w.OP_INVALID:
            return
        # A connection that is still here is of the other type: Linux refuses that too.
        if conn is not None or op != w.OP_REQUEST or not self._request(header, packet_type):
            self._refuse(header, packet_type, out)

    @micropython.native
    def _finished(self, conn):
        block = conn.block
        both = block[w.SHUT] & w.SHUT_PEER == w.SHUT_PEER
        return block[w.STATE] >= w.CLOSING or both

    @micropython.native
    def _request(self, header, packet_type):
        """A peer asks for a connection; False refuses it."""
        cid = header[w.DST_CID]
        port = header[w.DST_PORT]
        for listener in self.listeners.get(port, ()):
            if listener.cid == w.CID_ANY or listener.cid == cid:
                break
        else:
            return False
        kind = listener.kind
        pending = listener.pending
        backlog = min(listener.backlog, self.budget.pending)
        if kind.packet_type != packet_type or len(pending) > backlog:
            return False
        size = listener.options.size
        conn = None
        try:
            port = header[w.SRC_PORT]
            conn = self.open(cid, header[w.DST_PORT], header[w.SRC_CID], port, kind, size)
            if conn is not None:
                pending.append(conn)
        except MemoryError:
            if conn is not None:
                self.remove(conn)
                conn = None
        if conn is None:
            self.refused += 1
            listener.notify()  # its program may know what to give up
            return False
        listener.options.apply(conn)
        control.accept(conn.at, header[w.BUF_ALLOC], header[w.FWD_CNT])
        conn.flush()
        listener.notify()
        return True

    @micropython.native
    def _refuse(self, header, packet_type, out):
        """RST to a packet for nobody (5.10.6.6.1), if there is room for it."""
        if not out.free():
            out.reap()
            if not out.free():
                return
        reset = self._reset
        reset[w.SRC_CID] = header[w.DST_CID]
        reset[w.DST_CID] = header[w.SRC_CID]
        reset[w.SRC_PORT] = header[w.DST_PORT]
        reset[w.DST_PORT] = header[w.SRC_PORT]
        reset[w.TYPE_OP] = packet_type | w.OP_RST << w.OP_SHIFT
        out.copy(addressof(reset), 0, 0)
        out.publish()

    @micropython.native
    def starve(self, conn):
        """`conn` would send but the transmit ring is full: tell it when the device took some."""
        if conn not in self.starved:
            self.starved.append(conn)
        if self.device is not None and self.device.sending_done():
            self.device.reap()

    @micropython.native
    def room_again(self):
        """The device gave slots back (Transmitter.reap): who watches to send may go on."""
        starved = self.starved
        self.starved = self._fed
        self._fed = starved
        for conn in starved:
            conn.notify()
        starved.clear()


@micropython.native
def _warn(ports, error):
    """Tell everybody in lists by port who does not wait for this guest alone."""
    for waiting in ports.values():
        for each in waiting:
            if each.cid != w.CID_LOCAL:
                each.error = error
                if error:
                    each.notify()
