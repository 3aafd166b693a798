# SPDX-License-Identifier: MIT
"""Single calls of a connection and its stack at their bounds: what goes out, what they return."""

from types import SimpleNamespace
from typing import Any

import pytest
import vsock_bench
from test_vsock_stack import BOTH, CID, NOISE, SEQPACKET, STREAM, TYPES, Host, rst, sent

w = vsock_bench.module("vsock.words")
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")
clock = vsock_bench.clock
address = vsock_bench.memory.addressof


@pytest.fixture
def host():
    clock.reset()
    return Host()


def slots(host, count):
    """From now on there is room for so many packets of data."""
    host.out.slots = len(host.out) + w.RESERVE + count


def send(conn, data, flags=0):
    return conn.send(address(data), len(data), data, flags, 0)


# -- sending


def test_a_little_is_sent_at_once(host):
    conn = host.connected()
    for data in b"x", bytearray(b"y"), NOISE[: w.INLINE], NOISE[: w.MAX_DATA + 1]:
        assert conn.send_now(data) == len(data)
        assert sent(host) == data


@pytest.mark.parametrize("data", [b"", bytearray(w.INLINE + 1)])
def test_nothing_and_much_that_may_change_is_not_sent_at_once(host, data):
    assert host.connected().send_now(data) == 0
    assert host.answers() == []


def test_messages_are_not_sent_at_once(host):
    assert host.connected(kind=SEQPACKET).send_now(b"message") == 0
    assert host.answers() == []


@pytest.mark.parametrize("alloc, n", [(5, 5), (4, 0), (0, 0)])
def test_what_has_no_room_is_not_sent_at_once(host, alloc, n):
    conn = host.connected()
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, alloc=alloc)
    assert conn.send_now(b"bytes") == n
    assert len(sent(host)) == n


def test_what_has_no_slot_is_not_sent_at_once(host):
    conn = host.connected()
    slots(host, 1)
    assert [conn.send_now(b"bytes") for _ in range(2)] == [5, 0]
    assert sent(host) == b"bytes"


def test_bytes_of_which_a_part_found_slots_are_told_apart(host):
    conn = host.connected()
    slots(host, 1)
    assert conn.send_now(NOISE[: w.MAX_DATA + 1]) == -w.MAX_DATA
    assert sent(host) == NOISE[: w.MAX_DATA]


@pytest.mark.parametrize("free", [0, 1, 2])
def test_what_found_slots_goes_out_though_the_rest_did_not(host, free):
    conn = host.connected()
    slots(host, free)
    n = free * w.MAX_DATA
    assert send(conn, NOISE[:200_000]) == n
    assert sent(host) == NOISE[:n]


@pytest.mark.parametrize("n", [1, w.INLINE, w.INLINE + 1, w.MAX_DATA, w.MAX_DATA + 1])
def test_flags_go_with_the_last_packet_of_what_is_sent_as_a_whole(host, n):
    conn = host.connected(kind=SEQPACKET)
    assert send(conn, NOISE[:n], w.SEQ_EOM) == n
    parts = -(-n // w.MAX_DATA)
    assert [each[5] for each in host.answers()] == [0] * (parts - 1) + [w.SEQ_EOM]
    host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, SEQPACKET, alloc=2 * n - 1, fwd=0)
    assert send(conn, NOISE[:n], w.SEQ_EOM) == n - 1  # not the whole message
    assert {each[5] for each in host.answers()} <= {0}


def test_who_may_not_send_hears_so(host):
    conn = host.connected()
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=w.SHUTDOWN_RCV)
    assert send(conn, b"bytes") == conn.room() == -32
    assert conn.send_now(b"bytes") == 0
    assert host.answers() == []


def test_splice_shows_what_it_moved_when_credit_runs_out(host):
    source, to = host.connected(), host.connected(port=1235)
    for _ in range(3):
        host.data(1234, 5000, NOISE[: w.BLOCK])
    host.packet(w.OP_CREDIT_UPDATE, 1235, 5000, alloc=w.BLOCK + 10)
    assert source.splice(to) == w.BLOCK + 10
    assert source.splice(to) == 0
    assert sent(host) == NOISE[: w.BLOCK] + NOISE[:10]
    host.packet(w.OP_CREDIT_UPDATE, 1235, 5000, alloc=1 << 18, fwd=w.BLOCK + 10)
    assert source.splice(to) == 2 * w.BLOCK - 10
    assert sent(host) == NOISE[10 : w.BLOCK] + NOISE[: w.BLOCK]


def test_splice_ends_with_the_end_of_either_side(host):
    source, to = host.connected(), host.connected(port=1235)
    assert source.splice(to) == 0
    host.packet(w.OP_SHUTDOWN, 1235, 5000, flags=w.SHUTDOWN_RCV)
    assert source.splice(to) == 0  # nobody knows yet whether something comes
    host.data(1234, 5000, b"nobody takes this")
    assert source.splice(to) == -1
    assert credit.queued(source.at) == 17
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=w.SHUTDOWN_SEND)
    assert source.splice(host.connected(port=1236)) == -1
    assert credit.queued(source.at) == 0
    assert sent(host) == b"nobody takes this"


# -- receiving


def receive_now(conn, size, want=0, wait=False):
    """What one call puts into a buffer of `size` bytes."""
    buffer = bytearray(size)
    n = conn.receive_now(buffer, want, wait)
    assert not any(buffer[n:])
    return bytes(buffer[:n])


@pytest.mark.parametrize(
    "size, want, n", [(9, 0, 9), (9, 5, 5), (9, 9, 9), (9, 20, 0), (20, 0, 10), (1, 0, 1)]
)
def test_what_is_there_is_read_at_once_as_much_as_fits_and_is_wanted(host, size, want, n):
    conn = host.connected()
    host.data(1234, 5000, NOISE[1:11])
    assert receive_now(conn, size, want) == NOISE[1 : 1 + n]
    assert credit.queued(conn.at) == 10 - n


def test_bytes_of_a_program_that_do_not_change_are_not_written_to(host):
    conn = host.connected()
    for queued in 0, 6:  # it is refused before anything has come, too
        with pytest.raises((TypeError, BufferError)):
            conn.receive_now(bytes(6), 0, False)
        assert credit.queued(conn.at) == queued
        host.data(1234, 5000, b"others")


def test_messages_and_what_needs_a_second_look_are_not_read_at_once(host):
    conn = host.connected(kind=SEQPACKET)
    header = [2, 0, CID, 0, 5000, 1234, 2, SEQPACKET | w.OP_RW << 16, w.SEQ_EOM, 1 << 18, 0]
    host.deliver(header, b"no")
    assert receive_now(conn, 9) == b""
    conn = host.connected(port=1235)
    host.data(1235, 5000, b"two")
    conn.block[w.LOWAT] = 2
    assert receive_now(conn, 9) == b""
    conn.block[w.LOWAT] = 1
    assert receive_now(conn, 9) == b"two"


@pytest.mark.parametrize("wait, spins", [(False, 0), (True, 2)])
def test_who_finds_nothing_waits_a_moment_once_if_he_may(host, wait, spins):
    conn = host.connected()
    spun: list[int] = []

    def spin():
        spun.append(1)
        if len(spun) == 2:
            host.data(1234, 5000, b"late")
        return True

    host.stack.waiter = SimpleNamespace(spin=spin)
    assert [receive_now(conn, 9, wait=wait) for _ in range(2)] == [b"", b"late"[: 2 * spins]]
    assert len(spun) == spins
    assert receive_now(conn, 9, wait=True) == b""  # once more, in vain
    assert len(spun) == spins + 1


def test_who_finds_the_end_does_not_wait(host):
    conn = host.connected()
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=w.SHUTDOWN_SEND)
    host.stack.waiter = None
    assert conn.receive_now(bytearray(9), 0, True) == -1


def test_the_end_of_the_stream_is_told_behind_its_last_byte_unless_more_is_to_be_said(host):
    conn = host.connected()
    host.data(1234, 5000, b"last")
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=w.SHUTDOWN_RCV)
    assert [conn.receive_now(bytearray(2), 0, False) for _ in range(3)] == [2, 2, 0]
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=w.SHUTDOWN_SEND)
    assert conn.receive_now(bytearray(2), 0, False) == -1
    assert conn.receive_now(bytearray(0), 0, False) == 0  # asked for nothing
    conn.block[w.ERROR] = 1
    assert conn.receive_now(bytearray(2), 0, False) == 0
    conn.block[w.ERROR] = 0
    conn.block[w.SHUT] |= w.SHUT_LOST
    assert conn.receive_now(bytearray(2), 0, False) == 0


def test_a_program_that_wants_no_more_has_reached_the_end(host):
    conn = host.connected()
    conn.shutdown(w.SHUT_LOCAL_RCV)
    assert conn.receive_now(bytearray(2), 0, True) == -1


def test_half_of_the_window_read_at_once_is_told(host):
    conn = host.connected()
    for _ in range(3):
        host.data(1234, 5000, NOISE[:50_000])
    host.answers()
    assert len(receive_now(conn, 131_071)) == 131_071
    assert host.answers() == []
    assert len(receive_now(conn, 9)) == 9
    assert [each[0] for each in host.answers()] == [w.OP_CREDIT_UPDATE]


# -- staging


@pytest.mark.parametrize(
    "n, staged", [(w.INLINE, False), (w.INLINE + 1, True), (1 << 16, True), (65537, False)]
)
def test_what_is_staged_is_more_than_a_little_and_one_packet_at_most(host, n, staged):
    host.have_large_buffers(10)
    conn = host.connected()
    assert conn.stage(address(NOISE[:n]), n) is staged
    assert (conn.staged >= 0) is staged
    if staged:
        assert conn.send_staged() == n
        assert sent(host) == NOISE[:n]


# -- the stack


def test_whatever_a_connection_does_it_comes_on(host):
    """An echo, too, which reads as much as it sends, and a peer that takes as much."""
    conn = host.connected()
    seen = [conn.progress()]
    for step in range(1, 4):
        host.packet(w.OP_RW, 1234, 5000, fwd=10 * (step - 1), n=10)
        receive_now(conn, 10)
        conn.send_now(bytes(10))
        seen.append(conn.progress())
        host.packet(w.OP_CREDIT_UPDATE, 1234, 5000, fwd=10 * step)
        seen.append(conn.progress())
    assert seen == sorted(set(seen))


def test_who_moved_has_stood_still_since_then_only(host):
    conn = host.connected()
    host.data(1234, 5000, bytes(10))
    looks = [host.stack.look_for_stalled() for _ in range(4)]
    receive_now(conn, 1)
    looks += [host.stack.look_for_stalled() for _ in range(3)]
    assert looks == [0, 1, 2, 3, 0, 1, 2]
    host.stack.end_stalled(3)
    assert conn.block[w.STATE] == w.ESTABLISHED
    receive_now(conn, 9)
    assert [host.stack.look_for_stalled() for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize("flags, minded", [(BOTH, 1), (w.SHUTDOWN_SEND, 0), (w.SHUTDOWN_RCV, 0)])
def test_only_a_late_sender_whose_peer_has_shut_both_ways_is_minded_and_once(host, flags, minded):
    conn = host.connected()
    host.data(1234, 5000, b"unread")
    conn.block[w.OPTIONS] = w.OPT_LATE_SEND
    for _ in range(3):
        host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=flags)
        host.stack.mind(conn)
    assert host.stack.late == [conn] * minded
    assert host.stack.next_expiry() == (0 if minded else None)
    host.stack.expire()
    assert host.stack.next_expiry() == (60_000 if minded else None)


def test_without_patience_nobody_is_minded(host):
    conn = host.connected()
    host.data(1234, 5000, b"unread")
    conn.block[w.OPTIONS] = w.OPT_LATE_SEND
    conn.patience = 0
    host.packet(w.OP_SHUTDOWN, 1234, 5000, flags=BOTH)
    assert host.stack.late == []


def test_a_connection_without_memory_for_the_least_window_leaves_nothing(host):
    host.listen(1234, backlog=9)
    store = host.store
    assert store.promise(store.total - store.promised)
    assert host.packet(w.OP_REQUEST, 1234, 5000) == rst(1234, 5000)
    assert host.stack.open(CID, 1, 2, 2, TYPES[STREAM], 1 << 18) is None
    assert host.stack.table.count == 0
    assert host.stack.refused == 1


def test_a_request_for_which_there_is_no_heap_leaves_nothing(host):
    class Full(list):
        def append(self, conn):
            raise MemoryError

    listener = host.listen(1234)
    listener.pending = Full()
    promised = host.store.promised
    woken: list[Any] = []
    listener.hear(SimpleNamespace(add=woken.append))
    assert host.packet(w.OP_REQUEST, 1234, 5000) == rst(1234, 5000)
    assert (host.stack.table.count, host.store.promised) == (0, promised)
    assert woken == [listener]  # its program may know what to give up
    assert host.stack.refused == 1


@pytest.mark.parametrize("cid, local", [(w.CID_LOCAL, True), (CID, True), (2, False), (44, False)])
def test_the_guest_is_under_two_cids_as_long_as_there_is_a_device(host, cid, local):
    assert host.stack.is_local(cid) is local
    host.stack.part(5)
    assert host.stack.is_local(cid) is (cid == w.CID_LOCAL)


def test_who_starves_again_when_he_is_told_is_told_again(host):
    conn = host.connected()
    woken: list[object] = []

    def tries(conn):
        woken.append(conn)
        conn.room()

    conn.hear(SimpleNamespace(add=tries))
    slots(host, 0)
    assert conn.room() == 0
    for n in (1, 2, 3, 4):
        host.stack.room_again()
        assert woken == [conn] * n


def test_a_port_that_nobody_has_any_more_is_free_again(host):
    stack = host.stack
    port = stack.bind(w.CID_ANY, w.CID_ANY)
    stack.unbind(w.CID_ANY, port)
    assert stack.ports == {}
    stack.automatic.next = port
    assert stack.bind(w.CID_ANY, w.CID_ANY) == port
    stack.automatic.next = port
    assert stack.bind(w.CID_ANY, w.CID_ANY) == port + 1


def test_what_is_only_looked_at_stays_and_is_told_to_nobody(host):
    conn = host.connected()
    for _ in range(3):
        host.data(1234, 5000, NOISE[:50_000])
    host.answers()
    into = vsock_bench.DMABuffer(150_000)
    assert conn.receive(into.addr, 150_000, True) == 150_000
    assert (credit.queued(conn.at), host.answers()) == (150_000, [])
    assert conn.receive(into.addr, 150_000, False) == 150_000
    assert credit.queued(conn.at) == 0
    assert conn.receive(into.addr, 150_000, True) == conn.receive(into.addr, 1, False) == 0


def test_the_last_one_has_nobody_behind_it(host):
    conn = host.connected()
    for _ in range(2):
        host.data(1234, 5000, NOISE[: w.BLOCK])
    first = host.store.head(conn.at)
    second = host.store.after(first)
    assert second not in (-1, first)
    assert host.store.after(second) == -1
