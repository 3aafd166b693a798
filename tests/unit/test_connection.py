# SPDX-License-Identifier: MIT
"""The connection's state and credit: two ends over a link that loses nothing, and by hand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from vsock_modules import connection as life

EPIPE, EPROTO, ECONNRESET, ENOBUFS = 32, 71, 104, 105
REQUEST, RESPONSE, RST, SHUTDOWN, RW, UPDATE, CREDIT_REQUEST = range(1, 8)
BOTH = 3
M32 = 0xFFFFFFFF


def block(port=1000, peer=2000, window=262144):
    return life.control_block(33, port, 2, peer, 1, window)


def established(window=262144, peer_window=262144):
    c = block(window=window)
    life.accept(c, peer_window, 0)
    assert owed(c) == [RESPONSE]
    return c


def owed(c):
    """The ops of the control packets that go out now."""
    ops = []
    while op := life.next_owed(c):
        ops.append(op)
    return ops


class End:
    """One end: its words, its receive queue (bytes), what it sent and read, as an oracle."""

    def __init__(self, port, peer, window, start, peer_start):
        self.c = block(port, peer, window)
        c = self.c
        c[life.TX_CNT] = c[life.PEER_FWD] = start
        c[life.RX_CNT] = c[life.READ_CNT] = peer_start
        c[life.FWD_CNT] = c[life.FWD_SENT] = peer_start
        c[life.EDGE] = (peer_start + window) & M32
        self.queue = bytearray()
        self.sent = 0
        self.read = 0
        self.outgoing = []  # packets: (op, flags, payload, buf_alloc, fwd_cnt)
        self.dropped = False

    def flush(self):
        while op := life.next_owed(self.c):
            self.emit(op)

    def emit(self, op, payload=b""):
        c = self.c
        self.outgoing.append((op, c[8], payload, c[life.BUF_ALLOC], c[life.FWD_CNT]))

    def send(self, n):
        room = life.room(self.c)
        n = min(n, room)
        if n <= 0:
            return 0
        data = bytes((self.sent + i) % 251 for i in range(n))
        life.send(self.c, n, 0)
        self.sent += n
        self.emit(RW, data)
        return n

    def take(self, packet):
        op, flags, payload, alloc, fwd = packet
        if self.state == life.CLOSED:
            # As the table does: it is not there any more.
            if op != RST:
                self.dropped = True
                self.emit(RST)
        elif op == RW:
            n = life.admit(self.c, len(payload), 0, alloc, fwd)
            assert n != -1, "the peer kept to its credit, and was found to have broken it"
            if n:
                self.queue += payload
            else:
                self.dropped = True
        else:
            life.on_control(self.c, op, flags, alloc, fwd)
        self.flush()

    def receive(self, n):
        n = min(n, len(self.queue))
        if not n:
            return
        data = bytes(self.queue[:n])
        del self.queue[:n]
        assert data == bytes((self.read + i) % 251 for i in range(n))
        self.read += n
        life.consumed(self.c, n)
        life.settle(self.c)
        self.flush()

    def discard(self, unread):
        assert unread == len(self.queue)
        self.queue.clear()
        self.dropped = True
        if unread:
            life.consumed(self.c, unread)

    @property
    def state(self):
        return self.c[life.STATE]


starts = st.sampled_from([0, 1, M32 - 300, M32 - 5, M32, 1 << 31])
sizes = st.one_of(st.integers(1, 400), st.sampled_from([1, 2, 127, 128, 129, 4096, 70000]))
windows = st.sampled_from([1, 2, 128, 1000, 4096, 65536, 262144])


class TwoEnds(RuleBasedStateMachine):
    """A client and a server; packets in flight arrive in order, some time."""

    def __init__(self):
        super().__init__()
        self.ends: list[End] = []

    @rule(a=windows, b=windows, x=starts, y=starts)
    @precondition(lambda self: not self.ends)
    def connect(self, a, b, x, y):
        self.ends = [End(1000, 2000, a, x, y), End(2000, 1000, b, y, x)]
        client, server = self.ends
        life.connect(client.c)
        client.flush()
        op, _, _, alloc, fwd = client.outgoing.pop(0)
        assert op == REQUEST
        life.accept(server.c, alloc, fwd)
        server.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), n=sizes)
    def send(self, side, n):
        self.ends[side].send(n)

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), count=st.integers(1, 4))
    def deliver(self, side, count):
        for _ in range(count):
            if self.ends[side].outgoing:
                self.ends[1 - side].take(self.ends[side].outgoing.pop(0))

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), n=sizes)
    def receive(self, side, n):
        self.ends[side].receive(n)

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), n=windows)
    def resize(self, side, n):
        end = self.ends[side]
        life.set_window(end.c, n)
        end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), n=st.integers(1, 1000))
    def set_lowat(self, side, n):
        end = self.ends[side]
        end.c[life.LOWAT] = min(n, end.c[life.BUF_ALLOC])
        life.update_due(end.c)
        end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1))
    def grow(self, side):
        end = self.ends[side]
        if not life.release_reserve(end.c):
            life.grow(end.c)

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1))
    def ask_credit(self, side):
        end = self.ends[side]
        if end.state == life.ESTABLISHED:
            end.c[life.OWED] |= life.OWE_CREDIT_REQUEST
            end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), how=st.integers(1, 3))
    def shutdown(self, side, how):
        end = self.ends[side]
        before = end.c[life.SHUT]
        unread = life.shutdown(end.c, how)
        if how & 1:
            end.discard(unread)
        assert end.c[life.SHUT] & before == before
        end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1))
    def close(self, side):
        end = self.ends[side]
        end.discard(len(end.queue))
        life.close(end.c)
        end.flush()

    @invariant()
    def counters_agree_with_what_is_queued(self):
        for end in self.ends or ():
            assert life.queued(end.c) == len(end.queue)
            assert life.room(end.c) >= -EPIPE
            assert life.peer_knows(end.c) <= end.c[life.BUF_ALLOC]

    @invariant()
    def only_rsts_follow_an_rst(self):
        for end in self.ends or ():
            ops = [packet[0] for packet in end.outgoing]
            if RST in ops:
                assert set(ops[ops.index(RST) :]) == {RST}

    def teardown(self):
        """With all packets delivered and everything read, whoever may send can send."""
        if not self.ends:
            return
        for end in self.ends:
            end.c[life.LOWAT] = 1
        for _ in range(200):
            moved = False
            for side in (0, 1):
                end, peer = self.ends[side], self.ends[1 - side]
                while end.outgoing:
                    peer.take(end.outgoing.pop(0))
                    moved = True
                if peer.queue:
                    peer.receive(len(peer.queue))
                    moved = True
                if life.tell(peer.c):
                    peer.flush()
                    moved = True
            if not moved:
                break
        else:
            raise AssertionError("the two ends never come to rest")
        for side in (0, 1):
            end, peer = self.ends[side], self.ends[1 - side]
            if not peer.dropped:
                assert peer.read == end.sent
            assert life.room(end.c) != 0, "stalled for want of credit"
        states = {end.state for end in self.ends}
        if life.CLOSED in states:
            assert states <= {life.CLOSED}


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=1500, stateful_step_count=25, deadline=None)

words = st.integers(0, M32)


@settings(max_examples=3000)
@given(words, words, words, words)
def test_room_is_never_negative_nor_more_than_the_limit(sent, forwarded, alloc, limit):
    c = established()
    c[life.TX_CNT], c[life.PEER_FWD], c[life.PEER_ALLOC] = sent, forwarded, alloc
    c[life.SEND_LIMIT] = limit
    room = life.room(c)
    assert 0 <= room <= min(alloc, limit)
    if forwarded == sent:
        assert room == min(alloc, limit)


@settings(max_examples=3000)
@given(st.lists(st.tuples(st.integers(0, 9), words, words, words), max_size=12), st.booleans())
def test_any_packets_from_a_hostile_peer_leave_a_sound_connection(packets, connecting):
    c = block() if connecting else established()
    if connecting:
        life.connect(c)
    queued = 0
    for op, flags, alloc, fwd in packets:
        before = c[life.STATE]
        if op == RW:
            n = flags % 70000 + 1
            if life.admit(c, n, 0, alloc, fwd) > 0:
                queued += n
        else:
            life.on_control(c, op, flags, alloc, fwd)
        assert c[life.STATE] >= before
        assert life.queued(c) == queued <= 262144
        assert life.room(c) >= -EPIPE
        assert len(owed(c)) <= 4
    if c[life.STATE] == life.CLOSED:
        assert not owed(c)


# -- one thing at a time


def test_refused_connect_is_econnreset():
    c = block()
    life.connect(c)
    assert owed(c) == [REQUEST]
    life.on_control(c, RST, 0, 0, 0)
    assert (c[life.STATE], c[life.ERROR], owed(c)) == (life.CLOSED, ECONNRESET, [])


@pytest.mark.parametrize("op", [REQUEST, SHUTDOWN, UPDATE, CREDIT_REQUEST, 9])
def test_nonsense_in_answer_to_connect_is_eproto_and_rst(op):
    c = block()
    life.connect(c)
    owed(c)
    life.on_control(c, op, 0, 0, 0)
    assert (c[life.STATE], c[life.ERROR], owed(c)) == (life.CLOSED, EPROTO, [RST])


def test_rst_is_never_answered():
    c = established()
    life.on_control(c, RST, 0, 0, 0)
    assert owed(c) == []
    assert c[life.ERROR] == 0  # Linux: recv sees the end, send EPIPE, SO_ERROR nothing
    assert life.room(c) == -EPIPE


def test_invalid_op_changes_nothing():
    c = established()
    before = bytes(c)
    life.on_control(c, 0, M32, 5, 5)
    assert bytes(c) == before


def test_shutdown_flags_add_up():
    c = established()
    life.on_control(c, SHUTDOWN, 2, 262144, 0)
    assert c[life.STATE] == life.ESTABLISHED and owed(c) == []
    life.on_control(c, SHUTDOWN, 1, 262144, 0)
    assert c[life.STATE] == life.CLOSED and owed(c) == [RST]


def test_rst_waits_until_nothing_is_unread():
    c = established()
    life.admit(c, 10, 0, 262144, 0)
    life.on_control(c, SHUTDOWN, BOTH, 262144, 0)
    assert owed(c) == []
    life.consumed(c, 10)
    life.settle(c)
    assert owed(c) == [RST]


def test_rst_waits_until_the_peer_has_our_bytes():
    c = established()
    life.send(c, 100, 0)
    life.on_control(c, SHUTDOWN, BOTH, 262144, 40)
    assert owed(c) == [CREDIT_REQUEST]
    life.close(c)
    assert owed(c) == [CREDIT_REQUEST]
    life.on_control(c, UPDATE, 0, 262144, 100)
    assert owed(c) == [RST]


def test_shutdown_is_said_again_when_the_peer_has_everything():
    c = established()
    life.send(c, 100, 0)
    life.shutdown(c, BOTH)
    assert owed(c) == [SHUTDOWN]
    life.on_control(c, UPDATE, 0, 262144, 40)
    assert owed(c) == []
    life.on_control(c, UPDATE, 0, 262144, 100)
    assert owed(c) == [SHUTDOWN]


def test_shutdown_is_said_once_to_a_host_that_hears_it_at_any_time():
    c = established()
    c[life.OPTIONS] = life.OPT_SHUTDOWN_ONCE
    life.send(c, 100, 0)
    life.shutdown(c, BOTH)
    assert owed(c) == [SHUTDOWN]
    life.on_control(c, UPDATE, 0, 262144, 100)
    assert owed(c) == []


def test_both_ends_closing_at_once_do_not_wait_for_each_other():
    c = established()
    life.close(c)
    assert owed(c) == [SHUTDOWN] and c[life.STATE] == life.CLOSING
    life.on_control(c, SHUTDOWN, BOTH, 262144, 0)
    assert owed(c) == [RST] and c[life.STATE] == life.CLOSED


def test_late_send_goes_on_after_the_peers_shutdown():
    c = established()
    c[life.OPTIONS] = life.OPT_LATE_SEND
    life.on_control(c, SHUTDOWN, BOTH, 262144, 0)
    assert life.room(c) == 262144 and owed(c) == []
    life.close(c)
    assert owed(c) == [RST]


def test_peer_beyond_its_credit_is_reset():
    c = established(window=1000)
    assert life.admit(c, 1001, 0, 0, 0) == -1
    assert (c[life.STATE], c[life.ERROR], owed(c)) == (life.CLOSED, ENOBUFS, [RST])


def test_shrinking_the_window_takes_no_promise_back():
    c = established(window=1000)
    life.set_window(c, 10)
    owed(c)
    assert life.admit(c, 1000, 0, 0, 0) == 1000
    assert life.peer_knows(c) == 0


def full(window):
    c = established(window=window)
    life.admit(c, window, 0, 0, 0)
    return c


def test_credit_request_is_always_answered():
    c = full(100)
    for _ in range(3):
        life.on_control(c, CREDIT_REQUEST, 0, 0, 0)
        assert owed(c) == [UPDATE]


def asks(c, peer_fwd=0):
    """Whether a CREDIT_REQUEST makes the window grow."""
    return bool(life.on_control(c, CREDIT_REQUEST, 0, 262144, peer_fwd) & life.EV_GROW)


def test_window_grows_only_when_nothing_moves_between_two_requests():
    c = full(100)
    life.send(c, 50, 0)
    assert not asks(c)
    assert asks(c)
    assert not asks(c, peer_fwd=20)
    assert asks(c, peer_fwd=20)
    life.consumed(c, 10)
    owed(c)
    life.admit(c, 10, 0, 0, 20)
    assert not asks(c, peer_fwd=20)


def test_what_a_window_grew_by_is_kept_for_the_next_time():
    c = full(1000)
    life.grow(c)
    assert owed(c) == [UPDATE]
    assert life.peer_knows(c) == life.STEP
    life.consumed(c, 1000)
    assert c[life.FWD_CNT] == 0 and life.queued(c) == 0
    life.admit(c, life.STEP, 0, 0, 0)
    assert life.peer_knows(c) == 0
    assert life.release_reserve(c) == 1000
    assert life.release_reserve(c) == 0
    life.consumed(c, life.STEP)
    life.tell(c)
    assert owed(c) == [UPDATE]
    assert life.peer_knows(c) == 1000 + life.STEP


def test_window_that_the_program_chose_does_not_grow():
    c = full(100)
    c[life.OPTIONS] = life.OPT_FIXED_WINDOW
    assert not asks(c) and not asks(c)


def test_small_reads_do_not_cost_an_update_each():
    c = established()
    updates = 0
    for _ in range(2000):
        life.admit(c, 100, 0, 262144, 0)
        life.consumed(c, 100)
        updates += len(owed(c))
    assert updates == 1  # 200,000 bytes; the first 131,072 are half of the window


def test_lowat_above_what_is_queued_tells_the_peer_of_every_byte():
    c = established(window=1000)
    c[life.LOWAT] = 900
    life.admit(c, 500, 0, 262144, 0)
    assert not life.readable(c)
    life.consumed(c, 10)
    assert owed(c) == [UPDATE]


def test_update_rides_on_data():
    c = established()
    life.admit(c, 150000, 0, 262144, 0)
    assert life.consumed(c, 150000)
    life.send(c, 1, 0)
    assert owed(c) == []
    assert c[life.FWD_SENT] == 150000


def read_on(c, n):
    """`n` bytes come and are read at once; whether a wider window was asked for, how often."""
    asked = 0
    while n > 0:
        part = min(n, 65536)
        assert life.admit(c, part, 0, 262144, 0) == part
        if life.consumed(c, part) & life.WIDEN:
            asked += 1
            life.widen(c)
        owed(c)
        n -= part
    return asked


def test_window_grows_for_a_program_that_reads_much_up_to_a_mebibyte():
    c = established()
    assert read_on(c, 900_000) == 0
    assert read_on(c, 16 << 20) == 3
    assert c[life.BUF_ALLOC] == c[life.BASE] == 1 << 20
    assert life.peer_knows(c) >= 1 << 19  # all of it is advertised, none held back


def test_window_that_the_program_chose_stays():
    c = established()
    c[life.OPTIONS] |= life.OPT_FIXED_WINDOW
    assert read_on(c, 16 << 20) == 0


def test_bytes_that_find_no_memory_do_not_count():
    c = established()
    assert life.admit(c, 1000, 0, 262144, 0) == 1000
    life.overflow(c, 1000, 0)
    assert life.queued(c) == 0
    assert c[life.STATE] == life.CLOSED
    assert c[life.ERROR] == 105  # ENOBUFS
    assert owed(c) == [RST]
