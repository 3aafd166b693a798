# SPDX-License-Identifier: MIT
"""The stack: who gets a packet, what is refused, who holds which port.

A way out that keeps packets stands in for the device; `Host` is whoever is at its other end.
"""

from array import array
from errno import EADDRINUSE
from types import SimpleNamespace

import pytest
import vsock_bench
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

w = vsock_bench.module("vsock.words")
portable = vsock_bench.portable
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")
stack_module = vsock_bench.module("vsock.stack")
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


class Host:
    """A stack with a device's way out, and the packets that a host sends and sees."""

    def __init__(self, slots=1 << 20):
        vsock_bench.memory.clear()
        self.store = store_module.Store(vsock_bench.DMABuffer, 1, 8 << 20)
        self.stack = stack_module.Stack(self.store, 1 << 20, 5000)
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
        return self.stack.find(header, self.out)

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
    clock.now = 0
    return Host()


def rst(port, to, kind=STREAM, cid=2):
    return [(w.OP_RST, cid, port, to, kind, 0)]


# -- any packets to any ports

PORTS = (1234, 1234 ^ 0x8000, 80)  # with CIDs 2 and 3 the first two share keys in the table
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
        self.stack.lose(104)
        assert self.host.answers() == []
        for conn in self.alive.values():
            assert conn.block[w.ERROR] == 104
        self.alive.clear()
        self.shut.clear()

    @invariant()
    def the_table_holds_exactly_the_live_connections(self):
        found = []
        for first in self.stack.connections.values():
            while first is not None:
                found.append(first)
                first = first.twin
        assert sorted(map(id, found)) == sorted(map(id, self.alive.values()))
        for (cid, to, port), conn in self.alive.items():
            assert self.host.find(cid, to, port) is conn

    @invariant()
    def backlogs_are_kept(self):
        for listener, _, backlog in self.listeners.values():
            assert len(listener.pending) <= backlog + 1


TestDispatch = Dispatch.TestCase
TestDispatch.settings = settings(max_examples=500, stateful_step_count=30, deadline=None)


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
TestPorts.settings = settings(max_examples=200, stateful_step_count=20, deadline=None)


def test_automatic_ports_begin_again_after_the_last(host):
    host.stack._automatic = 0x3FFFFFFF
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
    assert conn.send(vsock_bench.memory.addressof(data), 100, data, 0) == 100
    assert host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH)[-1][0] == w.OP_CREDIT_REQUEST
    conn.close()
    host.answers()
    assert host.stack.next_expiry() == 500
    clock.now = 500_000
    host.stack.expire()
    assert host.answers() == rst(1234, 5000)


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


def test_splice_of_the_last_byte_ends_a_connection_that_only_waited_for_its_reader(host):
    source, to = host.connected(), host.connected(port=1235)
    host.data(1234, 5000, b"the last")
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
    soon.send(vsock_bench.memory.addressof(data), 1, data, 0)
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
    promised = (conn.block[w.BUF_ALLOC] - size) // 262144
    assert host.store._promised == promised
    conn.close()
    assert host.store._promised == 0


def test_a_request_of_the_other_type_on_a_live_connection_is_refused(host):
    conn = host.connected()
    host.stack.unlisten(host.stack.listeners[1234][0], 1234)
    host.listen(1234, SEQPACKET)
    assert host.packet(w.OP_REQUEST, 1234, 5000, SEQPACKET) == rst(1234, 5000, SEQPACKET)
    assert host.find(2, 5000, 1234) is conn


def test_transport_reset_breaks_connections_and_keeps_listeners(host):
    conn = host.connected()
    host.stack.lose(104)
    host.stack.rename(44)
    assert (conn.block[w.STATE], conn.block[w.ERROR]) == (w.CLOSED, 104)
    assert host.answers() == [] and not host.stack.connections
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
    # CID << 15 and the local port meet in the key.
    names = [(2, 1234), (3, 1234 ^ 0x8000), (4, 1234 ^ 0x30000)]
    for cid, port in names:
        host.listen(port)
        host.packet(w.OP_REQUEST, port, 5000, cid=cid)
    assert len(host.stack.connections) == 1
    cid, port = names.pop(gone)
    host.packet(w.OP_RST, port, 5000, cid=cid)
    assert host.find(cid, 5000, port) is None
    for cid, port in names:
        conn = host.find(cid, 5000, port)
        assert (conn.block[2], conn.block[4]) == (cid, port)


def test_connections_spread_over_the_table(host):
    for i in range(64):
        for local, cid, peer in (1024 + i, 2, 5000), (1023, 3 + i, 5000), (1023, 2, 6000 + i):
            host.stack.open(CID, local, cid, peer, TYPES[STREAM], 1 << 18)
    assert len(host.stack.connections) == 3 * 64


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
    assert conn.send(memory_at, len(data), data, 0) == 100
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
    return conn.send(vsock_bench.memory.addressof(data), 500, data, 0)


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


def test_windows_that_grow_without_need_leave_memory_for_those_that_must(host):
    conns = [host.connected(to=port, port=port) for port in range(5000, 5012)]
    for conn in conns:
        for _ in range(3):
            host.stack.widen(conn)
    assert sum(conn.widened for conn in conns) == 24
    for _ in range(2):  # what it had comes back once
        conns[0].close()
    for _ in range(9):
        host.stack.widen(conns[-1])
    assert conns[-1].widened == 3
