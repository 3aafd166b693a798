# SPDX-License-Identifier: MIT
"""The stack: who gets a packet, what is refused, who holds which port.

A way out that keeps packets stands in for the device; `Host` is whoever is at its other end.
"""

import random
from array import array
from errno import EADDRINUSE, ECONNRESET
from types import SimpleNamespace
from typing import Any

import pytest
import vsock_bench
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from profiles import examples

w = vsock_bench.module("vsock.words")
portable = vsock_bench.portable
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")
stack_module = vsock_bench.module("vsock.stack")
table_module = vsock_bench.module("vsock.table")
store_module = vsock_bench.module("vsock.store")
types_module = vsock_bench.module("sockets.types")
receive_module = vsock_bench.module("vsock.receive")
options_module = vsock_bench.module("sockets.options")
clock = vsock_bench.clock
ANY = w.CID_ANY
STREAM, SEQPACKET = w.TYPE_STREAM, w.TYPE_SEQPACKET
TYPES = {STREAM: types_module.STREAM, SEQPACKET: types_module.SEQPACKET}
BOTH = w.SHUTDOWN_RCV | w.SHUTDOWN_SEND
CID = 33
NOISE = random.Random(7).randbytes(1 << 19)


class Host:
    """A stack with a device's way out, and the packets that a host sends and sees."""

    def __init__(self, slots=1 << 20):
        vsock_bench.memory.clear()
        self.store = store_module.Store(vsock_bench.DMABuffer, 1, 8 << 20)
        self.stack = stack_module.Stack(self.store, 1 << 20, 5000)
        self._join(slots)

    def _join(self, slots=1 << 20):
        self.out = vsock_bench.Wire(self.store, slots)
        device = SimpleNamespace(sending_done=lambda: False, seqpacket=True)
        self.stack.join(device, self.out, CID)
        self.receiver = receive_module.Receiver(self.stack, self.out, False)
        self.receiver.serve(CID, CID)

    def have_large_buffers(self, count):
        """Start anew with a Store that has so many."""
        self.store = store_module.Store(vsock_bench.DMABuffer, count, 8 << 20)
        for seg in [self.store.take_large() for _ in range(count)]:
            self.store.release(seg)  # number 0 last: it is the next one to be used
        self.stack.store = self.out.store = self.store
        self.stack.budget = stack_module.Budget(self.store)
        self.receiver._store = self.store

    def have_store(self, chunks):
        """Start anew with so many chunks of blocks."""
        self.store = store_module.Store(vsock_bench.DMABuffer, 1, chunks << 18)
        self.stack = stack_module.Stack(self.store, 16 << 20, 5000)
        self._join()

    def packet(self, op, port, to, kind=STREAM, cid=2, flags=0, alloc=1 << 18, fwd=0, n=0):
        """A packet from the host's port `to` to our `port`, `n` zeros; what it is answered."""
        header = [cid, 0, CID, 0, to, port, n, kind | op << 16, flags, alloc, fwd]
        self.deliver(header, bytes(n))
        return self.answers()

    def data(self, port, to, payload, cid=2):
        """Data, in memory that is no receive buffer."""
        kind = STREAM | w.OP_RW << 16
        self.deliver([cid, 0, CID, 0, to, port, len(payload), kind, 0, 1 << 18, 0], payload)

    def deliver(self, header, payload):
        """Send a packet down the receive road."""
        header, payload = array("I", header), array("B", payload)
        at, data = portable.addressof(header), portable.addressof(payload)
        self.receiver.packet(self.receiver.at, at, data, w.HEADER_LEN + len(payload), -1)

    def find(self, cid, to, port):
        """The connection of the host's port `to` and our `port`, or None."""
        header = array("I", [cid, 0, CID, 0, to, port] + [0] * 5)
        return self.stack.table.find(header, self.out)

    def answers(self):
        """What went out since: (op, cid, from our port, to port, type, flags)."""
        found = []
        for words, payload in self.out.take():
            assert words[0] == CID and words[1] == words[3] == 0
            assert words[6] == len(payload)
            kind, op = words[7] & 0xFFFF, words[7] >> 16
            found.append((op, words[2], words[4], words[5], kind, words[8]))
        return found

    def listen(self, port, kind=STREAM, backlog=0, cid=ANY):
        listener = stack_module.Listener(TYPES[kind], cid, backlog, options_module.Options())
        self.stack.listen(listener, port)
        return listener

    def connected(self, port=1234, to=5000, kind=STREAM):
        """A connection that the host opened and the guest accepted."""
        listener = self.listen(port, kind)
        assert [answer[0] for answer in self.packet(w.OP_REQUEST, port, to, kind)] == [2]
        return listener.pending.pop(0)


@pytest.fixture
def host():
    clock.reset()
    return Host()


def rst(port, to, kind=STREAM, cid=2):
    return [(w.OP_RST, cid, port, to, kind, 0)]


# -- any packets to any ports

PORTS = (1234, 1234 ^ 0x8000, 80)
ports = st.sampled_from(PORTS)
kinds = st.sampled_from([STREAM, STREAM, SEQPACKET])
peers = st.tuples(st.sampled_from([2, 3]), st.sampled_from([5000, 5001]))


class Dispatch(RuleBasedStateMachine):
    """Listeners and connections that hosts open and end, against two dictionaries."""

    @initialize()
    def start(self):
        self.host = Host()
        self.stack = self.host.stack
        self.listeners = {}  # port -> (Listener, kind, backlog)
        self.alive = {}  # (cid, peer's port, our port) -> Connection
        self.shut = {}  # the same -> directions that the peer closed

    @rule(port=ports, kind=kinds, backlog=st.integers(0, 2))
    def listen(self, port, kind, backlog):
        if port not in self.listeners:
            self.listeners[port] = self.host.listen(port, kind, backlog), kind, backlog

    @rule(port=ports)
    def accept(self, port):
        if port in self.listeners and self.listeners[port][0].pending:
            self.listeners[port][0].pending.pop(0)

    @rule(port=ports)
    def stop_listening(self, port):
        if port not in self.listeners:
            return
        listener, _, _ = self.listeners.pop(port)
        doomed = [key for key, conn in self.alive.items() if conn in listener.pending]
        self.stack.unlisten(listener, port)
        expected = []
        for key in doomed:
            conn = self.alive.pop(key)
            del self.shut[key]
            expected.append((w.OP_RST, key[0], port, key[1], conn.block[7] & 0xFFFF, 0))
        assert sorted(self.host.answers()) == sorted(expected)

    @rule(peer=peers, port=ports, kind=kinds)
    def request(self, peer, port, kind):
        key = (*peer, port)
        conn = self.alive.get(key)
        answers = self.host.packet(w.OP_REQUEST, port, peer[1], kind, cid=peer[0])
        refusal = rst(port, peer[1], kind, peer[0])
        if conn is not None:
            # A live connection cannot be fully shut: that ends it. So this is a repetition.
            same = conn.block[7] & 0xFFFF == kind
            assert answers == ([] if same else refusal)
            return
        entry = self.listeners.get(port)
        if entry is None or entry[1] != kind or self.before(entry[0]) > entry[2]:
            assert answers == refusal
            return
        assert answers == [(w.OP_RESPONSE, peer[0], port, peer[1], kind, 0)]
        self.alive[key] = entry[0].pending[-1]
        self.shut[key] = 0

    def before(self, listener):
        """How many were pending before the request that has just been handled."""
        known = set(map(id, self.alive.values()))
        dead = [c for c in listener.pending if c.block[w.STATE] == w.CLOSED]
        return len([c for c in listener.pending if id(c) in known]) + len(dead)

    @rule(peer=peers, port=ports, kind=kinds, op=st.integers(0, 9), flags=st.integers(0, 7))
    def other(self, peer, port, kind, op, flags):
        if op == w.OP_REQUEST:
            return
        key = (*peer, port)
        conn = self.alive.get(key)
        answers = self.host.packet(op, port, peer[1], kind, cid=peer[0], flags=flags)
        if conn is None or conn.block[7] & 0xFFFF != kind:
            silent = op in (w.OP_INVALID, w.OP_RST)
            assert answers == ([] if silent else rst(port, peer[1], kind, peer[0]))
            return
        expected = []
        if op == w.OP_RST:
            del self.alive[key], self.shut[key]
        elif op == w.OP_SHUTDOWN:
            self.shut[key] |= flags & BOTH
            if self.shut[key] == BOTH:
                del self.alive[key], self.shut[key]
                expected = rst(port, peer[1], kind, peer[0])
        elif op == w.OP_CREDIT_REQUEST:
            expected = [(w.OP_CREDIT_UPDATE, peer[0], port, peer[1], kind, 0)]
        assert answers == expected

    @rule(cid=st.integers(3, 1 << 31))
    def the_transport_is_reset(self, cid):
        self.stack.lose(ECONNRESET)
        assert self.host.answers() == []
        for conn in self.alive.values():
            assert conn.block[w.ERROR] == 104
        self.alive.clear()
        self.shut.clear()

    @invariant()
    def the_table_holds_exactly_the_live_connections(self):
        found: list[object] = []
        self.stack.table.each(lambda conn, _: found.append(conn), None)
        assert self.stack.table.count == len(found)
        assert sorted(map(id, found)) == sorted(map(id, self.alive.values()))
        for (cid, to, port), conn in self.alive.items():
            assert self.host.find(cid, to, port) is conn

    @invariant()
    def backlogs_are_kept(self):
        for listener, _, backlog in self.listeners.values():
            assert len(listener.pending) <= backlog + 1


TestDispatch = Dispatch.TestCase
TestDispatch.settings = settings(
    max_examples=examples(1000), stateful_step_count=30, deadline=None
)


# -- ports


class Ports(RuleBasedStateMachine):
    """Binding, against Linux's rule: an address is taken by itself and by CID_ANY."""

    addresses = st.tuples(st.sampled_from([ANY, 1, CID]), st.integers(1023, 1028))

    @initialize()
    def start(self):
        self.stack = stack_module.Stack(Host().store, 0, 1024)
        self.held = []

    @rule(address=addresses)
    def bind(self, address):
        cid, port = address
        clash = any(p == port and ANY in (c, cid) or (c, p) == address for c, p in self.held)
        if clash:
            with pytest.raises(OSError) as caught:
                self.stack.bind(cid, port)
            assert caught.value.args == (EADDRINUSE,)
        else:
            assert self.stack.bind(cid, port) == port
            self.held.append(address)

    @rule(cid=st.sampled_from([ANY, 1, CID]))
    def bind_any(self, cid):
        port = self.stack.bind(cid, ANY)
        assert 1024 <= port < 1 << 30
        assert port not in [p for _, p in self.held]
        self.held.append((cid, port))

    @rule(which=st.integers(0, 99))
    def unbind(self, which):
        if self.held:
            self.stack.unbind(*self.held.pop(which % len(self.held)))

    @invariant()
    def held_ports_are_known(self):
        assert sorted(self.stack.ports) == sorted({port for _, port in self.held})


TestPorts = Ports.TestCase
TestPorts.settings = settings(max_examples=examples(400), stateful_step_count=20, deadline=None)


def test_automatic_ports_begin_again_after_the_last(host):
    host.stack.automatic.next = 0x3FFFFFFF
    assert host.stack.bind(ANY, ANY) == 0x3FFFFFFF
    assert host.stack.bind(ANY, ANY) == 1024


def test_port_0_is_a_port_like_others(host):
    assert host.stack.bind(ANY, 0) == 0
    with pytest.raises(OSError):
        host.stack.bind(CID, 0)


# -- one thing at a time


def test_listen_n_holds_n_plus_one_and_the_next_is_reset(host):
    host.listen(1234, backlog=2)
    answers = [host.packet(w.OP_REQUEST, 1234, 5000 + i)[0][0] for i in range(4)]
    assert answers == [w.OP_RESPONSE] * 3 + [w.OP_RST]


def test_a_pending_client_that_leaves_keeps_its_place_until_accepted(host):
    listener = host.listen(1234)
    host.packet(w.OP_REQUEST, 1234, 5000)
    assert host.packet(w.OP_RST, 1234, 5000) == []
    assert host.packet(w.OP_REQUEST, 1234, 5001) == rst(1234, 5001)
    listener.pending.pop(0)
    assert host.packet(w.OP_REQUEST, 1234, 5001)[0][0] == w.OP_RESPONSE


def test_a_listener_on_one_cid_takes_no_connections_to_another(host):
    host.listen(1234, cid=1)
    assert host.packet(w.OP_REQUEST, 1234, 5000) == rst(1234, 5000)
    host.listen(1234, cid=CID)
    assert host.packet(w.OP_REQUEST, 1234, 5000)[0][0] == w.OP_RESPONSE


def test_the_same_port_pair_is_free_again_after_an_orderly_close(host):
    conn = host.connected()
    assert host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH) == rst(1234, 5000)
    assert conn.key is None
    assert host.packet(w.OP_REQUEST, 1234, 5000)[0][0] == w.OP_RESPONSE


def test_a_request_after_a_full_shutdown_is_accepted_while_the_old_socket_still_holds_bytes(host):
    conn = host.connected()
    host.data(1234, 5000, b"nobody read this")
    assert host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH) == []
    assert host.packet(w.OP_REQUEST, 1234, 5000)[0][0] == w.OP_RESPONSE
    assert conn.block[w.STATE] == w.CLOSED
    assert host.find(2, 5000, 1234) is not conn


def test_data_before_the_response_is_eproto(host):
    """Linux: a connecting socket takes RESPONSE and RST, anything else is a protocol error."""
    conn = host.stack.open(CID, 1024, 2, 99, TYPES[STREAM], 1 << 18)
    control.connect(conn.at)
    conn.flush()
    assert [answer[0] for answer in host.answers()] == [w.OP_REQUEST]
    assert host.packet(w.OP_RW, 1024, 99, n=5) == rst(1024, 99)
    assert conn.block[w.ERROR] == 71
    assert conn.key is None


def test_a_zero_length_packet_brings_credit(host):
    conn = host.connected()
    assert host.packet(w.OP_RW, 1234, 5000, alloc=1000) == []
    assert conn.room() == 1000


def test_a_closed_connection_that_the_peer_forgets_is_reset_after_eight_seconds(host):
    conn = host.connected()
    conn.close()
    assert [(a[0], a[5]) for a in host.answers()] == [(w.OP_SHUTDOWN, BOTH)]
    assert host.stack.next_expiry() == 8000
    clock.now = 7_999_000
    host.stack.expire()
    assert host.answers() == [] and conn.key is not None
    clock.now = 8_000_000
    host.stack.expire()
    assert host.answers() == rst(1234, 5000)
    assert conn.key is None and host.stack.next_expiry() is None


def test_who_shut_both_ways_and_holds_bytes_of_ours_is_reset_after_half_a_second(host):
    conn = host.connected()
    data = bytes(100)
    assert conn.send(vsock_bench.memory.addressof(data), 100, data, 0, 0) == 100
    assert host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH)[-1][0] == w.OP_CREDIT_REQUEST
    conn.close()
    host.answers()
    assert host.stack.next_expiry() == 500
    clock.now = 500_000
    host.stack.expire()
    assert host.answers() == rst(1234, 5000)


def late_sender(host, taken=0, unread=0):
    """A connection whose peer has shut both directions; 1000 bytes are in flight."""
    conn = host.connected()
    if unread:
        host.data(1234, 5000, bytes(unread))
    conn.block[w.OPTIONS] |= w.OPT_LATE_SEND
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=1000)
    data = bytes(1000)
    assert conn.send(vsock_bench.memory.addressof(data), 1000, data, 0, 0) == 1000
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH, alloc=1000, fwd=taken)
    return conn


def pass_time(host, seconds):
    """Go on to the moments at which the stack wants to be asked, up to so many seconds."""
    end = clock.now + int(1_000_000 * seconds)
    while True:
        wait = host.stack.next_expiry()
        if wait is None or clock.now + 1000 * wait > end:
            break
        clock.now += 1000 * wait
        host.stack.expire()
    clock.now = end


def test_a_late_sender_whose_peer_takes_nothing_is_reset(host):
    conn = late_sender(host)
    pass_time(host, 59)
    assert conn.block[w.STATE] == w.ESTABLISHED
    host.answers()
    pass_time(host, 1)
    assert host.answers() == rst(1234, 5000)
    assert (conn.block[w.ERROR], conn.key, host.stack.late) == (110, None, [])
    assert host.stack.next_expiry() is None


def test_a_late_sender_whose_peer_takes_a_little_goes_on(host):
    conn = late_sender(host)
    for i in range(5):
        pass_time(host, 50)
        host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=1000, fwd=i + 1)
        assert conn.block[w.STATE] == w.ESTABLISHED
    pass_time(host, 121)
    assert conn.block[w.ERROR] == 110


def test_a_late_sender_that_has_nothing_to_send_has_all_the_time_it_wants(host):
    conn = late_sender(host, taken=1000)
    pass_time(host, 10_000)
    assert conn.block[w.STATE] == w.ESTABLISHED
    conn.room()  # it waits for credit, and a peer that takes nothing gives it
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=0, fwd=1000)
    conn.room()
    pass_time(host, 121)
    assert conn.block[w.ERROR] == 110


def test_a_late_senders_patience_may_have_no_end(host):
    conn = late_sender(host)
    conn.patience = 0
    pass_time(host, 1000)
    assert (conn.block[w.STATE], host.stack.late) == (w.ESTABLISHED, [])
    assert host.stack.next_expiry() is None


def test_a_late_sender_that_is_closed_lingers_as_others_do(host):
    conn = late_sender(host)
    conn.close()
    pass_time(host, 0.4)
    assert conn.key is not None
    pass_time(host, 0.1)
    assert conn.key is None and not host.stack.late and not host.stack.lingering


def test_stalled_connections_that_hold_data_can_be_given_up(host):
    host.listen(1234, backlog=9)
    for peer in range(5000, 5004):
        request(host, peer)
    idle, stalled, reads, gets = host.stack.listeners[1234][0].pending
    for conn in stalled, reads, gets:
        fill(host, conn, 100)
    assert host.stack.look_for_stalled() == 0
    read_all(reads, 10)
    fill(host, gets, 10)
    assert host.stack.look_for_stalled() == 1
    host.stack.end_stalled(1)
    states = [conn.block[w.STATE] for conn in (idle, stalled, reads, gets)]
    assert states == [w.ESTABLISHED, w.CLOSED, w.ESTABLISHED, w.ESTABLISHED]
    assert stalled.block[w.ERROR] == 105
    assert host.stack.look_for_stalled() == 1
    read_all(reads, 10)  # it moves before it is ended
    host.stack.end_stalled(1)
    assert [conn.key is None for conn in (idle, reads, gets)] == [False, False, True]


def test_who_has_stood_still_for_the_longest_time_is_given_up_first(host):
    host.listen(1234, backlog=9)
    conns = []
    for peer in range(5000, 5003):
        request(host, peer)
        conns = host.stack.listeners[1234][0].pending
        fill(host, conns[-1], 100)
        host.stack.look_for_stalled()
    assert [conn.looks for conn in conns] == [2, 1, 0]
    host.stack.end_stalled(2)
    assert [conn.block[w.STATE] == w.CLOSED for conn in conns] == [True, False, False]
    host.stack.end_stalled(1)
    assert [conn.block[w.STATE] == w.CLOSED for conn in conns] == [True, True, False]


def test_a_late_sender_that_stands_still_is_given_up_before_its_patience_ends(host):
    conn = late_sender(host, unread=10)
    assert host.stack.look_for_stalled() == 0
    assert host.stack.look_for_stalled() == 1
    host.stack.end_stalled(1)
    assert conn.key is None and not host.stack.late


def test_a_peer_that_asks_for_room_does_not_stand_still(host):
    """vhost-device-vsock does so as long as its client is there, and forwards nothing then."""
    conn = host.connected()
    while credit.peer_knows(conn.at):
        host.data(1234, 5000, bytes(min(65536, credit.peer_knows(conn.at))))
    host.stack.store.set_aside(host.stack.store.total)  # there is no room to grow
    assert not host.stack.budget.short
    for _ in range(3):
        assert host.stack.look_for_stalled() == 0
        for _ in range(2):
            host.packet(w.OP_CREDIT_REQUEST, 1234, 5000)
    assert host.stack.budget.short
    host.stack.look_for_stalled()
    assert host.stack.look_for_stalled() == 1


def test_data_leaves_room_in_the_loopback_for_what_is_owed(host):
    host.have_large_buffers(2)
    loopback = host.stack.loopback
    loopback._store = host.store
    conn = host.stack.open(1, 1000, 1, 2000, TYPES[STREAM], 1 << 18)
    loopback._busy = True  # nothing is delivered
    data = vsock_bench.memory.addressof(bytes(10))
    assert all(loopback.small(conn.at, data, 10, 0) for _ in range(64 - w.RESERVE))
    seg = host.store.take_large()
    host.store.fill(seg, data, 10)
    assert loopback.small(conn.at, data, 10, 0) == 0
    assert loopback.put_segment(conn.at, seg, 10, 0, 1) == 0
    assert loopback.spare() == -1
    loopback._packets.pop()
    loopback._count()
    assert loopback.put_segment(conn.at, seg, 10, 0, 1) == 1
    assert host.store.spare == 2  # it was copied, and is free again


def test_half_of_the_window_read_is_told_at_once(host):
    conn = host.connected()
    for _ in range(3):
        host.data(1234, 5000, bytes(50_000))
    host.answers()
    into = vsock_bench.DMABuffer(150_000)
    assert conn.receive(into.addr, 100_000, False) == 100_000
    assert host.answers() == []
    assert conn.receive(into.addr, 50_000, False) == 50_000
    assert [answer[0] for answer in host.answers()] == [w.OP_CREDIT_UPDATE]


def test_a_peer_is_asked_for_credit_at_once(host):
    host.connected().ask_credit()
    assert host.answers() == [(w.OP_CREDIT_REQUEST, 2, 1234, 5000, STREAM, 0)]


def test_splice_tells_of_half_of_the_window_at_once(host):
    source, to = host.connected(), host.connected(port=1235)
    for _ in range(3):
        host.data(1234, 5000, bytes(50_000))
    host.answers()
    assert source.splice(to) == 150_000
    *data, last = [(answer[0], answer[2]) for answer in host.answers()]
    assert set(data) == {(w.OP_RW, 1235)}
    assert last == (w.OP_CREDIT_UPDATE, 1234)


@pytest.mark.parametrize("data", [b"x", b"the last"])
def test_splice_of_the_last_byte_ends_a_connection_that_only_waited_for_its_reader(host, data):
    source, to = host.connected(), host.connected(port=1235)
    host.data(1234, 5000, data)
    assert host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH) == []
    assert source.splice(to) == -1
    assert [answer[:3] for answer in host.answers()] == [(w.OP_RW, 2, 1235), (w.OP_RST, 2, 1234)]
    assert source.key is None


@pytest.mark.parametrize("alloc", [1, 1 << 18])
def test_splice_without_a_slot_moves_nothing(host, alloc):
    source, to = host.connected(), host.connected(port=1235)
    host.packet(w.OP_CREDIT_UPDATE, 1235, 5000, alloc=alloc)
    host.data(1234, 5000, b"x")
    host.out.slots = len(host.out) + w.RESERVE
    assert source.splice(to) == 0
    host.out.slots += 1
    assert source.splice(to) == 1
    assert sent(host) == b"x"


def test_an_empty_queue_has_nothing_to_take(host):
    conn = host.connected()
    assert conn.take() == -1
    host.data(1234, 5000, b"something")
    assert host.store.length(conn.take()) == 9
    assert conn.take() == -1
    assert credit.queued(conn.at) == 0


def test_nothing_is_staged_without_a_buffer_to_spare(host):
    conn = host.connected()
    data = bytes(10_000)
    assert not conn.stage(vsock_bench.memory.addressof(data), len(data))
    assert conn.staged == -1


def test_staged_bytes_wait_for_a_slot(host):
    host.have_large_buffers(10)
    conn = host.connected()
    data = bytes(range(250)) * 40
    assert conn.stage(vsock_bench.memory.addressof(data), len(data))
    seg = conn.staged
    host.out.slots = len(host.out) + w.RESERVE
    assert conn.send_staged() == 0
    assert (conn.staged, sent(host)) == (seg, b"")
    host.out.slots += 1
    assert conn.send_staged() == len(data)
    assert (conn.staged, sent(host)) == (-1, data)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_staged_bytes_go_as_far_as_there_is_credit(host, more):
    host.have_large_buffers(10)
    conn = host.connected()
    data = bytes(range(250)) * 40
    assert conn.stage(vsock_bench.memory.addressof(data), len(data))
    seg = conn.staged
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=len(data) + more)
    assert conn.send_staged() == len(data) + min(more, 0)
    assert (conn.staged, conn.block[w.WANTED]) == ((seg, 1) if more < 0 else (-1, 0))
    assert sent(host) == data[: len(data) + more]


@pytest.mark.parametrize("alloc, held", [(1 << 18, 0), (5, 1)])
def test_what_a_device_that_breaks_did_not_take_of_a_splice_is_free_or_stays(host, alloc, held):
    """Whole segments have left their queue by then, of others the rest is there."""
    source, to = host.connected(), host.connected(port=1235)
    host.packet(w.OP_CREDIT_UPDATE, 1235, 5000, alloc=alloc)
    before = host.store._words[w.STORE_BLOCKS]
    host.data(1234, 5000, b"something")
    host.out.put_segment = lambda *arguments: 0
    assert source.splice(to) == -1
    assert source.block[w.HELD] == held
    assert host.store._words[w.STORE_BLOCKS] == before - held


def test_the_first_segment_of_all_can_be_taken(host):
    host.have_large_buffers(3)
    conn = host.connected()
    seg = host.store.take_large()
    assert seg == 0
    n = 5000
    data = host.store.address(seg)
    vsock_bench.memory.find(data, n)[:] = NOISE[:n]
    header = array("I", [2, 0, CID, 0, 5000, 1234, n, STREAM | w.OP_RW << 16, 0, 1 << 18, 0])
    at = portable.addressof(header)
    kept = host.receiver.packet(host.receiver.at, at, data, w.HEADER_LEN + n, seg)
    assert kept > 0
    assert conn.take() == seg


def test_a_peer_that_is_stuck_again_gets_the_reserve_first(host):
    conn = host.connected()

    def stuck():
        while credit.peer_knows(conn.at):
            host.data(1234, 5000, bytes(min(65536, credit.peer_knows(conn.at))))
        for _ in range(2):
            host.packet(w.OP_CREDIT_REQUEST, 1234, 5000)

    stuck()
    stuck()
    size = conn.block[w.BUF_ALLOC]
    assert size == 3 * 262144
    queued = credit.queued(conn.at)
    assert conn.receive(vsock_bench.DMABuffer(queued).addr, queued, False) == queued
    stuck()
    assert conn.block[w.BUF_ALLOC] == size


def test_a_full_loopback_has_no_room(host):
    loopback = host.stack.loopback
    header = array("I", bytes(w.HEADER_LEN))
    for left in [*range(64, 0, -1), 0]:
        assert loopback.free() == left
        loopback.copy(portable.addressof(header), 0, 0)
    assert loopback.free() == 0


def test_the_earliest_of_those_that_linger_comes_first(host):
    late, soon = host.connected(port=1), host.connected(port=2)
    late.close()
    data = bytes(1)
    soon.send(vsock_bench.memory.addressof(data), 1, data, 0, 0)
    host.packet(w.OP_SHUTDOWN, 2, 5000, flags=BOTH)
    soon.close()
    assert host.stack.next_expiry() == 500
    clock.now = 500_000
    host.stack.expire()
    assert host.stack.next_expiry() == 7500
    assert soon.key is None and late.key is not None


def test_a_port_has_listeners_of_several_cids_one_by_one(host):
    mine, other = host.listen(1234, cid=CID), host.listen(1234, cid=44)
    host.stack.unlisten(other, 1234)
    assert [answer[0] for answer in host.packet(w.OP_REQUEST, 1234, 5000)] == [w.OP_RESPONSE]
    host.stack.unlisten(mine, 1234)
    assert 1234 not in host.stack.listeners


def test_a_closed_connections_port_stays_taken_until_the_peer_ends_it(host):
    conn = host.connected()
    conn.holder = (ANY, host.stack.bind(ANY, 4000))
    conn.close()
    with pytest.raises(OSError):
        host.stack.bind(ANY, 4000)
    host.packet(w.OP_RST, 1234, 5000)
    assert host.stack.bind(ANY, 4000) == 4000


def test_refusals_without_room_are_left_out(host):
    host.out.slots = 2
    for i in range(5):
        header = [2, 0, CID, 0, 5000 + i, 9, 0, STREAM | w.OP_RW << 16, 0, 0, 0]
        host.deliver(header, b"")
    assert len(host.answers()) == 2


def test_a_refusal_takes_a_slot_that_came_back(host):
    host.out.slots = 0
    host.out.reap = lambda: setattr(host.out, "slots", 1)
    assert host.packet(w.OP_REQUEST, 9, 5000) == rst(9, 5000)


@pytest.mark.parametrize("alloc, told", [(1 << 18, 1), (1, 1), (0, 0)])
def test_who_starves_twice_is_told_once_and_not_without_credit(host, alloc, told):
    conn = host.connected()
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=alloc)
    woken: list[object] = []
    conn.hear(SimpleNamespace(add=woken.append))
    host.out.slots = len(host.out) + w.RESERVE
    assert [conn.room(), conn.room()] == [0, 0]
    host.stack.room_again()
    host.stack.room_again()
    assert woken == [conn] * told


def test_a_refusal_goes_back_with_the_type_that_came(host):
    for kind in (0, 1, 2, 3, 0xFFFF):
        assert host.packet(w.OP_REQUEST, 9, 5000, kind) == rst(9, 5000, kind)


def test_a_stuck_peer_gets_a_larger_window_up_to_the_limit(host):
    conn = host.connected()
    size = conn.block[w.BUF_ALLOC]
    for step in range(1, 8):
        while credit.peer_knows(conn.at):
            host.data(1234, 5000, bytes(min(65536, credit.peer_knows(conn.at))))
        for _ in range(2):  # stuck is who asks again and nothing has moved
            answers = host.packet(w.OP_CREDIT_REQUEST, 1234, 5000)
            assert [answer[0] for answer in answers] == [w.OP_CREDIT_UPDATE]
        assert conn.block[w.BUF_ALLOC] == min(size + step * 262144, 1 << 20)


def test_a_request_of_the_other_type_on_a_live_connection_is_refused(host):
    conn = host.connected()
    host.stack.unlisten(host.stack.listeners[1234][0], 1234)
    host.listen(1234, SEQPACKET)
    assert host.packet(w.OP_REQUEST, 1234, 5000, SEQPACKET) == rst(1234, 5000, SEQPACKET)
    assert host.find(2, 5000, 1234) is conn


def test_transport_reset_breaks_connections_and_keeps_listeners(host):
    conn = host.connected()
    host.stack.lose(ECONNRESET)
    host.stack.rename(44)
    assert (conn.block[w.STATE], conn.block[w.ERROR]) == (w.CLOSED, 104)
    assert host.answers() == [] and not host.stack.table.count
    assert host.stack.cid == 44 and 1234 in host.stack.listeners


def test_shutdown_of_reading_ends_a_connection_that_only_waited_for_its_reader(host):
    conn = host.connected()
    host.data(1234, 5000, b"nobody read this")
    assert host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH) == []
    conn.shutdown(w.SHUT_LOCAL_RCV)
    assert host.answers() == rst(1234, 5000)
    assert conn.key is None


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_connections_that_share_a_key_are_told_apart_and_removed_one_by_one(host, gone):
    peers = crowd(host, 3)
    host.listen(1234, backlog=9)
    for peer in peers:
        host.packet(w.OP_REQUEST, 1234, peer)
    conns = [host.find(2, peer, 1234) for peer in peers]
    assert len({conn.key for conn in conns}) == 1
    peer = peers.pop(gone)
    host.packet(w.OP_RST, 1234, peer)
    assert host.find(2, peer, 1234) is None
    for peer in peers:
        assert host.find(2, peer, 1234).block[w.DST_PORT] == peer


def test_a_connection_that_is_gone_holds_no_other(host):
    """Its socket may live on for long."""
    peers = crowd(host, 3)
    host.listen(1234, backlog=9)
    for peer in peers:
        host.packet(w.OP_REQUEST, 1234, peer)
    conns = [host.find(2, peer, 1234) for peer in peers]
    assert any(conn.twin is not None for conn in conns)
    for peer in reversed(peers):  # the first one in their bucket goes first
        host.packet(w.OP_RST, 1234, peer)
    assert [conn.twin for conn in conns] == [None] * 3


def crowd(host, count):
    """Ports of the host's whose connections to our port 1234 share a key."""
    mask = host.stack.table._mask
    wanted = table_module._spread(1234, 5000, 2) & mask
    ports = (port for port in range(5000, 1 << 30))
    crowd = (port for port in ports if table_module._spread(1234, port, 2) & mask == wanted)
    return [next(crowd) for _ in range(count)]


def test_a_host_that_has_all_its_connections_meet_is_refused_after_a_few(host):
    """A look takes 16 comparisons at most, whatever a host makes of its ports."""
    peers = crowd(host, 20)
    host.listen(1234, backlog=99)
    ops = [host.packet(w.OP_REQUEST, 1234, peer)[0][0] for peer in peers]
    assert ops == [w.OP_RESPONSE] * 16 + [w.OP_RST] * 4
    host.packet(w.OP_RST, 1234, peers[3])
    assert host.packet(w.OP_REQUEST, 1234, peers[-1])[0][0] == w.OP_RESPONSE


def test_honest_connections_spread_evenly(host):
    """Ports as hosts and guests choose them: one after the other, in steps, from several CIDs."""
    patterns = [
        [(1234, 5000 + i, 2) for i in range(4096)],
        [(1234, 5000 + 2 * i, 2) for i in range(4096)],
        [(1234, 0x40000000 + 1024 * i, 2) for i in range(4096)],
        [(1024 + i, 22, 2) for i in range(4096)],
        [(1234, 1024, 3 + i) for i in range(4096)],
        [(80 + i % 64, 5000 + i // 64, 2) for i in range(4096)],
    ]
    for pattern in patterns:
        keys = [table_module._spread(*each) & 2047 for each in pattern]
        assert max(map(keys.count, set(keys))) <= 12


def sent(host):
    """The bytes that went out since, in order."""
    return b"".join(payload for _, payload in host.out.take())


def test_staged_bytes_go_out_in_order_as_the_peer_makes_room(host):
    host.have_large_buffers(10)
    conn = host.connected()
    spare = host.store.spare
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=100)
    data = bytes(range(256)) * 40
    memory_at = vsock_bench.memory.addressof(data)
    assert conn.send(memory_at, len(data), data, 0, 0) == 100
    assert conn.stage(memory_at + 100, len(data) - 100)
    assert conn.send_staged() == 0  # no room yet
    got = sent(host)
    fwd = 0
    for room in (1, 5000, 100, 1 << 17):
        fwd = len(got)
        host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=room, fwd=fwd)
        n = conn.send_staged()
        assert n == min(room, len(data) - fwd)
        got += sent(host)
    assert got == data
    assert conn.staged == -1
    assert host.store.spare == spare


def short_send(conn):
    data = bytes(500)
    return conn.send(vsock_bench.memory.addressof(data), 500, data, 0, 0)


def short_splice(conn):
    return conn.splice(conn)


@pytest.mark.parametrize("ask", [short_send, short_splice, lambda conn: conn.room()])
def test_credit_wakes_who_found_too_little_and_nobody_else(host, ask):
    conn = host.connected()
    woken: list[object] = []
    conn.hear(SimpleNamespace(add=woken.append))
    host.data(1234, 5000, bytes(500))
    assert woken == [conn]
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=100)
    assert woken == [conn]
    ask(conn)
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=1000)
    assert woken == [conn, conn]
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=2000)  # it has been told
    assert woken == [conn, conn]


def test_credit_wakes_nobody_whose_splice_found_enough(host):
    source, to = host.connected(), host.connected(port=1235)
    woken: list[object] = []
    to.hear(SimpleNamespace(add=woken.append))
    host.data(1234, 5000, bytes(500))
    assert source.splice(to) == 500
    host.packet(w.OP_CREDIT_UPDATE, 1235, 5000, fwd=500)
    assert woken == []


def test_credit_wakes_who_has_staged_bytes(host):
    host.have_large_buffers(10)
    conn = host.connected()
    woken: list[object] = []
    conn.hear(SimpleNamespace(add=woken.append))
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=100)
    data = bytes(5000)
    assert conn.stage(vsock_bench.memory.addressof(data), 5000)
    assert conn.send_staged() == 100
    assert woken == []
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=1000)
    assert woken == [conn]


def test_who_reads_a_connection_that_a_new_one_replaced_hears_of_it_once(host):
    conn = host.connected()
    woken: list[object] = []
    conn.watch = SimpleNamespace(add=woken.append)
    host.data(1234, 5000, b"nobody read this")
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH)
    woken.clear()
    host.packet(w.OP_REQUEST, 1234, 5000)
    assert woken == [conn]
    into = vsock_bench.DMABuffer(100)
    assert conn.receive(into.addr, 100, False) == 16
    assert woken == [conn]


def test_what_is_staged_is_forgotten_with_its_connection(host):
    host.have_large_buffers(10)
    conn = host.connected()
    spare = host.store.spare
    data = bytes(10_000)
    at = vsock_bench.memory.addressof(data)
    assert conn.stage(at, len(data))
    assert host.store.spare == spare - 1
    assert conn.stage(at, len(data))  # takes the place of the first
    assert host.store.spare == spare - 1
    conn.unstage()
    assert (host.store.spare, conn.staged) == (spare, -1)
    assert conn.stage(at, len(data))
    conn.close()
    assert host.store.spare == spare
    assert not conn.stage(at, w.INLINE)  # too little to be worth it


# -- what peers can make us keep


def small_host(chunks=3):
    """A host whose guest has memory for as many connections as it has chunks of 64 blocks."""
    host = Host()
    host.have_store(chunks)
    return host


def request(host, peer, port=1234, kind=STREAM):
    """The op of the answer to a REQUEST."""
    return host.packet(w.OP_REQUEST, port, peer, kind)[-1][0]


def as_many_as_there_can_be(host):
    """Connections that a host opens until it is refused."""
    listener = host.listen(1234, backlog=999)
    conns: list[Any] = []
    while request(host, 5000 + len(conns)) == w.OP_RESPONSE:
        conns.append(listener.pending.pop())
    return conns


def test_there_are_as_many_connections_as_there_is_memory_and_then_rst():
    host = small_host()
    most = host.stack.budget.connections
    assert most == 64
    listener = host.listen(1234, backlog=999)
    ops = []
    for i in range(most + 9):
        ops.append(request(host, 5000 + i))
        listener.pending.clear()
    assert ops == [w.OP_RESPONSE] * most + [w.OP_RST] * 9
    assert host.stack.refused == 9
    host.packet(w.OP_RST, 1234, 5007)
    assert request(host, 9000) == w.OP_RESPONSE
    assert host.stack.open(CID, 1024, 2, 99, TYPES[STREAM], 1 << 18) is None


def test_a_listener_has_half_of_all_connections_waiting_at_most():
    host = small_host()
    host.listen(1234, backlog=4096)
    ops = [request(host, 5000 + i) for i in range(64)]
    assert ops == [w.OP_RESPONSE] * 33 + [w.OP_RST] * 31


def test_who_lingers_longest_makes_room_for_others():
    host = small_host()
    listener = host.listen(1234, backlog=999)
    conns: list[Any] = []
    for i in range(64):
        request(host, 5000 + i)
        conns.append(listener.pending.pop())
    for conn in conns[:16]:
        conn.close()
    assert len(host.stack.lingering) == host.stack.budget.lingering == 16
    host.answers()
    conns[16].close()  # a quarter of all, and no more
    assert host.answers() == [(w.OP_SHUTDOWN, 2, 1234, 5016, STREAM, BOTH), *rst(1234, 5000)]
    assert request(host, 7000) == w.OP_RESPONSE  # in the place of that
    host.answers()
    answers = host.packet(w.OP_REQUEST, 1234, 7001)
    assert answers == [*rst(1234, 5001), (w.OP_RESPONSE, 2, 1234, 7001, STREAM, 0)]
    assert [conn.key for conn in conns[:2]] == [None, None]


def test_windows_get_smaller_as_memory_does_and_every_one_can_be_filled():
    """Credit is a promise: all connections are sent all that they were offered, at once."""
    host = small_host(12)
    conns = as_many_as_there_can_be(host)
    windows = [conn.block[w.BUF_ALLOC] for conn in conns]
    assert len(conns) == 256
    assert windows == sorted(windows, reverse=True)
    assert windows[0] > 16 * 4096 and windows[-1] == 4096
    assert {conn.block[w.SEND_LIMIT] for conn in conns} == {1 << 18}
    for conn, window in zip(conns, windows, strict=True):
        fill(host, conn, window)
    for conn, window in zip(conns, windows, strict=True):
        assert (conn.block[w.STATE], credit.queued(conn.at)) == (w.ESTABLISHED, window)
        assert read_all(conn) == stream(conn, 0, window)
        host.packet(w.OP_RST, 1234, conn.block[w.DST_PORT])
        conn.close()
    assert_all_is_back(host)


def stream(conn, start, n):
    """Bytes of the peer of a connection."""
    start += conn.block[w.DST_PORT]
    return NOISE[start : start + n]


def fill(host, conn, n):
    """Send `n` bytes in pieces that fit into blocks as badly as can be."""
    done = 0
    while done < n:
        part = min(n - done, (1, 4097, 2049, 300)[done % 4])
        host.data(1234, conn.block[w.DST_PORT], stream(conn, done, part))
        done += part


def read_all(conn, n=None):
    n = credit.queued(conn.at) if n is None else n
    into = vsock_bench.DMABuffer(n + 1)
    got = conn.receive(into.addr, n, False)
    data = bytes(vsock_bench.memory.find(into.addr, got))
    into.free()
    return data


def assert_all_is_back(host):
    store = host.store
    words = store._words
    assert host.stack.table.count == 0
    assert words[w.STORE_BLOCKS] + store.spare == store.segments
    assert words[w.STORE_PROMISED] == store.spare
    assert words[w.STORE_RESERVED] == host.stack.budget.connections


def left_over(host):
    words = host.store._words
    return words[w.STORE_TOTAL] - words[w.STORE_PROMISED] - words[w.STORE_RESERVED]


def promised(host):
    return host.store._words[w.STORE_PROMISED]


def test_the_least_window_is_used_again_and_again_in_its_one_block():
    host = small_host()
    conns = as_many_as_there_can_be(host)
    conn = conns[-1]
    assert (conn.block[w.BUF_ALLOC], conn.block[w.PLEDGE]) == (4096, 1)
    for each in conns[:-1]:
        fill(host, each, each.block[w.BUF_ALLOC])
    chance = random.Random(5)
    sent = read = 0
    for _ in range(300):
        part = min(credit.peer_knows(conn.at), chance.randint(1, 4096))
        if part:
            host.data(1234, conn.block[w.DST_PORT], stream(conn, sent, part))
            sent += part
        data = read_all(conn, chance.randint(1, 4096))
        assert data == stream(conn, read, len(data))
        read += len(data)
        conn.tell()
    assert conn.block[w.STATE] == w.ESTABLISHED and read > 50_000


def test_what_the_program_wants_later_comes_from_what_is_left():
    host = small_host(12)
    conn = host.connected()
    before = conn.block[w.BUF_ALLOC]
    conn.resize(1 << 30)
    largest = conn.block[w.BUF_ALLOC]
    assert before < largest < 12 << 18
    conn.resize(10_000)
    assert conn.block[w.BUF_ALLOC] == 10_000
    fill(host, conn, (conn.block[w.EDGE] - conn.block[w.RX_CNT]) & vsock_bench.M32)
    assert (conn.block[w.STATE], credit.queued(conn.at)) == (w.ESTABLISHED, largest)


def test_a_connection_that_ended_keeps_what_is_unread_and_no_more():
    host = small_host(12)
    conn = host.connected()
    others = promised(host) - conn.block[w.PLEDGE]
    fill(host, conn, 5000)
    host.packet(w.OP_RST, 1234, 5000)
    assert conn.block[w.PLEDGE] == 3
    assert promised(host) == others + 3
    assert read_all(conn) == stream(conn, 0, 5000)
    conn.close()
    assert_all_is_back(host)


def test_a_replaced_connection_gives_its_memory_back_when_its_program_closes_it(host):
    conn = host.connected()
    fill(host, conn, 5000)
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH)
    assert request(host, 5000) == w.OP_RESPONSE
    host.packet(w.OP_RST, 1234, 5000)
    host.stack.unlisten(host.stack.listeners[1234][0], 1234)
    conn.close()
    assert_all_is_back(host)


def test_windows_that_grow_without_need_leave_memory_for_those_that_must(host):
    conns = [host.connected(to=port, port=port) for port in range(5000, 5006)]
    for _ in range(9):
        for conn in conns:
            host.stack.budget.widen(conn.at)
    half = host.stack.budget._half
    assert half - 64 < left_over(host) <= half
    conns[0].close()
    before = conns[-1].block[w.BUF_ALLOC]
    host.stack.budget.widen(conns[-1].at)
    assert conns[-1].block[w.BUF_ALLOC] == before + w.STEP


def test_stuck_peers_leave_something_to_those_who_come(host):
    conns = [host.connected(to=port, port=port) for port in range(5000, 5004)]
    for _ in range(30):
        for conn in conns:
            host.stack.budget.grow(conn.at, 16 << 20)
    eighth = host.stack.budget._half // 4
    assert eighth - 64 < left_over(host) <= eighth
    assert sum(conn.block[w.BUF_ALLOC] for conn in conns) > 4 << 20  # of 8 MiB in all
    assert host.connected(to=80, port=80).block[w.BUF_ALLOC] > 32768


def test_a_window_that_began_small_grows_to_the_usual_when_there_is_memory_again():
    host = small_host(16)
    conns = as_many_as_there_can_be(host)
    conn = conns.pop()
    host.stack.budget.widen(conn.at)
    assert conn.block[w.BUF_ALLOC] == 4096
    for each in conns:
        host.packet(w.OP_RST, 1234, each.block[w.DST_PORT])
        each.close()
    for _ in range(20):
        if conn.block[w.BASE] < 1 << 18:
            host.stack.budget.widen(conn.at)
    assert conn.block[w.BUF_ALLOC] == 1 << 18
    host.packet(w.OP_CREDIT_REQUEST, 1234, conn.block[w.DST_PORT])
    fill(host, conn, credit.peer_knows(conn.at))
    assert conn.block[w.STATE] == w.ESTABLISHED


def test_tiny_messages_beyond_what_was_promised_cost_what_is_left_over():
    host = small_host(12)
    listener = host.listen(1234, SEQPACKET, backlog=999)
    held = []
    for peer in range(5000, 5006):
        request(host, peer, kind=SEQPACKET)
        conn = listener.pending.pop()
        pledge, left = conn.block[w.PLEDGE], left_over(host)
        bound = 64 + (conn.block[w.BUF_ALLOC] >> 9)
        while conn.block[w.STATE] == w.ESTABLISHED:
            kind = SEQPACKET | w.OP_RW << 16
            host.deliver([2, 0, CID, 0, peer, 1234, 1, kind, w.SEQ_EOM, 1 << 18, 0], b"x")
        held.append(conn.block[w.HELD])
        assert conn.block[w.ERROR] == 105
        assert held[-1] == min(bound, pledge + max(0, left))
    assert held[0] > held[-1] == 1
