# SPDX-License-Identifier: MIT
"""The connection between two honest ends, and against a peer that sends anything at all.

What must hold after every step stands in vsock_end.py.
"""

from collections import deque
from errno import ENOBUFS

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from profiles import examples
from vsock_end import M32, RCV, SEND, SEQPACKET, STREAM, End, control, credit, w

BOTH = RCV | SEND

windows = st.one_of(
    st.integers(1, 5000),
    st.sampled_from([1, 2, 128, 65535, 65536, 262144, 1 << 20, M32]),
)
counters = st.one_of(st.integers(M32 - 3000, M32), st.sampled_from([0, 1, 1 << 31]))
sizes = st.one_of(st.integers(1, 3000), st.sampled_from([1, 65535, 65536, 1 << 20]))
ends = st.integers(0, 1)


class TwoEnds(RuleBasedStateMachine):
    """Two ends; packets stay in order on their way and arrive whenever they like."""

    @initialize(
        mine=windows,
        other=windows,
        tx=counters,
        rx=counters,
        kind=st.sampled_from([STREAM, STREAM, SEQPACKET]),
        options=st.sampled_from([0, w.OPT_LATE_SEND, w.OPT_SHUTDOWN_ONCE]),
        memory=st.booleans(),
    )
    def connect(self, mine, other, tx, rx, kind, options, memory):
        self.ends = [
            End(1000, mine, kind, tx, rx, options),
            End(1001, other, kind, rx, tx),
        ]
        for end in self.ends:
            end.memory = memory
        self.accepted = False
        self.links: tuple[deque, deque] = deque(), deque()  # to end 0, to end 1
        self.arrived = [0, 0]  # bytes that reached an end, kept or not
        self.packets = 0
        control.connect(self.ends[0].block)

    def emit(self, i, headers):
        self.packets += len(headers)
        self.links[1 - i].extend(headers)

    @rule(i=ends, most=st.integers(1, 3))
    def settle_debts(self, i, most):
        self.emit(i, self.ends[i].flush(most))

    @rule(i=ends, count=st.integers(1, 6))
    def deliver(self, i, count):
        for _ in range(min(count, len(self.links[i]))):
            self.arrive(i, self.links[i].popleft())

    def arrive(self, i, header):
        end = self.ends[i]
        op, n, flags = header[7] >> 16, header[6], header[8]
        if i == 1 and not self.accepted:
            assert op == w.OP_REQUEST
            self.accepted = True
            end.heard = header[9], header[10]
            control.accept(end.block, *end.heard)
            return
        if end.state == w.CLOSED:  # the table has it no more: RST, but not to an RST
            if op != w.OP_RST:
                answer = [
                    *header[:4],
                    header[5],
                    header[4],
                    0,
                    end.kind.packet_type | w.OP_RST << 16,
                    0,
                    0,
                    0,
                ]
                self.emit(i, [answer])
            return
        got = end.got
        kept = end.take(op, n, flags, header[9], header[10])
        if op == w.OP_RW:
            # Nothing overtakes and nothing is lost as long as somebody listens.
            listens = end.state == w.ESTABLISHED and not end.block[w.SHUT] & RCV
            assert kept or not listens or end.block[w.SHUT] & w.SHUT_PEER_SEND
            if kept:
                assert got == self.arrived[i]
            assert end.block[w.ERROR] == 0, "an honest peer was taken for one that cheats"
        self.arrived[i] += n

    @rule(i=ends, n=sizes, whole=st.booleans())
    def send(self, i, n, whole):
        end = self.ends[i]
        self.emit(i, end.flush())  # what is owed goes first, as in the transmitter
        seq = end.kind == SEQPACKET and whole
        header = end.send(n, w.SEQ_EOM if seq else 0)
        if header:
            self.emit(i, [header])

    @rule(i=ends, n=sizes)
    def receive(self, i, n):
        self.ends[i].receive(n)

    @rule(i=ends, n=windows)
    def resize(self, i, n):
        self.ends[i].resize(n)

    @rule(i=ends, n=st.integers(1, 5000))
    def set_lowat(self, i, n):
        end = self.ends[i]
        end.block[w.LOWAT] = min(n, end.block[w.BUF_ALLOC])
        credit.update_due(end.block)

    @rule(i=ends)
    def ask_credit(self, i):
        self.ends[i].ask_credit()

    @precondition(lambda self: self.accepted)
    @rule(i=ends, how=st.integers(1, 3))
    def shutdown(self, i, how):
        if self.ends[i].state == w.ESTABLISHED:
            self.ends[i].shutdown(how)

    @precondition(lambda self: self.accepted)
    @rule(i=ends)
    def close(self, i):
        if self.ends[i].state in (w.CONNECTING, w.ESTABLISHED):
            self.ends[i].close()

    @invariant()
    def each_end_is_sound(self):
        for end in self.ends:
            end.check()

    def calm(self):
        """Everything owed is sent and arrives. It must come to an end."""
        start = self.packets
        while True:
            for i in (0, 1):
                self.emit(i, self.ends[i].flush())
                while self.links[i]:
                    self.arrive(i, self.links[i].popleft())
                    self.each_end_is_sound()
            if not any(self.links) and not any(end.block[w.OWED] for end in self.ends):
                return
            assert self.packets - start < 200, "two ends never stop talking"

    @rule()
    def nothing_stalls(self):
        """Where all was read and told, who may send can send."""
        self.calm()
        for end in self.ends:
            if end.kind == SEQPACKET:
                return  # half a message cannot be read
            end.receive(1 << 40)
            credit.tell(end.block)
        self.calm()
        for end, peer in zip(self.ends, reversed(self.ends), strict=True):
            # Who closed does not say what it throws away: it waits for the end.
            assert end.room() != 0 or peer.state == w.CLOSING, "a sender without credit"

    def teardown(self):
        if not hasattr(self, "ends"):
            return
        self.calm()
        for i in (0, 1):
            if self.ends[i].state in (w.CONNECTING, w.ESTABLISHED):
                self.ends[i].close()
        self.calm()
        first, second = self.ends
        if first.state == second.state == w.CLOSED or not self.accepted:
            return
        # What is left waits for its time-out; then one RST ends both.
        control.fail(first.block, 0)
        first.events(0)
        self.calm()
        assert first.state == second.state == w.CLOSED


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=examples(1600), stateful_step_count=30, deadline=None)


# -- a peer that sends anything

words = st.one_of(st.integers(0, 70000), st.integers(0, M32), st.just(M32))
packets = st.tuples(
    st.just("take"),
    st.integers(0, 9),
    st.one_of(st.just(0), st.integers(0, 70000)),
    words,
    words,
    words,
)
actions = st.lists(
    st.one_of(
        packets,
        packets,
        st.tuples(st.sampled_from(["send", "receive", "resize"]), sizes),
        st.tuples(st.just("shutdown"), st.integers(1, 3)),
        st.tuples(st.sampled_from(["close", "ask_credit", "flush"])),
    ),
    max_size=25,
)


@settings(max_examples=examples(3000), deadline=None)
@given(
    st.sampled_from(["connecting", "accepted", "connected"]),
    windows,
    counters,
    counters,
    st.sampled_from([STREAM, SEQPACKET]),
    st.booleans(),
    actions,
)
def test_no_peer_can_unhinge_a_connection(how, window, tx, rx, kind, lazy, steps):
    end = End(1000, window, kind, tx, rx)
    if how == "accepted":
        end.heard = 70000, tx
        control.accept(end.block, *end.heard)
    else:
        control.connect(end.block)
        end.flush()
        if how == "connected":
            end.take(w.OP_RESPONSE, alloc=70000, fwd=tx)
    closed = False
    for name, *arguments in steps:
        if name in ("shutdown", "close"):
            if closed or end.state not in (w.CONNECTING, w.ESTABLISHED):
                continue
            if name == "shutdown" and end.state == w.CONNECTING:
                continue
            closed = name == "close"
        if name == "send":
            end.flush()
        if name == "resize" and closed:
            continue
        getattr(end, name)(*arguments)
        end.check()
        if not lazy:
            owed = end.flush()
            assert len(owed) <= 4
            end.check()
    end.flush()
    assert end.ops.count(w.OP_RST) <= 1


@settings(max_examples=examples(2000), deadline=None)
@given(windows, counters, st.integers(1, 70000))
@example(1, M32, 2)
@example(M32, 5, 70000)
def test_one_byte_beyond_the_window_ends_the_connection(window, rx, n):
    end = End(1000, window, rx=rx)
    control.accept(end.block, 1000, 0)
    end.heard = 1000, 0
    end.flush()
    sent = 0
    while sent + n <= window and sent < 4 * n:
        assert end.take(w.OP_RW, n, alloc=1000)
        sent += n
    if window - sent > 70000:
        return
    if window - sent:
        assert end.take(w.OP_RW, window - sent, alloc=1000)
    assert not end.take(w.OP_RW, 1, alloc=1000)
    assert (end.state, end.block[w.ERROR]) == (w.CLOSED, ENOBUFS)
    assert [header[7] >> 16 for header in end.flush()] == [w.OP_RST]
    assert end.unread == window  # what came within the window may still be read


@settings(max_examples=examples(1000), deadline=None)
@given(st.integers(1, 1 << 20), counters, st.lists(sizes, min_size=1, max_size=30))
def test_a_one_way_transfer_needs_no_asking(window, tx, chunks):
    """The sender's own limit covers the window; the receiver reads all that comes."""
    sender = End(1000, window, tx=tx)
    receiver = End(1001, window, rx=tx)
    control.accept(sender.block, window, tx)
    sender.heard = window, tx
    control.accept(receiver.block, window, 0)
    receiver.heard = window, 0
    sender.flush()
    receiver.flush()
    for chunk in chunks:
        assert sender.room() > 0, "stalled"
        header = sender.send(chunk)
        assert receiver.take(w.OP_RW, header[6], 0, header[9], header[10])
        receiver.receive(1 << 40)
        for header in receiver.flush():
            sender.take(header[7] >> 16, 0, 0, header[9], header[10])
        sender.check()
        receiver.check()
    assert receiver.read == sender.sent


def test_shrinking_a_window_under_what_is_queued_opens_no_other():
    """2**32 minus something is not an allowance."""
    end = End(1000, 262144)
    control.accept(end.block, 1000, 0)
    end.flush()
    assert end.take(w.OP_RW, 200000)
    end.resize(1000)
    end.flush()
    assert end.take(w.OP_RW, 62144)  # promised before
    assert not end.take(w.OP_RW, 1)
    assert end.block[w.ERROR] == ENOBUFS


def test_nothing_is_said_after_the_rst_that_credit_brought():
    """CLOSING, both sides shut: the CREDIT_REQUEST that tells all was forwarded brings the RST."""
    end = End(1000, 262144)
    control.accept(end.block, 262144, 0)
    end.heard = 262144, 0
    end.flush()
    end.send(100)
    end.close()
    end.flush()
    end.take(w.OP_SHUTDOWN, flags=3, alloc=262144, fwd=0)
    end.flush()
    end.take(w.OP_CREDIT_REQUEST, alloc=262144, fwd=100)
    end.check()
    assert [header[7] >> 16 for header in end.flush()] == [w.OP_RST]


def test_rst_when_the_peer_that_closed_says_that_it_has_our_bytes():
    """The program need not have closed: both directions are, and nothing is unread."""
    end = End(1000, 262144)
    control.accept(end.block, 262144, 0)
    end.heard = 262144, 0
    end.flush()
    end.send(100)
    end.take(w.OP_SHUTDOWN, flags=3, alloc=262144, fwd=0)
    assert [header[7] >> 16 for header in end.flush()] == [w.OP_CREDIT_REQUEST]
    end.take(w.OP_CREDIT_UPDATE, alloc=262144, fwd=100)
    assert [header[7] >> 16 for header in end.flush()] == [w.OP_RST]
