# SPDX-License-Identifier: MIT
"""One guest: its two queues, and the connections that go through them.

    from the guest   `take`: a chain -> its header, copied once -> the connection, or who is
                     dialled, or another guest
    to the guest     `serve`: connections that have something to say wait in `ready`, each for one
                     packet at a time; answers that belong to none, and other guests' packets,
                     go first

A queue whose driver breaks the rules stops, and the reason is told; nobody else notices. `tap` is
shown every packet of either direction.
"""

import os
import socket
import time
from array import array
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

from mpfw.device import loop as loops
from mpfw.device.chains import behind, cut, data_of, lay, scatter
from mpfw.device.firmware import control, packet, table, types_
from mpfw.device.firmware import vsock as w
from mpfw.device.loop import Loop
from mpfw.device.mailbox import Mailbox
from mpfw.device.memory import MemoryFault
from mpfw.device.messages import Messages
from mpfw.device.packets import RX, TX
from mpfw.device.plain import Plain, reset_for
from mpfw.device.programs import connecting
from mpfw.device.rings import Chain, Ring, RingError
from mpfw.device.stream import Stream
from mpfw.device.vhost_user import F_EVENT_IDX

TO_GUEST, FROM_GUEST = 0, 1  # directions that `tap` is told

F_VERSION_1 = 1 << 32  # virtio 1.2, chapter 6
F_INDIRECT_DESC = 1 << 28
FEATURES = F_VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX | w.F_STREAM | w.F_SEQPACKET

_HEADER = w.HEADER_LEN
_NOTHING: list[memoryview] = []
_EVENTS = loops.IN | loops.RDHUP | loops.EDGE
_BATCH = 64  # packets before the others have a turn
_MUCH = 1 << 18  # bytes that the guest should begin to read while more is made
_MOST_CONNECTIONS = 1 << 16
_MOST_ANSWERS = 256  # that belong to no connection; beyond that, the guest is to read first
_MOST_PASSED = 16 << 20  # bytes of other guests' packets that wait
_FIRST_PORT, _LAST_PORT = 1 << 30, (1 << 31) - 1  # what programs call from
_LATE = 0.005  # s until a guest hears of credit that was not worth a packet, or is asked for some
_LATEST = 1.0
_CLOSE = 8.0  # s that a guest may take to answer a close; Linux's too
_FOREIGN = "the source is not the guest's CID"  # why packets are dropped, besides PacketErrors
_NO_CID = "nobody has that CID"
_MASKED = (
    "its driver has not taken the datagrams that it was offered: it knows none, or QEMU hides"
    " them, as vhost-user-vsock-pci does (docs/device.md)"
)
_TYPES = {each.packet_type: each for each in (types_.STREAM, types_.SEQPACKET)}
_CLASSES = {w.TYPE_STREAM: Stream, w.TYPE_SEQPACKET: Messages}

Tap = Callable[[int, memoryview, list[memoryview]], None]


class Outside(Protocol):
    """Who the guest's packets for others than this wire's connections go to."""

    def dial(self, wire: "Wire", port: int, packet_type: int) -> Any:
        """A socket of the program that listens to the guest's calls to CID 2, `port`; None if
        there is none."""

    def pass_on(self, wire: "Wire", words: "array[int]", data: list[memoryview]) -> bool:
        """Hand a packet, whose header is `words`, to the guest that it is for; False: nobody has
        that CID, as far as this guest may know."""

    def gone(self, wire: "Wire") -> None:
        """The guest's driver has gone, or is another one now."""

    def log(self, wire: "Wire", what: str) -> None:
        """Tell the user."""


class Wire:
    """One guest's end of the device; what vhost_user.Served describes."""

    def __init__(
        self, cid: int, loop: Loop, outside: Outside, window: int, datagrams: bool = False
    ):
        """`window`: bytes that each connection offers its guest; `datagrams`: offer them, too."""
        self.features = FEATURES | (w.F_DGRAM if datagrams else 0)
        self.cid = cid
        self.loop = loop
        self.window = window
        self.config = cid.to_bytes(8, "little")
        self.accepted = 0  # features, by the driver
        self.tap: Tap | None = None  # direction, header, data: every packet, as it passes
        self.ready: deque[Any] = deque()  # Streams and the Mailbox
        self.mail = Mailbox(self, lambda line: outside.log(self, line))
        self.table = table.Table(_MOST_CONNECTIONS)
        self.drops: Counter[str] = Counter()  # packets that went nowhere, by reason
        self._outside = outside
        self._rx: Ring | None = None
        self._tx: Ring | None = None
        self._words = array("I", bytes(_HEADER))  # the header of the guest's packet
        self._bytes = memoryview(self._words).cast("B")
        self._last: Any = None  # whose the last packet was: often the next one's too
        self._plain: deque[Plain] = deque()  # answers and other guests' packets
        self._passed = 0  # bytes of those that come from other guests
        self._paused = False  # the guest is to take answers before it sends more
        self._serving = False  # `serve` comes soon
        self._next_port = _FIRST_PORT
        self._probe = array("I", bytes(_HEADER))  # a header to look for
        self._probe[w.SRC_CID] = cid
        self._ran = False
        self._late: dict[Stream, None] = {}  # in their order
        self._wait = 0.0  # s until `_tick`; 0: it does not come
        self._ticks = 0
        self._lingering: deque[tuple[float, Stream]] = deque()  # until when
        self._minding = False  # `_mind` comes

    def __repr__(self) -> str:
        return f"guest {self.cid}"

    # -- what vhost_user.Served asks --------------------------------------------------------------

    def accept(self, features: int) -> None:
        self.accepted = features

    @property
    def running(self) -> bool:
        """Whether the guest's driver has started both queues."""
        return self._rx is not None and self._tx is not None

    @property
    def known(self) -> bool:
        """Whether it runs or did: it may have been stopped, or its driver may begin anew.

        As with Linux connections outlive both. A driver that knows nothing of one resets it.
        """
        return self.running or self._ran

    def start_ring(self, index: int, ring: Ring) -> None:
        if index not in (RX, TX):
            return
        ring.reuses = True
        if index == RX:
            self._rx = ring
            self.loop.add(ring.kick, loops.IN | loops.EDGE, self._posted)
            self.serve_soon()
        else:
            self._tx = ring
            if self.features & w.F_DGRAM and not self.mail.works:
                self._outside.log(self, _MASKED)
            self.loop.add(ring.kick, loops.IN | loops.EDGE, self.take)
            self.loop.soon(self.take)

    def stop_ring(self, index: int) -> None:
        ring = self._rx if index == RX else self._tx
        if index not in (RX, TX) or ring is None:
            return
        self.loop.remove(ring.kick)
        self._ran = True
        if index == RX:
            self._rx = None
        else:
            self._tx = None

    def leave(self) -> None:
        """QEMU has gone."""
        self._ran = False
        self.lose()

    def lose(self) -> None:
        """All connections end: the guest knows nothing of them any more."""
        streams: list[Stream] = []
        if self.table.count:
            self.table.each(lambda stream, _: streams.append(stream), None)
        for stream in streams:
            stream.lose()
        self._plain.clear()
        self.mail.clear()
        self._passed = 0
        self._paused = False
        self._outside.gone(self)

    # -- from the guest ---------------------------------------------------------------------------

    def take(self, _events: int = 0) -> None:
        """Take what the guest sends, for a while."""
        ring = self._tx
        if ring is None or self._paused:
            return
        more, taken = True, 0
        try:
            while taken < _BATCH:
                if len(self._plain) >= _MOST_ANSWERS:
                    self._paused = True
                    break
                chain = ring.pop()
                if chain is not None:
                    self._packet(chain)
                    ring.put(chain.head, 0)
                    taken += 1
                elif not ring.ask():
                    more = False
                    break
            if taken:
                ring.publish()
        except (RingError, MemoryFault) as error:
            self._stop(TX, error)
            return
        if more and not self._paused:
            self.loop.soon(self.take)

    def _packet(self, chain: Chain) -> None:
        try:
            views = self._read(chain)
        except packet.PacketError as error:
            self.drops[type(error).__name__] += 1
            return
        if self.tap is not None:
            self.tap(FROM_GUEST, self._bytes, views)
        h = self._words
        if h[w.SRC_CID] != self.cid or h[w.SRC_CID_HIGH] or h[w.DST_CID_HIGH]:
            self.drops[_FOREIGN] += 1
            return
        if h[w.DST_CID] != w.CID_HOST:
            if not self._outside.pass_on(self, h, views):
                self.drops[_NO_CID] += 1
            return
        stream = self._last
        if (
            stream is None
            or stream.block[w.SRC_PORT] != h[w.DST_PORT]
            or stream.block[w.DST_PORT] != h[w.SRC_PORT]
        ):
            stream = self._last = self.table.find(h, self)
        type_op = h[w.TYPE_OP]
        op = type_op >> w.OP_SHIFT
        if stream is None or (stream.block[w.TYPE_OP] ^ type_op) & w.TYPE_MASK:
            self._stray(stream, op, views)
        elif op == w.OP_RW and views:
            stream.take(views, h[w.LEN], h[w.FLAGS], h[w.BUF_ALLOC], h[w.FWD_CNT])
        elif op == w.OP_REQUEST:
            stream.lose()  # the guest has ended it, or has begun anew and knows nothing of it
            self._stray(None, op, views)
        else:
            stream.hear(op, h[w.FLAGS], h[w.BUF_ALLOC], h[w.FWD_CNT])

    def _read(self, chain: Chain) -> list[memoryview]:
        """Copy the header, once: it may change meanwhile. Returns the data. Raises PacketError."""
        note = chain.note or self._look_at(chain)
        if note is None:
            found = packet.Packet.from_tx_chain(chain.buffers)
            self._bytes[:] = found.header
            return list(found.data)
        front, there, views = note
        self._bytes[:] = front
        n = self._words[w.LEN]
        if not n:
            return _NOTHING
        if n > w.MAX_DATA:
            raise packet.DataTooLong(f"len {n}")
        if n > there:
            raise packet.DataTooShort(f"len {n}, came {there}")
        return views if n == there else cut(views, n)

    def _look_at(self, chain: Chain) -> Any:
        """What `chain.note` is of the guest's chain: the header, how much data, where they are;
        None if it is of a rare shape. Raises PacketError."""
        buffers = chain.buffers
        first, writes = buffers[0]
        if writes or len(first) < _HEADER or len(buffers) > 2:
            return None
        views = [first[_HEADER:]] if len(first) > _HEADER else []
        if len(buffers) == 2:
            view, writes = buffers[1]
            if writes:
                raise packet.UnreadableDescriptor("the second one")
            views.append(view)
        chain.note = first[:_HEADER], sum(map(len, views)), views
        return chain.note

    def _stray(self, stream: Stream | None, op: int, views: list[memoryview]) -> None:
        """A packet for no connection, or of another type than its connection."""
        h = self._words
        packet_type = h[w.TYPE_OP] & w.TYPE_MASK
        if packet_type == w.TYPE_DGRAM and self.mail.works:
            self.mail.send(h, views, None)
            return
        if packet_type not in _TYPES:
            self.drops[packet.UnknownType.__name__] += 1
        if op in (w.OP_RST, w.OP_INVALID):
            return
        if op == w.OP_REQUEST and stream is None and packet_type in _TYPES:
            connection = self._outside.dial(self, h[w.DST_PORT], packet_type)
            if connection is not None and connecting(connection):
                self._await(connection, array("I", h))
                return
            if connection is not None and self._answer(connection, h):
                return
        self.refuse(h)

    def _await(self, connection: socket.socket, words: "array[int]") -> None:
        """Answer the guest's REQUEST, whose header is `words`, when the host has answered ours."""

        def done(_: int) -> None:
            self.loop.remove(connection.fileno())
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not self.known:
                connection.close()
                self.refuse(words)
            elif not self._answer(connection, words):
                self.refuse(words)

        self.loop.add(connection.fileno(), loops.OUT, done)

    def _answer(self, connection: socket.socket, words: "array[int]") -> bool:
        """Take the guest's call for a program; False: there are too many connections."""
        packet_type = words[w.TYPE_OP] & w.TYPE_MASK
        ports = words[w.DST_PORT], words[w.SRC_PORT]
        stream = self._open(connection, *ports, packet_type, False)
        if stream is None:
            connection.close()
            return False
        self._hear(stream, connection)
        stream.answer(words[w.BUF_ALLOC], words[w.FWD_CNT])
        return True

    def refuse(self, words: "array[int]") -> None:
        """RST to a packet of the guest's, whose header is `words`."""
        self._plain.append(reset_for(words))
        self.serve_soon()

    # -- connections ------------------------------------------------------------------------------

    def call(self, connection: Any, port: int, packet_type: int, readable: bool) -> bool:
        """A program, whose socket the loop knows, wants to reach the guest's `port`; False: it
        cannot. `readable`: it has already written more."""
        if not self.known:
            return False
        stream = self._open(connection, self._free_port(port), port, packet_type, readable)
        if stream is None:
            return False
        stream.call()
        self.serve()  # the guest can answer while we go on
        self._hear(stream, connection)
        return True

    def _open(
        self, connection: Any, port: int, peer: int, packet_type: int, readable: bool
    ) -> Stream | None:
        kind = _TYPES[packet_type]
        block = control.control_block(w.CID_HOST, port, self.cid, peer, kind, self.window)
        block[w.OPTIONS] = w.OPT_FIXED_WINDOW | w.OPT_SHUTDOWN_ONCE
        block[w.SEND_LIMIT] = 0xFFFFFFFF  # the program's socket is the buffer
        stream = _CLASSES[packet_type](self, block, connection, readable)
        return stream if self.table.add(stream) else None

    def _hear(self, stream: Stream, connection: Any) -> None:
        """From now on a program's socket is its stream's."""
        if stream.key is None:
            return  # it has ended already
        # As much again as the window lies in the socket, and the longest message has room there.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.window)
        if self.loop.knows(connection.fileno()):
            self.loop.hand_over(connection.fileno(), stream.happened)
        else:
            self.loop.add(connection.fileno(), _EVENTS, stream.happened)

    def _free_port(self, peer: int) -> int:
        """A port of the host's that no connection with the guest's port `peer` has."""
        probe = self._probe
        probe[w.SRC_PORT] = peer
        while True:
            port = self._next_port
            self._next_port = port + 1 if port < _LAST_PORT else _FIRST_PORT
            probe[w.DST_PORT] = port
            if self.table.find(probe, self) is None:
                return port

    def forget(self, stream: Stream) -> None:
        """A connection has ended; what it owes still goes out."""
        if stream.key is not None:
            self.table.remove(stream)
        if self._last is stream:
            self._last = None

    def linger(self, stream: Stream) -> None:
        """A program has closed its connection: give the guest a while to end it, too."""
        waiting = self._lingering
        while waiting and waiting[0][1].key is None:
            waiting.popleft()
        waiting.append((time.monotonic() + _CLOSE, stream))
        if not self._minding:
            self._minding = True
            self.loop.after(_CLOSE, self._mind)

    def _mind(self) -> None:
        """Reset what the guest has not ended in time."""
        self._minding = False
        now, waiting = time.monotonic(), self._lingering
        while waiting and (waiting[0][0] <= now or waiting[0][1].key is None):
            stream = waiting.popleft()[1]
            if stream.key is not None:
                stream.reset()
        if waiting:
            self._minding = True
            self.loop.after(waiting[0][0] - now, self._mind)

    def owe_later(self, stream: Stream) -> None:
        """The guest is to hear of a connection's credit, or to tell its own, if nothing else
        happens."""
        if not stream.late:
            stream.late = True
            self._late[stream] = None
        if not self._wait or self._wait > _LATE:
            self._wait = _LATE
            self._set_tick()

    def _set_tick(self) -> None:
        self._ticks += 1
        ours = self._ticks
        self.loop.after(self._wait, lambda: self._tick(ours))

    def _tick(self, number: int) -> None:
        if number != self._ticks:
            return  # an earlier one has been set meanwhile
        late, self._late = self._late, {}
        wait, self._wait = self._wait, 0.0
        for stream in late:
            stream.late = False
            if stream.tell():
                stream.late = True
                self._late[stream] = None
        if self._late:
            # Who waits for room asks again, less and less often.
            self._wait = min(_LATEST, 2 * wait)
            self._set_tick()

    # -- to the guest -----------------------------------------------------------------------------

    def want(self, stream: "Stream | Mailbox") -> None:
        """A connection has something to say, or there are datagrams."""
        if not stream.queued:
            stream.queued = True
            self.ready.append(stream)
            if not self._serving:
                self._serving = True
                self.loop.soon(self.serve)

    def _posted(self, _events: int) -> None:
        """The guest has receive buffers again."""
        if self.ready or self._plain:
            self.serve_soon()

    def serve_soon(self) -> None:
        """Have `serve` called before the loop waits."""
        if not self._serving:
            self._serving = True
            self.loop.soon(self.serve)

    def receive(self, header: "array[int]", data: bytes) -> bool:
        """Another guest's packet; False: too much waits already, or nobody is there."""
        if not self.running or self._passed + len(data) > _MOST_PASSED:
            return False
        self._passed += len(data)
        self._plain.append(Plain(header, memoryview(data)))
        self.serve_soon()
        return True

    def serve(self) -> None:
        """Fill the buffers that the guest has posted, for a while."""
        self._serving = False
        ring = self._rx
        if ring is None or not (self.ready or self._plain):
            return
        try:
            if self._fill(ring):
                self.serve_soon()
        except (RingError, MemoryFault) as error:
            self._stop(RX, error)

    def _fill(self, ring: Ring) -> bool:
        """True: there may be more to say, and room for it."""
        hidden = 0  # bytes that were put and are not yet shown
        for _ in range(_BATCH):
            if not (self.ready or self._plain):
                more = False
                break
            chain = ring.pop()
            if chain is None:
                if ring.ask():
                    continue
                more = False
                break
            n = self._next(chain)
            if not n:
                ring.leave()
                continue
            ring.put(chain.head, n)
            hidden += n
            if hidden >= _MUCH:
                ring.publish()
                hidden = 0
        else:
            more = True
        if hidden:
            ring.publish()
        return more

    def _next(self, chain: Chain) -> int:
        """Lay the next packet into a chain: its bytes, or 0 if it came to nothing."""
        if self._plain:
            return self._lay_plain(chain)
        stream = self.ready[0]
        n: int = stream.fill(chain)
        if not n or not stream.pending:
            self.ready.popleft()
            stream.queued = False
        elif len(self.ready) > 1:
            self.ready.rotate(-1)
        if n and self.tap is not None:
            self.tap(TO_GUEST, stream.header, data_of(chain, n))
        return n

    def _lay_plain(self, chain: Chain) -> int:
        """Data that are longer than the guest's buffer go in pieces, as all vsock's may."""
        first = self._plain[0]
        room = chain.room - _HEADER
        if room <= 0 and first.data:
            raise RingError(f"a receive buffer of {chain.room} bytes")
        header, data = first.piece(room)
        n = lay(chain, header)
        if data:
            scatter(behind(chain, _HEADER), data)
            self._passed -= len(data)
        if not first.data:
            self._plain.popleft()
        if self.tap is not None:
            self.tap(TO_GUEST, header, [data] if data else [])
        if self._paused and len(self._plain) < _MOST_ANSWERS // 2:
            self._paused = False
            self.loop.soon(self.take)
        return n + len(data)

    # -- a driver that breaks the rules -----------------------------------------------------------

    def _stop(self, index: int, error: Exception) -> None:
        """Serve a queue no more: its driver has broken it."""
        name = "receive" if index == RX else "transmit"
        self._outside.log(self, f"its {name} queue is broken and stops: {error}")
        ring = self._rx if index == RX else self._tx
        self.stop_ring(index)
        self._ran = False
        if ring is not None and ring.err >= 0:
            os.eventfd_write(ring.err, 1)
        self.lose()
