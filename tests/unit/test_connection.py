# SPDX-License-Identifier: MIT
"""The connection's state and credit: two ends over a link that loses nothing, and by hand."""

from errno import ECONNRESET, ENOBUFS, EPIPE, EPROTO

import pytest
import vsock_bench
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from profiles import examples
from vsock_bench import owed

w = vsock_bench.module("vsock.words")
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")
STREAM = vsock_bench.module("sockets.types").STREAM

REQUEST, RESPONSE, RST, SHUTDOWN, RW, UPDATE, CREDIT_REQUEST = range(1, 8)
BOTH = 3
M32 = 0xFFFFFFFF


def block(port=1000, peer=2000, window=262144):
    return control.control_block(33, port, 2, peer, STREAM, window)


def established(window=262144, peer_window=262144):
    c = block(window=window)
    control.accept(c, peer_window, 0)
    assert owed(c) == [RESPONSE]
    return c


class End:
    """One end: its words, its receive queue (bytes), what it sent and read, as an oracle."""

    def __init__(self, port, peer, window, start, peer_start):
        self.c = block(port, peer, window)
        c = self.c
        c[w.TX_CNT] = c[w.PEER_FWD] = start
        c[w.RX_CNT] = c[w.READ_CNT] = peer_start
        c[w.FWD_CNT] = c[w.FWD_SENT] = peer_start
        c[w.EDGE] = (peer_start + window) & M32
        self.queue = bytearray()
        self.sent = 0
        self.read = 0
        self.outgoing = []  # packets: (op, flags, payload, buf_alloc, fwd_cnt)
        self.dropped = False

    def flush(self):
        while op := control.next_owed(self.c):
            self.emit(op)

    def emit(self, op, payload=b""):
        c = self.c
        self.outgoing.append((op, c[8], payload, c[w.BUF_ALLOC], c[w.FWD_CNT]))

    def send(self, n):
        room = credit.room(self.c)
        n = min(n, room)
        if n <= 0:
            return 0
        data = bytes((self.sent + i) % 251 for i in range(n))
        control.send(self.c, n, 0)
        self.sent += n
        self.emit(RW, data)
        return n

    def take(self, packet):
        op, flags, payload, alloc, fwd = packet
        if self.state == w.CLOSED:
            # As the table does: it is not there any more.
            if op != RST:
                self.dropped = True
                self.emit(RST)
        elif op == RW:
            n = control.admit(self.c, len(payload), 0, alloc, fwd)
            assert n != -1, "the peer kept to its credit, and was found to have broken it"
            if n:
                self.queue += payload
            else:
                self.dropped = True
        else:
            control.on_control(self.c, op, flags, alloc, fwd)
        self.flush()

    def receive(self, n):
        n = min(n, len(self.queue))
        if not n:
            return
        data = bytes(self.queue[:n])
        del self.queue[:n]
        assert data == bytes((self.read + i) % 251 for i in range(n))
        self.read += n
        credit.consumed(self.c, n)
        control.settle(self.c)
        self.flush()

    def discard(self, unread):
        assert unread == len(self.queue)
        self.queue.clear()
        self.dropped = True
        if unread:
            credit.consumed(self.c, unread)

    @property
    def state(self):
        return self.c[w.STATE]


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
        control.connect(client.c)
        client.flush()
        op, _, _, alloc, fwd = client.outgoing.pop(0)
        assert op == REQUEST
        control.accept(server.c, alloc, fwd)
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
        credit.set_window(end.c, n)
        end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), n=st.integers(1, 1000))
    def set_lowat(self, side, n):
        end = self.ends[side]
        end.c[w.LOWAT] = min(n, end.c[w.BUF_ALLOC])
        credit.update_due(end.c)
        end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1))
    def grow(self, side):
        end = self.ends[side]
        if not credit.release_reserve(end.c):
            credit.grow(end.c, w.STEP)

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1))
    def ask_credit(self, side):
        end = self.ends[side]
        if end.state == w.ESTABLISHED:
            end.c[w.OWED] |= w.OWE_CREDIT_REQUEST
            end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1), how=st.integers(1, 3))
    def shutdown(self, side, how):
        end = self.ends[side]
        before = end.c[w.SHUT]
        unread = control.shutdown(end.c, how)
        if how & 1:
            end.discard(unread)
        assert end.c[w.SHUT] & before == before
        end.flush()

    @precondition(lambda self: self.ends)
    @rule(side=st.integers(0, 1))
    def close(self, side):
        end = self.ends[side]
        end.discard(len(end.queue))
        control.close(end.c)
        end.flush()

    @invariant()
    def counters_agree_with_what_is_queued(self):
        for end in self.ends or ():
            assert credit.queued(end.c) == len(end.queue)
            assert credit.room(end.c) >= -EPIPE
            assert credit.peer_knows(end.c) <= end.c[w.BUF_ALLOC]

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
            end.c[w.LOWAT] = 1
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
                if credit.tell(peer.c):
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
            assert credit.room(end.c) != 0, "stalled for want of credit"
        states = {end.state for end in self.ends}
        if w.CLOSED in states:
            assert states <= {w.CLOSED}


TestTwoEnds = TwoEnds.TestCase
TestTwoEnds.settings = settings(max_examples=examples(3000), stateful_step_count=25, deadline=None)

words = st.integers(0, M32)


@settings(max_examples=examples(6000))
@given(words, words, words, words)
def test_room_is_never_negative_nor_more_than_the_limit(sent, forwarded, alloc, limit):
    c = established()
    c[w.TX_CNT], c[w.PEER_FWD], c[w.PEER_ALLOC] = sent, forwarded, alloc
    c[w.SEND_LIMIT] = limit
    room = credit.room(c)
    assert 0 <= room <= min(alloc, limit)
    if forwarded == sent:
        assert room == min(alloc, limit)


@settings(max_examples=examples(6000))
@given(st.lists(st.tuples(st.integers(0, 9), words, words, words), max_size=12), st.booleans())
def test_any_packets_from_a_hostile_peer_leave_a_sound_connection(packets, connecting):
    c = block() if connecting else established()
    if connecting:
        control.connect(c)
    queued = 0
    for op, flags, alloc, fwd in packets:
        before = c[w.STATE]
        if op == RW:
            n = flags % 70000 + 1
            if control.admit(c, n, 0, alloc, fwd) > 0:
                queued += n
        else:
            control.on_control(c, op, flags, alloc, fwd)
        assert c[w.STATE] >= before
        assert credit.queued(c) == queued <= 262144
        assert credit.room(c) >= -EPIPE
        assert len(owed(c)) <= 4
    if c[w.STATE] == w.CLOSED:
        assert not owed(c)


# -- one thing at a time


def test_refused_connect_is_econnreset():
    c = block()
    control.connect(c)
    assert owed(c) == [REQUEST]
    control.on_control(c, RST, 0, 0, 0)
    assert (c[w.STATE], c[w.ERROR], owed(c)) == (w.CLOSED, ECONNRESET, [])


@pytest.mark.parametrize("op", [REQUEST, SHUTDOWN, UPDATE, CREDIT_REQUEST, 9])
def test_nonsense_in_answer_to_connect_is_eproto_and_rst(op):
    c = block()
    control.connect(c)
    owed(c)
    control.on_control(c, op, 0, 0, 0)
    assert (c[w.STATE], c[w.ERROR], owed(c)) == (w.CLOSED, EPROTO, [RST])


@pytest.mark.parametrize("sent", [False, True])
def test_closed_while_it_connects_it_owes_nothing(sent):
    c = block()
    control.connect(c)
    if sent:
        assert owed(c) == [REQUEST]
    assert control.close(c) & w.EV_CLOSED
    assert owed(c) == []


def test_rst_is_never_answered():
    c = established()
    control.on_control(c, RST, 0, 0, 0)
    assert owed(c) == []
    assert c[w.ERROR] == 0  # Linux: recv sees the end, send EPIPE, SO_ERROR nothing
    assert credit.room(c) == -EPIPE
    assert c[w.SHUT] == w.SHUT_PEER  # Linux: poll says RDHUP, as if the peer had shut both ways


def test_invalid_op_changes_nothing():
    c = established()
    before = bytes(c)
    assert control.on_control(c, 0, M32, 5, 5) == 0  # and nobody wakes
    assert bytes(c) == before


def test_shutdown_flags_add_up():
    c = established()
    control.on_control(c, SHUTDOWN, 2, 262144, 0)
    assert c[w.STATE] == w.ESTABLISHED and owed(c) == []
    control.on_control(c, SHUTDOWN, 1, 262144, 0)
    assert c[w.STATE] == w.CLOSED and owed(c) == [RST]


def test_rst_waits_until_nothing_is_unread():
    c = established()
    control.admit(c, 10, 0, 262144, 0)
    control.on_control(c, SHUTDOWN, BOTH, 262144, 0)
    assert owed(c) == []
    credit.consumed(c, 10)
    control.settle(c)
    assert owed(c) == [RST]


def test_rst_waits_until_the_peer_has_our_bytes():
    c = established()
    control.send(c, 100, 0)
    control.on_control(c, SHUTDOWN, BOTH, 262144, 40)
    assert owed(c) == [CREDIT_REQUEST]
    control.close(c)
    assert owed(c) == [CREDIT_REQUEST]
    control.on_control(c, UPDATE, 0, 262144, 100)
    assert owed(c) == [RST]


def test_shutdown_is_said_again_when_the_peer_has_everything():
    c = established()
    control.send(c, 100, 0)
    control.shutdown(c, BOTH)
    assert owed(c) == [SHUTDOWN]
    control.on_control(c, UPDATE, 0, 262144, 40)
    assert owed(c) == []
    control.on_control(c, UPDATE, 0, 262144, 100)
    assert owed(c) == [SHUTDOWN]


def test_shutdown_is_said_once_to_a_host_that_hears_it_at_any_time():
    c = established()
    c[w.OPTIONS] = w.OPT_SHUTDOWN_ONCE
    control.send(c, 100, 0)
    control.shutdown(c, BOTH)
    assert owed(c) == [SHUTDOWN]
    control.on_control(c, UPDATE, 0, 262144, 100)
    assert owed(c) == []


def test_both_ends_closing_at_once_do_not_wait_for_each_other():
    c = established()
    control.close(c)
    assert owed(c) == [SHUTDOWN] and c[w.STATE] == w.CLOSING
    control.on_control(c, SHUTDOWN, BOTH, 262144, 0)
    assert owed(c) == [RST] and c[w.STATE] == w.CLOSED


def test_late_send_goes_on_after_the_peers_shutdown():
    c = established()
    c[w.OPTIONS] = w.OPT_LATE_SEND
    control.on_control(c, SHUTDOWN, BOTH, 262144, 0)
    assert credit.room(c) == 262144 and owed(c) == []
    control.close(c)
    assert owed(c) == [RST]


def test_peer_beyond_its_credit_is_reset():
    c = established(window=1000)
    assert control.admit(c, 1001, 0, 0, 0) == -1
    assert (c[w.STATE], c[w.ERROR], owed(c)) == (w.CLOSED, ENOBUFS, [RST])


def test_shrinking_the_window_takes_no_promise_back():
    c = established(window=1000)
    credit.set_window(c, 10)
    owed(c)
    assert control.admit(c, 1000, 0, 0, 0) == 1000
    assert credit.peer_knows(c) == 0


def full(window):
    c = established(window=window)
    control.admit(c, window, 0, 0, 0)
    return c


def test_credit_request_is_always_answered():
    c = full(100)
    for _ in range(3):
        control.on_control(c, CREDIT_REQUEST, 0, 0, 0)
        assert owed(c) == [UPDATE]


def asks(c, peer_fwd=0):
    """Whether a CREDIT_REQUEST makes the window grow."""
    return bool(control.on_control(c, CREDIT_REQUEST, 0, 262144, peer_fwd) & w.EV_GROW)


def test_window_grows_only_when_nothing_moves_between_two_requests():
    c = full(100)
    control.send(c, 50, 0)
    assert not asks(c)
    assert asks(c)
    assert not asks(c, peer_fwd=20)
    assert asks(c, peer_fwd=20)
    credit.consumed(c, 10)
    owed(c)
    control.admit(c, 10, 0, 0, 20)
    assert not asks(c, peer_fwd=20)


def test_what_a_window_grew_by_is_kept_for_the_next_time():
    c = full(1000)
    credit.grow(c, w.STEP)
    assert owed(c) == [UPDATE]
    assert credit.peer_knows(c) == w.STEP
    credit.consumed(c, 1000)
    assert c[w.FWD_CNT] == 0 and credit.queued(c) == 0
    control.admit(c, w.STEP, 0, 0, 0)
    assert credit.peer_knows(c) == 0
    assert credit.release_reserve(c) == 1000
    assert credit.release_reserve(c) == 0
    credit.consumed(c, w.STEP)
    credit.tell(c)
    assert owed(c) == [UPDATE]
    assert credit.peer_knows(c) == 1000 + w.STEP


def test_window_that_the_program_chose_does_not_grow():
    c = full(100)
    c[w.OPTIONS] = w.OPT_FIXED_WINDOW
    assert not asks(c) and not asks(c)


def test_a_reserve_is_given_back_step_by_step():
    c = established()
    for _ in range(3):
        credit.grow(c, w.STEP)
    assert owed(c) == [UPDATE]
    control.on_control(c, UPDATE, 0, 262144, 0)
    c[w.BASE] = 262144
    assert control.admit(c, 700_000, 0, 0, 0) == 700_000
    credit.count(c, 700_000)
    assert c[w.FWD_CNT] == 0
    assert [credit.release_reserve(c) for _ in range(4)] == [262144, 262144, 175712, 0]
    assert c[w.FWD_CNT] == 700_000


def test_a_message_that_finds_no_memory_does_not_count():
    c = control.control_block(33, 1000, 2, 2000, vsock_bench.module("sockets.types").SEQPACKET, 9)
    control.accept(c, 9, 0)
    assert control.admit(c, 5, w.SEQ_EOM, 9, 0) == 5
    assert control.admit(c, 4, w.SEQ_EOM, 9, 0) == 4
    control.overflow(c, 4, w.SEQ_EOM)
    assert (c[w.MESSAGES], c[w.RX_CNT], c[w.ERROR]) == (1, 5, ENOBUFS)


def test_a_new_window_is_told_at_once_with_all_that_was_read():
    c = established()
    credit.grow(c, w.STEP)
    assert owed(c) == [UPDATE]
    assert control.admit(c, 1000, 0, 0, 0) == 1000
    credit.count(c, 1000)
    assert c[w.FWD_CNT] == 0  # a reserve
    credit.set_window(c, 5000)
    assert owed(c) == [UPDATE]
    assert (c[w.BUF_ALLOC], c[w.BASE], c[w.FWD_CNT]) == (5000, 5000, 1000)


def test_a_new_window_is_not_told_before_there_is_a_peer():
    c = block()
    credit.set_window(c, 5000)
    assert owed(c) == []


@pytest.mark.parametrize("start", [0, 1 << 31, (1 << 31) - 69_000, M32 - 100_000, M32])
def test_updates_are_due_wherever_the_counters_stand(start):
    c = established()
    for word in (w.RX_CNT, w.READ_CNT, w.FWD_CNT, w.FWD_SENT):
        c[word] = start
    c[w.EDGE] = start + 262144 & M32
    due = []
    for n in range(1, 20):
        assert control.admit(c, 10_000, 0, 262144, 0) == 10_000
        if credit.consumed(c, 10_000) & w.UPDATE_DUE:
            due.append(n)
            assert owed(c) == [UPDATE]
    assert due == [14]  # half the window


def test_small_reads_do_not_cost_an_update_each():
    c = established()
    updates = 0
    for _ in range(2000):
        control.admit(c, 100, 0, 262144, 0)
        credit.consumed(c, 100)
        updates += len(owed(c))
    assert updates == 1  # 200,000 bytes; the first 131,072 are half of the window


@pytest.mark.parametrize("alloc, due", [(65535, [UPDATE]), (65536, [])])
def test_a_peer_with_a_small_buffer_is_told_when_all_is_read(alloc, due):
    c = established(peer_window=alloc)
    control.admit(c, 100, 0, alloc, 0)
    credit.consumed(c, 99)
    assert owed(c) == []
    credit.consumed(c, 1)
    assert owed(c) == due


@pytest.mark.parametrize("unread, room", [(0, False), (1, True)])
def test_what_is_unread_as_the_peer_ends_keeps_the_socket_connected(unread, room):
    c = established()
    control.admit(c, 5, 0, 262144, 0)
    credit.consumed(c, 5 - unread)
    control.on_control(c, w.OP_SHUTDOWN, w.SHUTDOWN_BOTH, 262144, 0)
    credit.consumed(c, unread)
    control.settle(c)
    assert c[w.STATE] == w.CLOSED
    assert bool(control.stays(c)) == room


@pytest.mark.parametrize("window, limit, flying", [(99, 500, 99), (500, 99, 99), (100, 100, 99)])
def test_a_socket_kept_by_unread_bytes_remembers_whether_its_peer_had_room(window, limit, flying):
    """Nothing tells of room any more: as it was then it stays, for poll."""
    c = established(peer_window=window)
    c[w.SEND_LIMIT] = limit
    control.send(c, flying, 0)
    control.admit(c, 5, 0, window, 0)
    control.on_control(c, w.OP_SHUTDOWN, w.SHUTDOWN_BOTH, window, 0)
    assert c[w.SHUT] & w.SHUT_UNREAD
    assert bool(c[w.SHUT] & w.SHUT_FULL) == (min(window, limit) == flying)


def test_a_lost_connection_is_not_connected_whatever_is_unread():
    c = established()
    control.admit(c, 5, 0, 262144, 0)
    control.lose(c, ECONNRESET)
    assert not control.stays(c)


def test_lowat_above_what_is_queued_tells_the_peer_of_every_byte():
    c = established(window=1000)
    c[w.LOWAT] = 900
    control.admit(c, 500, 0, 262144, 0)
    assert not control.readable(c)
    credit.consumed(c, 10)
    assert owed(c) == [UPDATE]


@pytest.mark.parametrize("lowat, due", [(491, [UPDATE]), (490, [])])
def test_the_peer_is_told_of_every_byte_while_fewer_than_lowat_are_queued(lowat, due):
    c = established(window=1000)
    c[w.LOWAT] = lowat
    control.admit(c, 500, 0, 262144, 0)
    credit.consumed(c, 10)
    assert owed(c) == due


def test_update_rides_on_data():
    c = established()
    control.admit(c, 150000, 0, 262144, 0)
    assert credit.consumed(c, 150000)
    control.send(c, 1, 0)
    assert owed(c) == []
    assert c[w.FWD_SENT] == 150000


def read_on(c, n):
    """`n` bytes come and are read at once; whether a wider window was asked for, how often."""
    asked = 0
    while n > 0:
        part = min(n, 65536)
        assert control.admit(c, part, 0, 262144, 0) == part
        if credit.consumed(c, part) & w.WIDEN:
            asked += 1
            credit.widen(c, w.STEP)
        owed(c)
        n -= part
    return asked


def test_window_grows_for_a_program_that_reads_much_up_to_a_mebibyte():
    c = established()
    assert read_on(c, 900_000) == 0
    assert read_on(c, 16 << 20) == 3
    assert c[w.BUF_ALLOC] == c[w.BASE] == 1 << 20
    assert credit.peer_knows(c) >= 1 << 19  # all of it is advertised, none held back


def test_window_that_the_program_chose_stays():
    c = established()
    c[w.OPTIONS] |= w.OPT_FIXED_WINDOW
    assert read_on(c, 16 << 20) == 0


@pytest.mark.parametrize("start", [0, M32 - 30])
def test_a_connection_in_words(start):
    c = End(1000, 2000, 262144, start, start).c
    control.accept(c, 5000, start)
    assert control.admit(c, 1000, 0, 5000, start) == 1000
    credit.count(c, 10)
    control.send(c, 50, 0)
    control.shutdown(c, w.SHUT_LOCAL_RCV)
    assert credit.unread(c) == 50
    says = "ESTABLISHED 33:1000 > 2:2000 shut=1 queued=990 in_flight=50 credit=4950"
    assert control.describe(c) == says


def test_a_connection_without_room_has_no_credit_in_words():
    c = block()
    assert control.describe(c) == (
        "FRESH 33:1000 > 2:2000 shut=0 queued=0 in_flight=0 credit=0"  # not minus EPIPE
    )


def test_bytes_that_find_no_memory_do_not_count():
    c = established()
    assert control.admit(c, 1000, 0, 262144, 0) == 1000
    control.overflow(c, 1000, 0)
    assert credit.queued(c) == 0
    assert c[w.STATE] == w.CLOSED
    assert c[w.ERROR] == 105  # ENOBUFS
    assert owed(c) == [RST]
