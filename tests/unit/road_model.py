# SPDX-License-Identifier: MIT
"""What a guest must do with packets and with what its programs ask: in plain integers and lists.

`Line` is one connection at the guest's end, `Guest` has them all, the listeners, the memory for
received bytes and what went out. Written from the specification (virtio 1.2, 5.10), from Linux's
behaviour and from the rules that the modules' docstrings give, not from their code: no layout, no
masks, no fast paths.
"""

from dataclasses import dataclass, field
from errno import (
    EAGAIN,
    ECONNRESET,
    EMSGSIZE,
    ENOBUFS,
    ENOTCONN,
    EPIPE,
    EPROTO,
    ETIMEDOUT,
)

import vsock_bench

w = vsock_bench.module("vsock.words")

M32 = 0xFFFFFFFF
STREAM, SEQPACKET = w.TYPE_STREAM, w.TYPE_SEQPACKET
RCV, SEND, BOTH = w.SHUTDOWN_RCV, w.SHUTDOWN_SEND, w.SHUTDOWN_BOTH
COPYBREAK, LARGEST = w.COPYBREAK, w.MAX_DATA
SIZE = 262144  # a socket's buffer if nobody says otherwise, and a step of growth
WIDE = w.WIDE
WIDEST = 16 << 20
CLOSE_MS, FLUSH_MS, CONNECT_MS = 8000, 500, 2000

# Control packets in the order in which they go out.
ORDER = (
    w.OP_RST,
    w.OP_REQUEST,
    w.OP_RESPONSE,
    w.OP_CREDIT_UPDATE,
    w.OP_CREDIT_REQUEST,
    w.OP_SHUTDOWN,
)


@dataclass
class Packet:
    """A packet's header and payload, either way."""

    key: tuple[int, int, int]  # the peer's CID and port, our port
    op: int
    kind: int = STREAM
    flags: int = 0
    alloc: int = 0
    fwd: int = 0
    payload: bytes = b""


class Refusal(Exception):
    """An OSError that a program gets."""

    def __init__(self, errno):
        super().__init__(errno)
        self.errno = errno


@dataclass
class Piece:
    """Bytes of a packet in a receive queue; `large`: they lie in the buffer that they came in."""

    data: bytes
    flags: int
    large: bool


@dataclass
class Line:
    """One connection. Counters are those of the bytes since its beginning."""

    key: tuple[int, int, int]
    kind: int
    window: int
    fixed: bool  # the program chose the window
    once: bool  # the host hears SHUTDOWN at any time
    name: str | None = None  # of the socket that watches it
    state: str = "fresh"
    local: int = 0  # directions that the program closed, as SHUTDOWN's flags
    remote: int = 0  # directions that the peer closed
    lost: bool = False
    error: int = 0
    sent: int = 0
    peer_alloc: int = 0
    peer_fwd: int = 0
    wanted: bool = False  # somebody had not enough room to send
    got: int = 0
    read: int = 0
    said: int = 0  # what we say that was read: less, as long as a window's growth is held back
    heard: int = 0  # what the peer knows of it
    edge: int = 0  # the peer may send up to here
    pledge: int = 0  # blocks that its window may count on
    asked: tuple[int, int] | None = None
    owed: set[int] = field(default_factory=set)
    queue: list[Piece] = field(default_factory=list)
    unchecked: bool = False  # the program has not looked yet how its connect ended
    began: int = 0  # ms
    deadline: int = 0  # ms; when a closed one is given up

    def __post_init__(self):
        self.edge = self.window
        self.base = self.window
        self.limit = self.window  # SO_VM_SOCKETS_BUFFER_SIZE bounds sending, too

    @property
    def unread(self):
        return sum(len(each.data) for each in self.queue)

    @property
    def messages(self):
        return sum(bool(each.flags & w.SEQ_EOM) for each in self.queue)

    @property
    def borders(self):
        return w.SEQ_EOM | w.SEQ_EOR if self.kind == SEQPACKET else 0

    @property
    def over(self):
        """Nothing more will be queued."""
        return self.state == "closed" or self.local & RCV or self.remote & SEND

    @property
    def in_flight(self):
        return self.sent - self.peer_fwd & M32

    def room(self):
        """Bytes that may be sent; -EPIPE: never again."""
        if self.state != "established" or self.local & SEND or self.remote & RCV:
            return -EPIPE
        return max(0, min(self.peer_alloc, self.limit) - self.in_flight)

    # -- credit

    def told(self):
        """A header goes out: the peer hears of our credit."""
        self.heard = self.said
        self.owed.discard(w.OP_CREDIT_UPDATE)
        self.edge = max(self.edge, self.said + self.window)

    def consume(self, n):
        """`n` bytes leave the queue; whether the peer should hear now."""
        self.read += n
        self.said = max(self.said, self.read - (self.window - self.base))
        untold = self.said - self.heard
        if not untold or self.state != "established" or self.remote & SEND:
            return False
        known = max(0, self.window - (self.got - self.heard))
        emptied = self.got == self.read and self.peer_alloc < LARGEST
        large = untold >= self.window // 16
        if not emptied and (not large or (untold < self.window // 2 and known >= LARGEST)):
            return False
        self.owed.add(w.OP_CREDIT_UPDATE)
        return True

    def credit(self, alloc, fwd):
        """A packet brought the peer's credit; whether somebody waits for it."""
        if (alloc, fwd) == (self.peer_alloc, self.peer_fwd):
            return False
        self.peer_alloc, self.peer_fwd = alloc, fwd
        woken, self.wanted = self.wanted, False
        if fwd == self.sent & M32 and self.state != "closed":
            # It has all that we sent: an RST, or a SHUTDOWN that it ignored, may go out.
            woken |= self.settle()
            if self.state != "closed" and self.local & SEND and not self.once:
                self.owed.add(w.OP_SHUTDOWN)
        return woken

    # -- how it ends

    def end(self, error=None, rst=True):
        """It is closed; always news."""
        if error is not None:
            self.error = error
        self.state = "closed"
        self.remote = BOTH
        self.owed = {w.OP_RST} if rst else set()
        return True

    def settle(self):
        """Both ends closed both directions and have everything: RST. Whether it ended."""
        if self.remote != BOTH or self.state not in ("established", "closing"):
            return False
        if self.peer_fwd != self.sent & M32:
            self.owed.add(w.OP_CREDIT_REQUEST)
            return False
        if self.state == "established" and self.unread:
            return False
        return self.end()


@dataclass
class Listener:
    """A port that takes connections; `window` is what the program chose, or None."""

    kind: int
    backlog: int
    window: int | None
    pending: list
    name: str
    error: int = 0  # that accept tells once


class Guest:
    """A guest with one vsock device."""

    def __init__(self, cid, once, large, posted, blocks):
        """`large` receive buffers, of which `posted` are in the ring; blocks of 4 KiB."""
        self.cid = cid
        self.most = blocks // 3  # connections, for each of which there is a block
        self.promised = large
        self.blocks = blocks
        self.pool = blocks - large - self.most
        self.once = once
        self.now = 0  # ms
        self.lines: dict[tuple[int, int, int], Line] = {}  # the table
        self.listeners = {}  # port: Listener
        self.out = []  # packets that must have gone out
        self.woken = []  # names of sockets with news
        self.dropped = [0] * w.DROPS
        self.large = large
        self.kept = 0  # of them those that have bytes which programs have not read
        self.posted = posted
        self.lingering = []  # closed by programs, not yet by their peers

    @property
    def spare(self):
        return self.large - self.kept - self.posted

    # -- memory for windows

    @property
    def left(self):
        """Blocks that are left over. What a storm of tiny messages takes of them is not known."""
        return self.blocks - self.promised - (self.most - len(self.lines))

    def add(self, line):
        """A new connection: its window is what it asks for, or less."""
        self.lines[line.key] = line
        line.pledge = 1
        self.promised += 1
        if line.window > 4096:
            line.window = 4096 + self.more(line, line.window - 4096, 0)
            line.base = line.edge = line.window

    def more(self, line, step, leave):
        """Bytes that a window may grow by, up to `step`."""
        share = self.left // 8 // (2 if line.borders else 1)
        n = min(-(-step // 4096), share)
        if n <= 0 or self.left <= leave:
            return 0
        spans = n + (line.pledge == 1)  # bytes that begin somewhere in a block
        need = 2 * n + 3 * (line.pledge == 1) if line.borders else spans
        line.pledge += need
        self.promised += need
        return min(step, n * 4096)

    def release(self, line, keep):
        """Of what was promised, so many blocks are needed at most."""
        self.promised -= max(0, line.pledge - keep)
        line.pledge = min(line.pledge, keep)

    # -- what goes out, who hears

    def flush(self, line):
        """Send the control packets that are owed."""
        for op in ORDER:
            if op in line.owed:
                line.owed.discard(op)
                self.emit(line, op, line.local if op == w.OP_SHUTDOWN else 0)

    def emit(self, line, op, flags=0, payload=b""):
        line.told()
        packet = Packet(line.key, op, line.kind, flags, line.window, line.said & M32, payload)
        self.out.append(packet)

    def news(self, name):
        if name is not None and name not in self.woken:
            self.woken.append(name)

    def after(self, line, news):
        """What follows from news of a connection."""
        self.flush(line)
        if line.state == "closed":
            self.remove(line)
        if news:
            self.news(line.name)

    def remove(self, line: Line):
        if line in self.lingering:
            self.lingering.remove(line)
        if self.lines.get(line.key) is line:
            del self.lines[line.key]
            keep = line.pledge if line.borders else line.unread // 4096 + 2
            self.release(line, keep if line.unread else 0)

    # -- packets

    def receive(self, packet, length=None, used=None, dst=None, src_high=0, dst_high=0):
        """A packet came. True: it stays in its buffer.

        `length` is what its header says, `used` what the device says that it wrote, `dst` whom it
        is for, if that is not as it should be.
        """
        length = len(packet.payload) if length is None else length
        used = w.HEADER_LEN + len(packet.payload) if used is None else used
        why = 0
        if used < w.HEADER_LEN:
            why = w.DROP_SHORT
        elif packet.op == w.OP_INVALID:
            why = w.DROP_INVALID
        elif dst_high or (dst is not None and dst != self.cid):
            why = w.DROP_STRAY
        elif src_high or packet.key[0] in (self.cid, w.CID_HYPERVISOR, w.CID_LOCAL, w.CID_ANY):
            why = w.DROP_SENDER
        elif length > used - w.HEADER_LEN:
            why = w.DROP_LONG
        if why:
            self.dropped[why] += 1
            return False
        packet.payload = packet.payload[:length]
        line = self.lines.get(packet.key)
        if line is not None and line.kind == packet.kind:
            if packet.op == w.OP_REQUEST and (line.state == "closing" or line.remote == BOTH):
                line.end(0, rst=False)  # it is a new one, from a port that is done with this
                self.after(line, True)
                line = None
            elif packet.op == w.OP_RW and packet.payload:
                return self.data(line, packet)
            else:
                news = self.control(line, packet)
                self.after(line, news)
                return False
        if packet.op == w.OP_RST:
            return False
        if line is not None or packet.op != w.OP_REQUEST or not self.request(packet):
            self.out.append(Packet(packet.key, w.OP_RST, packet.kind))
        return False

    def control(self, line, packet):
        """A packet without data for a connection. Whether it is news."""
        connecting = line.state == "connecting"
        news = line.credit(packet.alloc, packet.fwd)
        if packet.op == w.OP_RST:
            line.end(ECONNRESET if connecting else None, rst=False)
            return True
        if line.state == "closed":
            return news
        if connecting:
            if packet.op == w.OP_RESPONSE:
                line.state = "established"
                return True
            return line.end(EPROTO)
        if packet.op == w.OP_SHUTDOWN:
            line.remote |= packet.flags & BOTH
            line.settle()
            return True
        if packet.op == w.OP_CREDIT_REQUEST:
            line.owed.add(w.OP_CREDIT_UPDATE)
            if line.got - line.said >= line.window and not line.fixed:
                moved = (line.read, line.peer_fwd)
                if moved == line.asked:
                    self.grow(line)
                    news = True
                line.asked = moved
        return news

    def grow(self, line):
        """The peer asks again, and nothing has moved: it is stuck."""
        more = min(SIZE, line.read - line.said)
        if more:
            line.said += more
        elif line.window + SIZE <= WIDEST:
            more = self.more(line, SIZE, self.pool // 2 // 4)
            if line.state == "established":
                line.window += more

    def data(self, line, packet):
        news = line.credit(packet.alloc, packet.fwd)
        n = len(packet.payload)
        kept = False
        if line.state == "connecting":
            news = line.end(EPROTO)
        elif line.state == "closed" or line.remote & SEND:
            pass
        elif line.got + n > line.edge:
            news = line.end(ENOBUFS)
        else:
            line.got += n
            if line.local & RCV:
                line.consume(n)
            else:
                kept = n > COPYBREAK and self.spare > 0
                self.kept += kept
                line.queue.append(Piece(packet.payload, packet.flags & line.borders, kept))
                news = True
        self.after(line, news)
        return kept

    def request(self, packet):
        """A peer asks for a connection; False: it is refused."""
        if packet.key[2] not in self.listeners:
            return False
        listener = self.listeners[packet.key[2]]
        kind, backlog, window = listener.kind, listener.backlog, listener.window
        pending, name = listener.pending, listener.name
        if kind != packet.kind or len(pending) > backlog:
            return False
        fixed = window is not None
        line = Line(packet.key, kind, window or SIZE, fixed, self.once, state="established")
        line.peer_alloc, line.peer_fwd = packet.alloc, packet.fwd
        self.add(line)
        pending.append(line)
        self.emit(line, w.OP_RESPONSE)
        self.news(name)
        return True

    # -- programs

    def connect(self, name, key, kind):
        line = Line(key, kind, SIZE, False, self.once, name, state="connecting")
        line.unchecked = True
        line.began = self.now
        self.add(line)
        self.emit(line, w.OP_REQUEST)
        return line

    def connecting(self, line):
        """The program looks how its connect has ended: [1], [0] not yet, or [-1, errno]."""
        if line.state == "connecting" and self.now - line.began < CONNECT_MS:
            return [0]
        line.unchecked = False
        if line.state == "connecting":
            line.end(ETIMEDOUT, rst=False)
        elif not line.error:
            return [1]
        self.remove(line)
        return [-1, line.error]

    def take(self, line, n):
        """The first `n` bytes of a receive queue."""
        data = b""
        while n:
            piece = line.queue[0]
            data += piece.data[:n]
            piece.data, n = piece.data[n:], n - min(n, len(piece.data))
            if not piece.data:
                self.kept -= piece.large
                line.queue.pop(0)
        return data

    def consume(self, line, n):
        """The program has read so much: what follows."""
        if line.consume(n):
            if line.base < WIDE and line.read // 4 >= line.base and not line.fixed:
                self.widen(line)
            self.flush(line)
        if line.remote == BOTH:
            self.after(line, line.settle())

    def widen(self, line):
        if line.base < SIZE:
            more = self.more(line, SIZE - line.base, 0)
        else:
            more = self.more(line, SIZE, self.pool // 2)
        line.window += more
        line.base += more

    def recv(self, line, want, peek=False):
        """What recv gives. Raises Refusal."""
        ready = line.messages if line.borders else line.unread
        if not ready:
            if line.over:
                self.ended(line)  # half a message is nothing to be read
                return b""
            self.tell(line)
            raise Refusal(EAGAIN)
        n = line.unread
        if line.borders:
            ends = [i for i, each in enumerate(line.queue) if each.flags & w.SEQ_EOM]
            n = sum(len(each.data) for each in line.queue[: ends[0] + 1])
        n, length = min(n, want), n
        if peek:
            return b"".join(each.data for each in line.queue)[:n]
        data = self.take(line, length if line.borders else n)
        self.consume(line, len(data))
        return data[:n]

    def ended(self, line):
        """Nothing is left to read. Raises what there is to say about that."""
        error = line.error
        if line.lost:
            line.error = 0
            raise Refusal(error or ENOTCONN)
        if error:
            raise Refusal(error)

    def tell(self, line):
        """The program is about to wait: say what was read."""
        line.said = line.read
        if line.said != line.heard and line.state == "established" and not line.remote & SEND:
            line.owed.add(w.OP_CREDIT_UPDATE)
            self.flush(line)

    def send(self, line, data):
        """How much of it goes out. Raises Refusal."""
        room = line.room()
        whole = line.borders and len(data) > room
        line.wanted |= bool(line.borders or len(data) > room)
        if room < 0:
            if line.lost:
                self.ended_to(line)
            raise Refusal(EPIPE)
        if whole and room and len(data) > min(line.limit, line.peer_alloc):
            raise Refusal(EMSGSIZE)
        if whole or not room:
            raise Refusal(EAGAIN)
        data = data[:room]
        for at in range(0, len(data), LARGEST):
            part = data[at : at + LARGEST]
            last = at + LARGEST >= len(data)
            line.sent += len(part)
            self.emit(line, w.OP_RW, w.SEQ_EOM if line.borders and last else 0, part)
        return len(data)

    def ended_to(self, line):
        error, line.error = line.error, 0
        raise Refusal(error or ENOTCONN)

    def discard(self, line):
        n = line.unread
        self.take(line, n)
        if n and line.once:
            line.read += n
        elif n:
            line.consume(n)

    def shutdown(self, line, how):
        """shutdown; `how` as SHUTDOWN's flags. Raises Refusal."""
        if line.lost:
            raise Refusal(ENOTCONN)
        if line.local & how != how and line.state == "established":
            line.owed.add(w.OP_SHUTDOWN)
        line.local |= how
        if how & RCV:
            self.discard(line)
        line.settle()
        self.after(line, True)

    def close(self, line):
        """The program closes a connection."""
        line.name = None
        self.discard(line)
        self.release(line, 1 if self.lines.get(line.key) is line else 0)
        if line.state == "connecting":
            line.end(rst=False)
        elif line.state == "established":
            if line.local != BOTH and line.remote != BOTH:
                line.owed.add(w.OP_SHUTDOWN)
            elif line.remote == BOTH:
                line.owed.discard(w.OP_SHUTDOWN)
            line.local = BOTH
            line.state = "closing"
            line.settle()
        self.after(line, False)
        if line.state == "closing":
            line.deadline = self.now + (FLUSH_MS if line.remote == BOTH else CLOSE_MS)
            self.lingering.append(line)

    def stop_listening(self, port):
        for line in self.listeners.pop(port).pending:
            if line.state != "closed":
                line.end(0)
            self.discard(line)
            self.after(line, False)
            self.release(line, 0)

    def pass_time(self, ms):
        self.now += ms
        for line in list(self.lingering):
            if line.deadline <= self.now:
                line.end(0)
                self.after(line, False)

    def warn(self, error):
        """Who waits for connections hears that the device broke; 0: that it works."""
        for listener in self.listeners.values():
            listener.error = error
            if error:
                self.news(listener.name)

    def lose(self, error):
        """The device lost all connections."""
        for line in list(self.lines.values()):
            line.lost = True
            line.end(error, rst=False)
            self.remove(line)
            self.news(line.name)
