# SPDX-License-Identifier: MIT
"""One end of a connection with a model beside it, in plain integers that never wrap.

`End` calls the connection as the stack does. It knows what it was told to do and what went over
the link, and holds the connection to that after every step: `check()`.
"""

from errno import EPIPE

import vsock_bench
from vsock_bench import M32

w = vsock_bench.module("vsock.words")
types = vsock_bench.module("sockets.types")
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")

STREAM, SEQPACKET = types.STREAM, types.SEQPACKET
RCV, SEND = w.SHUT_LOCAL_RCV, w.SHUT_LOCAL_SEND
PEER_BOTH = w.SHUT_PEER_RCV | w.SHUT_PEER_SEND


class End:
    """`sent`, `got`, `read`: bytes since the beginning, whatever the 32-bit counters say."""

    def __init__(self, port, window, kind=STREAM, tx=0, rx=0, options=0):
        """`tx`, `rx`: where the counters of sent and of received bytes begin."""
        self.block = c = control.control_block(33, port, 33, port ^ 1, kind, window)
        c[w.TX_CNT] = c[w.PEER_FWD] = tx
        for word in (w.RX_CNT, w.READ_CNT, w.FWD_CNT, w.FWD_SENT):
            c[word] = rx
        c[w.EDGE] = rx + window & M32
        c[w.OPTIONS] = options
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
        while len(headers) < most and control.next_owed(self.block):
            headers.append(self.header())
        return headers

    def header(self):
        """The header that goes out now; its credit becomes what the peer was told."""
        words = list(self.block[:11])
        op, n = words[7] >> 16, words[6]
        assert words[w.TYPE_OP] & w.TYPE_MASK == self.kind.packet_type and words[4] ^ 1 == words[5]
        assert n == 0 or op == w.OP_RW
        assert w.OP_RST not in self.ops, "something follows an RST"
        assert not (op == w.OP_RST and self.rst_came), "an RST answers an RST"
        forward = words[10] - (self.rx + self.told_fwd) & M32
        assert forward <= self.read + self.gone - self.told_fwd, "unread bytes were given back"
        self.told_fwd += forward
        self.told_edge = max(self.told_edge, self.told_fwd + words[9])
        self.ops.append(op)
        return words

    def events(self, events):
        events |= self.block[w.EVENTS]
        self.block[w.EVENTS] = 0
        if events & w.EV_GROW and not credit.release_reserve(self.block) and self.memory:
            credit.grow(self.block, w.STEP)
        self.closed_events += bool(events & w.EV_CLOSED)
        assert self.closed_events <= 1
        assert (self.closed_events == 1) == (self.state == w.CLOSED)

    def take(self, op, n=0, flags=0, alloc=0, fwd=0):
        """A packet from the peer. True if its data was queued."""
        state, shut = self.state, self.block[w.SHUT]
        expected = w.ESTABLISHED if state == w.CONNECTING else state
        answers = self.block[w.OWED]
        if state != w.CLOSED and op != w.OP_INVALID:
            self.heard = (alloc, fwd)
        kept = False
        events = 0
        if op == w.OP_RW and n:
            result = control.admit(self.block, n, flags & self.kind.borders, alloc, fwd)
            assert result in (n, 0, -1)
            kept = result == n
            if kept:
                assert state == w.ESTABLISHED and not shut & w.SHUT_PEER_SEND
                assert not shut & RCV
                self.got += n
                self.queue.append([n, bool(flags & w.SEQ_EOM)])
            elif result == 0 and self.listened_away(state, shut):
                self.got += n
                self.gone += n
        else:
            events = control.on_control(self.block, op, flags, alloc, fwd)
        self.rst_came |= op == w.OP_RST and state != w.CLOSED
        if op == w.OP_RST and state != w.CLOSED:
            assert self.state == w.CLOSED and self.block[w.OWED] == 0
        if state == w.CLOSED or op == w.OP_INVALID:
            assert self.state == state and self.block[w.OWED] == answers
        if op == w.OP_CREDIT_REQUEST and self.state == expected != w.CLOSED:
            assert self.block[w.OWED] & w.OWE_UPDATE, "a CREDIT_REQUEST without an answer"
        self.events(events)
        return kept

    @staticmethod
    def listened_away(state, shut):
        """Data counts as received and as forwarded, and nobody sees it."""
        live = state in (w.ESTABLISHED, w.CLOSING)
        return live and shut & RCV and not shut & w.SHUT_PEER_SEND

    # -- what a program does

    @property
    def state(self):
        return self.block[w.STATE]

    @property
    def unread(self):
        return sum(n for n, _ in self.queue)

    def room(self):
        return credit.room(self.block)

    def send(self, n, flags=0):
        """A data packet's header, or None if there is no room."""
        n = min(n, self.room(), w.MAX_DATA)
        if n <= 0:
            return None
        assert self.state == w.ESTABLISHED and not self.block[w.SHUT] & SEND
        control.send(self.block, n, flags)
        self.sent += n
        return self.header()

    def consume(self, n):
        credit.consumed(self.block, n)
        self.read += n
        if self.block[w.SHUT] & PEER_BOTH == PEER_BOTH:
            self.events(control.settle(self.block))

    def receive(self, want):
        """Read up to `want` bytes, on seqpacket the first message if it is whole."""
        if self.kind == SEQPACKET:
            ends = [i for i, (_, end) in enumerate(self.queue) if end]
            if not ends:
                return
            n = sum(length for length, _ in self.queue[: ends[0] + 1])
            del self.queue[: ends[0] + 1]
            self.block[w.MESSAGES] -= 1
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
        self.block[w.MESSAGES] = 0
        credit.consumed(self.block, n)
        self.read += n

    def shutdown(self, how):
        unread = control.shutdown(self.block, how)
        assert unread == (self.unread if how & RCV else 0)
        if unread:
            self.discard()
        self.events(control.settle(self.block))

    def close(self):
        if self.unread:
            self.discard()
        self.events(control.close(self.block))

    def resize(self, size):
        self.block[w.SEND_LIMIT] = size
        credit.set_window(self.block, size)

    def ask_credit(self):
        if self.state == w.ESTABLISHED:
            self.block[w.OWED] |= w.OWE_CREDIT_REQUEST

    # -- what must hold

    def check(self):
        c = self.block
        state, shut = c[w.STATE], c[w.SHUT]
        last_state, last_shut, last_sent = self.before
        assert state >= last_state, "the state went back"
        assert shut & last_shut == last_shut, "a shutdown was forgotten"
        self.before = state, shut, self.sent
        # The counters are the model's, modulo 2**32.
        assert c[w.TX_CNT] == self.tx + self.sent & M32
        assert c[w.RX_CNT] == self.rx + self.got & M32
        assert credit.queued(c) == self.unread == self.got - self.read - self.gone
        # Nothing beyond what was ever advertised, and that to the byte.
        assert self.got <= self.told_edge
        assert (c[w.EDGE] - c[w.RX_CNT]) & M32 == self.told_edge - self.got
        assert 0 <= credit.peer_knows(c) <= c[w.BUF_ALLOC]
        # What may be sent: by the peer's latest word and our own limit.
        alloc, fwd = self.heard
        flying = self.tx + self.sent - fwd & M32
        late = c[w.OPTIONS] & w.OPT_LATE_SEND
        ended = shut & SEND or (shut & w.SHUT_PEER_RCV and not late)
        if state != w.ESTABLISHED or ended:
            assert credit.room(c) == -EPIPE
        else:
            assert credit.room(c) == max(0, min(alloc, c[w.SEND_LIMIT]) - flying)
        if self.kind == STREAM:
            ready = self.unread and self.unread >= c[w.LOWAT]
        else:
            ready = any(end for _, end in self.queue)
            ready = ready and (self.unread >= c[w.LOWAT] or c[w.LOWAT] == 1)
            assert c[w.MESSAGES] == sum(end for _, end in self.queue)
        ended = state == w.CLOSED or shut & (RCV | w.SHUT_PEER_SEND)
        assert bool(control.readable(c)) == bool(ready or ended)
        if state == w.CLOSED:
            assert c[w.OWED] & ~w.OWE_RST == 0, "a closed connection has more to say"
        elif shut & PEER_BOTH == PEER_BOTH and flying == 0 and not late:
            idle = state == w.CLOSING or not self.unread
            assert not idle, "both directions are closed, nothing is unread or unsent: RST"
