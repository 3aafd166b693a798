# SPDX-License-Identifier: MIT
"""One end of a connection with a model beside it, in plain integers that never wrap.

`End` calls the connection as the stack does. It knows what it was told to do and what went over
the link, and holds the connection to that after every step: `check()`.
"""

import vsock_bench
from vsock_bench import M32

wire = vsock_bench.module("packet")
life = vsock_bench.module("connection")

EPIPE = 32
STREAM, SEQPACKET = wire.TYPE_STREAM, wire.TYPE_SEQPACKET
RCV, SEND = life.SHUT_LOCAL_RCV, life.SHUT_LOCAL_SEND
PEER_BOTH = life.SHUT_PEER_RCV | life.SHUT_PEER_SEND


class End:
    """`sent`, `got`, `read`: bytes since the beginning, whatever the 32-bit counters say."""

    def __init__(self, port, window, kind=STREAM, tx=0, rx=0, options=0):
        """`tx`, `rx`: where the counters of sent and of received bytes begin."""
        self.block = c = life.control_block(33, port, 33, port ^ 1, kind, window)
        c[life.TX_CNT] = c[life.PEER_FWD] = tx
        for word in (life.RX_CNT, life.READ_CNT, life.FWD_CNT, life.FWD_SENT):
            c[word] = rx
        c[life.EDGE] = rx + window & M32
        c[life.OPTIONS] = options
        self.kind = kind
        self.tx, self.rx = tx, rx
        self.sent = self.got = self.read = 0
        self.gone = 0  # bytes of `got` that went to nobody: reading was shut
        self.queue = []  # [length, ends a message]
        self.told_fwd = 0  # the latest FWD_CNT on the wire, unwrapped
        self.told_edge = window  # the peer may send up to here
        self.heard = (0, tx)  # the peer's credit as its packets had it
        self.ops = []  # what went out, in order
        self.rst_came = False
        self.closed_events = 0
        self.memory = True  # windows may grow
        self.before = (0, 0, 0)

    # -- what the stack does

    def flush(self, most=99):
        """The control packets owed, as headers."""
        headers: list[list[int]] = []
        while len(headers) < most and life.next_owed(self.block):
            headers.append(self.header())
        return headers

    def header(self):
        """The header that goes out now; its credit becomes what the peer was told."""
        words = list(self.block[:11])
        op, n = words[7] >> 16, words[6]
        assert words[7] & 0xFFFF == self.kind and words[4] ^ 1 == words[5]
        assert n == 0 or op == wire.OP_RW
        assert wire.OP_RST not in self.ops, "something follows an RST"
        assert not (op == wire.OP_RST and self.rst_came), "an RST answers an RST"
        forward = words[10] - (self.rx + self.told_fwd) & M32
        assert forward <= self.read + self.gone - self.told_fwd, "unread bytes were given back"
        self.told_fwd += forward
        self.told_edge = max(self.told_edge, self.told_fwd + words[9])
        self.ops.append(op)
        return words

    def events(self, events):
        events |= self.block[life.EVENTS]
        self.block[life.EVENTS] = 0
        if events & life.EV_GROW and not life.release_reserve(self.block) and self.memory:
            life.grow(self.block)
        self.closed_events += bool(events & life.EV_CLOSED)
        assert self.closed_events <= 1
        assert (self.closed_events == 1) == (self.state == life.CLOSED)

    def take(self, op, n=0, flags=0, alloc=0, fwd=0):
        """A packet from the peer. True if its data was queued."""
        state, shut = self.state, self.block[life.SHUT]
        expected = life.ESTABLISHED if state == life.CONNECTING else state
        answers = self.block[life.OWED]
        if state != life.CLOSED and op != wire.OP_INVALID:
            self.heard = (alloc, fwd)
        kept = False
        events = 0
        if op == wire.OP_RW and n:
            result = life.admit(self.block, n, flags if self.kind == SEQPACKET else 0, alloc, fwd)
            assert result in (n, 0, -1)
            kept = result == n
            if kept:
                assert state == life.ESTABLISHED and not shut & life.SHUT_PEER_SEND
                assert not shut & RCV
                self.got += n
                self.queue.append([n, bool(flags & wire.SEQ_EOM)])
            elif result == 0 and self.listened_away(state, shut):
                self.got += n
                self.gone += n
        else:
            events = life.on_control(self.block, op, flags, alloc, fwd)
        self.rst_came |= op == wire.OP_RST and state != life.CLOSED
        if op == wire.OP_RST and state != life.CLOSED:
            assert self.state == life.CLOSED and self.block[life.OWED] == 0
        if state == life.CLOSED or op == wire.OP_INVALID:
            assert self.state == state and self.block[life.OWED] == answers
        if op == wire.OP_CREDIT_REQUEST and self.state == expected != life.CLOSED:
            assert self.block[life.OWED] & life.OWE_UPDATE, "a CREDIT_REQUEST without an answer"
        self.events(events)
        return kept

    @staticmethod
    def listened_away(state, shut):
        """Data counts as received and as forwarded, and nobody sees it."""
        live = state in (life.ESTABLISHED, life.CLOSING)
        return live and shut & RCV and not shut & life.SHUT_PEER_SEND

    # -- what a program does

    @property
    def state(self):
        return self.block[life.STATE]

    @property
    def unread(self):
        return sum(n for n, _ in self.queue)

    def room(self):
        return life.room(self.block)

    def send(self, n, flags=0):
        """A data packet's header, or None if there is no room."""
        n = min(n, self.room(), wire.MAX_DATA)
        if n <= 0:
            return None
        assert self.state == life.ESTABLISHED and not self.block[life.SHUT] & SEND
        life.send(self.block, n, flags)
        self.sent += n
        return self.header()

    def consume(self, n):
        life.consumed(self.block, n)
        self.read += n
        if self.block[life.SHUT] & PEER_BOTH == PEER_BOTH:
            self.events(life.settle(self.block))

    def receive(self, want):
        """Read up to `want` bytes, on seqpacket the first message if it is whole."""
        if self.kind == SEQPACKET:
            ends = [i for i, (_, end) in enumerate(self.queue) if end]
            if not ends:
                return
            n = sum(length for length, _ in self.queue[: ends[0] + 1])
            del self.queue[: ends[0] + 1]
            self.block[life.MESSAGES] -= 1
        else:
            n = left = min(want, self.unread)
            while left:
                part = min(left, self.queue[0][0])
                self.queue[0][0] -= part
                left -= part
                if not self.queue[0][0]:
                    self.queue.pop(0)
        if n:
            self.consume(n)

    def discard(self):
        n = self.unread
        self.queue.clear()
        self.block[life.MESSAGES] = 0
        life.consumed(self.block, n)
        self.read += n

    def shutdown(self, how):
        unread = life.shutdown(self.block, how)
        assert unread == (self.unread if how & RCV else 0)
        if unread:
            self.discard()
        self.events(life.settle(self.block))

    def close(self):
        if self.unread:
            self.discard()
        self.events(life.close(self.block))

    def resize(self, size):
        self.block[life.SEND_LIMIT] = size
        life.set_window(self.block, size)

    def ask_credit(self):
        if self.state == life.ESTABLISHED:
            self.block[life.OWED] |= life.OWE_CREDIT_REQUEST

    # -- what must hold

    def check(self):
        c = self.block
        state, shut = c[life.STATE], c[life.SHUT]
        last_state, last_shut, last_sent = self.before
        assert state >= last_state, "the state went back"
        assert shut & last_shut == last_shut, "a shutdown was forgotten"
        self.before = state, shut, self.sent
        # The counters are the model's, modulo 2**32.
        assert c[life.TX_CNT] == self.tx + self.sent & M32
        assert c[life.RX_CNT] == self.rx + self.got & M32
        assert life.queued(c) == self.unread == self.got - self.read - self.gone
        # Nothing beyond what was ever advertised, and that to the byte.
        assert self.got <= self.told_edge
        assert (c[life.EDGE] - c[life.RX_CNT]) & M32 == self.told_edge - self.got
        assert 0 <= life.peer_knows(c) <= c[life.BUF_ALLOC]
        # What may be sent: by the peer's latest word and our own limit.
        alloc, fwd = self.heard
        flying = self.tx + self.sent - fwd & M32
        late = c[life.OPTIONS] & life.OPT_LATE_SEND
        ended = shut & SEND or (shut & life.SHUT_PEER_RCV and not late)
        if state != life.ESTABLISHED or ended:
            assert life.room(c) == -EPIPE
        else:
            assert life.room(c) == max(0, min(alloc, c[life.SEND_LIMIT]) - flying)
        if self.kind == STREAM:
            ready = self.unread and self.unread >= c[life.LOWAT]
        else:
            ready = any(end for _, end in self.queue)
            assert c[life.MESSAGES] == sum(end for _, end in self.queue)
        ended = state == life.CLOSED or shut & (RCV | life.SHUT_PEER_SEND)
        assert bool(life.readable(c)) == bool(ready or ended)
        if state == life.CLOSED:
            assert c[life.OWED] & ~life.OWE_RST == 0, "a closed connection has more to say"
        elif shut & PEER_BOTH == PEER_BOTH and flying == 0 and not late:
            idle = state == life.CLOSING or not self.unread
            assert not idle, "both directions are closed, nothing is unread or unsent: RST"
