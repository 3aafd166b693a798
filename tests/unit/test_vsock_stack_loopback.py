# SPDX-License-Identifier: MIT
"""Whole transfers through the stack, its loopback and its store: no device, real bytes.

Any number of connections at once, each with its own bytes, end in any order; then nothing of
them may be left: no connection, no port, no segment of memory.
"""

import random
from typing import Any

import pytest
import vsock_bench
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from profiles import examples

w = vsock_bench.module("vsock.words")
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")
stack_module = vsock_bench.module("vsock.stack")
store_module = vsock_bench.module("vsock.store")
types = vsock_bench.module("sockets.types")
options_module = vsock_bench.module("sockets.options")
memory = vsock_bench.memory
clock = vsock_bench.clock
ANY, LOCAL = w.CID_ANY, w.CID_LOCAL
STREAM, SEQPACKET = types.STREAM, types.SEQPACKET
TYPES = {kind.packet_type: kind for kind in (STREAM, SEQPACKET)}
PORT = 1234
NOISE = random.Random(5).randbytes(1 << 20)


def new_stack(chunks=32):
    memory.clear()
    clock.reset()
    store = store_module.Store(vsock_bench.DMABuffer, 1, chunks << 18)
    return stack_module.Stack(store, 1 << 20, 5000)


class Side:
    """A program with one connection: what it sent, what it has read."""

    def __init__(self, conn, start):
        self.conn = conn
        self.stream = NOISE[start:] + NOISE[:start]
        self.sent = 0
        self.read = 0
        self.messages = []  # lengths of messages sent, in order
        self.closed = False
        self.deaf = False  # it shut reading: what its peer sends is lost
        self.holder = None

    @property
    def kind(self):
        return TYPES[self.conn.block[w.TYPE_OP] & w.TYPE_MASK]

    def send(self, n, flags=0):
        n = min(n, len(self.stream) - self.sent)
        if n == 0:
            return 0
        buffer = vsock_bench.DMABuffer(n)
        memory.find(buffer.addr, n)[:] = self.stream[self.sent : self.sent + n]
        done = self.conn.send(buffer.addr, n, buffer, flags, 0)
        buffer.free()
        if done > 0:
            self.sent += done
        return done

    def receive(self, peer, want, peek):
        """Read and compare with what the peer sent; returns how many bytes."""
        into = vsock_bench.DMABuffer(want)
        n = self.conn.receive(into.addr, want, peek)
        assert bytes(memory.find(into.addr, n)) == peer.stream[self.read : self.read + n]
        into.free()
        if not peek:
            self.read += n
        return n

    def receive_message(self, peer, want, peek):
        into = vsock_bench.DMABuffer(want)
        n, length, flags = self.conn.receive_message(into.addr, want, peek)
        assert length == peer.messages[0]  # a message is never cut nor joined
        assert n == min(want, length)
        assert flags & w.SEQ_EOM
        assert bytes(memory.find(into.addr, n)) == peer.stream[self.read : self.read + n]
        into.free()
        if not peek:
            self.read += length
            peer.messages.pop(0)

    def close(self, stack):
        """As the socket does: its own port is free once the peer has ended it too."""
        self.closed = True
        self.conn.close()
        if self.holder is None:
            return
        if self.conn.key is not None:
            self.conn.holder = self.holder
        else:
            stack.unbind(*self.holder)


def connect(stack, listener, kind=STREAM, window=262144, start=0):
    """A connection through the loopback: (client, server)."""
    port = stack.bind(ANY, ANY)
    conn = stack.open(LOCAL, port, LOCAL, PORT, kind, window)
    control.connect(conn.at)
    conn.flush()
    assert conn.block[w.STATE] == w.ESTABLISHED
    client, server = Side(conn, start), Side(listener.pending.pop(0), start + 4096)
    client.holder = ANY, port
    return client, server


def listen(stack, kind=STREAM):
    listener = stack_module.Listener(kind, ANY, 3, options_module.Options())
    stack.listen(listener, PORT)
    return listener


def assert_nothing_is_left(stack):
    assert not stack.table.count
    assert not stack.ports
    assert not stack.lingering
    assert stack.loopback.free() == stack_module.Loopback(stack).free()
    store = stack.store
    assert store.spare + store._words[w.STORE_BLOCKS] == store.segments
    assert store._words[w.STORE_PROMISED] == store.spare  # one block for each large buffer
    assert store._words[w.STORE_RESERVED] == stack.budget.connections


class Transfers(RuleBasedStateMachine):
    """Programs that talk to each other through one stack."""

    @initialize()
    def start(self):
        self.stack = new_stack()
        self.listeners = {STREAM: listen(self.stack), SEQPACKET: None}
        self.pairs = []

    @rule(
        window=st.one_of(st.integers(1, 70000), st.just(262144)),
        start=st.integers(0, 1 << 19),
        kind=st.sampled_from([STREAM, STREAM, SEQPACKET]),
    )
    def connect(self, window, start, kind):
        if len(self.pairs) == 6:
            return
        listener = self.listeners[STREAM]
        listener.kind = kind
        listener.options.size = window
        self.pairs.append(connect(self.stack, listener, kind, window, start))

    def pick(self, which, side):
        """(a program, its peer), or None if it has closed."""
        if not self.pairs:
            return None
        pair = self.pairs[which % len(self.pairs)]
        return None if pair[side].closed else (pair[side], pair[1 - side])

    sizes = st.one_of(st.integers(1, 200), st.sampled_from([4096, 4097, 65536, 65537, 300000]))
    pick_one: Any = {"which": st.integers(0, 5), "side": st.integers(0, 1)}

    @rule(**pick_one, n=sizes)
    def send(self, which, side, n):
        me, peer = self.pick(which, side) or (None, None)
        if me is None:
            return
        room = me.conn.room()
        if me.kind == SEQPACKET:
            # All of it or nothing, and at most as many as a receiver keeps of tiny ones.
            if 0 < n <= room and len(me.messages) < 60:
                assert me.send(n, w.SEQ_EOM) == n
                me.messages.append(n)
            return
        done = me.send(n)
        assert done == min(n, room) or room == 0 == done
        if room < 0:
            assert done == -32

    @rule(**pick_one, want=sizes, peek=st.booleans())
    def receive(self, which, side, want, peek):
        me, peer = self.pick(which, side) or (None, None)
        if me is None:
            return
        if me.kind == SEQPACKET:
            if me.conn.block[w.MESSAGES]:
                me.receive_message(peer, want, peek)
            return
        me.receive(peer, want, peek)

    @rule(**pick_one, how=st.integers(1, 3))
    def shutdown(self, which, side, how):
        me, peer = self.pick(which, side) or (None, None)
        if me is not None and me.conn.block[w.STATE] == w.ESTABLISHED:
            me.conn.shutdown(how)
            me.deaf |= bool(how & w.SHUT_LOCAL_RCV)

    @rule(**pick_one)
    def close(self, which, side):
        me, peer = self.pick(which, side) or (None, None)
        if me is not None and peer is not None:
            me.close(self.stack)
            if peer.closed:
                self.pairs = [pair for pair in self.pairs if me not in pair]

    @rule(ms=st.sampled_from([1, 499, 500, 8000]))
    def time_passes(self, ms):
        clock.now += 1000 * ms
        self.stack.expire()

    @invariant()
    def all_that_was_sent_is_there_or_was_read(self):
        for pair in self.pairs:
            for me, peer in (pair, pair[::-1]):
                if not me.closed and not me.deaf:
                    assert credit.queued(me.conn.at) == peer.sent - me.read
                    assert me.conn.block[w.ERROR] == 0

    def teardown(self):
        if not hasattr(self, "stack"):
            return
        for pair in self.pairs:
            for side in pair:
                if not side.closed:
                    side.close(self.stack)
        for _ in range(2):
            clock.now += 8_000_000
            self.stack.expire()
        self.stack.unlisten(self.listeners[STREAM], PORT)
        assert_nothing_is_left(self.stack)


TestTransfers = Transfers.TestCase
TestTransfers.settings = settings(
    max_examples=examples(600), stateful_step_count=30, deadline=None
)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(2000, 300000),
    st.lists(st.one_of(st.integers(1, 5000), st.integers(1, 1 << 18)), min_size=1, max_size=8),
    st.lists(st.integers(1000, 1 << 17), min_size=1, max_size=10),
)
def test_an_echo_of_everything_sent_comes_back(window, writes, reads):
    stack = new_stack()
    listener = listen(stack)
    listener.options.size = window
    client, server = connect(stack, listener, window=window)
    server.stream = client.stream  # what comes is what goes back
    turn = back = 0
    todo = list(writes)
    while todo or server.read < client.sent or back < client.sent:
        moved = 0
        if todo:
            done = client.send(todo[0])
            moved += done
            todo[0] -= done
            if todo[0] == 0 or client.sent == len(client.stream):
                todo.pop(0)
                moved += 1
        want = reads[turn % len(reads)]
        moved += server.receive(client, want, False)
        if server.read > server.sent:
            moved += server.send(server.read - server.sent)
        n = client.receive(server, want, False)
        back += n
        turn += 1
        if not moved + n:
            client.conn.tell()
            server.conn.tell()
            assert client.conn.room() > 0 or server.conn.room() > 0, "everybody waits"
    client.conn.shutdown(w.SHUT_LOCAL_SEND)
    assert server.conn.block[w.SHUT] & w.SHUT_PEER_SEND
    server.close(stack)
    client.close(stack)
    stack.unlisten(listener, PORT)
    assert_nothing_is_left(stack)


def test_a_connection_to_oneself_is_eproto():
    stack = new_stack()
    conn = stack.open(LOCAL, PORT, LOCAL, PORT, STREAM, 1000)
    control.connect(conn.at)
    conn.flush()
    assert (conn.block[w.STATE], conn.block[w.ERROR]) == (w.CLOSED, 71)
    assert not stack.table.count


def test_a_connection_that_nobody_takes_is_econnreset():
    stack = new_stack()
    for kind in (STREAM, SEQPACKET):
        conn = stack.open(LOCAL, 5000, LOCAL, PORT, kind, 1000)
        control.connect(conn.at)
        conn.flush()
        assert (conn.block[w.STATE], conn.block[w.ERROR]) == (w.CLOSED, 104)
        assert not stack.table.count
        listen(stack, STREAM)  # the second try is of the other type


def test_ten_thousand_connections_leave_nothing_behind():
    stack = new_stack()
    listener = listen(stack)
    for i in range(10000):
        client, server = connect(stack, listener, start=i)
        client.send(100)
        assert server.receive(client, 100, False) == 100
        for side in (client, server) if i & 1 else (server, client):
            side.close(stack)
    stack.unlisten(listener, PORT)
    assert stack.store.segments == 1 + 3 * 64
    assert_nothing_is_left(stack)


def test_connections_that_were_never_accepted_are_reset_with_their_listener():
    stack = new_stack()
    listener = listen(stack)
    conns = []
    for port in (5000, 5001):
        conn = stack.open(LOCAL, port, LOCAL, PORT, STREAM, 1000)
        control.connect(conn.at)
        conn.flush()
        conns.append(Side(conn, 0))
    conns[0].send(500)  # bytes that nobody will read
    stack.unlisten(listener, PORT)
    assert [side.conn.block[w.STATE] for side in conns] == [w.CLOSED] * 2
    assert_nothing_is_left(stack)


def test_a_connection_whose_credit_is_not_linuxs_keeps_no_ends_of_packets():
    stack = new_stack()
    client, server = connect(stack, listen(stack))
    assert not client.conn.block[w.OPTIONS] and server.conn.block[w.OPTIONS] & w.OPT_LOOPBACK
    server.send(10)
    client.send(10)
    assert (client.conn.edges, server.conn.edges) == (None, [10])


def test_256_packets_have_an_end_of_their_own_and_of_further_ones_those_with_more_bytes():
    stack = new_stack()
    client, server = connect(stack, listen(stack))
    for n in (*[2] * 300, 128, 129, 1):
        assert client.send(n) == n
    assert server.conn.edges == [*range(2, 512, 2), 728, 858]


@pytest.mark.parametrize("unread", [0, 10])
def test_who_closes_over_unread_bytes_says_so_at_once_to_a_peer_that_has_none(unread):
    """That peer waits for nothing else, to end the connection; one with bytes does on Linux, too,
    and has no room meanwhile."""
    stack = new_stack()
    client, server = connect(stack, listen(stack))
    assert client.send(100) == 100
    if unread:
        assert server.send(unread) == unread
    server.close(stack)
    if unread:
        assert client.conn.block[w.STATE] == w.ESTABLISHED
        assert credit.unread(client.conn.at) == 100
        assert client.receive(server, unread, False) == unread
    assert client.conn.block[w.STATE] == w.CLOSED
    assert not stack.table.count


def test_a_connection_that_is_over_says_nothing_to_the_next_one_between_its_ports():
    stack = new_stack()
    listener = listen(stack)
    client, server = connect(stack, listener)
    client.send(100)
    server.receive(client, 50, False)
    client.close(stack)
    clock.now += 8_000_000
    stack.expire()  # it has waited long enough for the rest to be read
    assert server.conn.block[w.STATE] == w.CLOSED
    after = stack.open(LOCAL, client.holder[1], LOCAL, PORT, STREAM, 1000)
    control.connect(after.at)
    after.flush()
    assert after.block[w.STATE] == w.ESTABLISHED
    server.close(stack)
    assert (after.block[w.PEER_FWD], after.room()) == (0, 1000)


def test_ends_are_forgotten_with_the_end_of_reading_and_sending_alone():
    stack = new_stack()
    client, server = connect(stack, listen(stack))
    client.send(100)
    server.conn.shutdown(w.SHUT_LOCAL_RCV)
    assert server.conn.edges == [100] and credit.unread(client.conn.at) == 100
    server.conn.shutdown(w.SHUT_LOCAL_SEND)
    assert server.conn.edges is None and client.conn.block[w.STATE] == w.CLOSED
