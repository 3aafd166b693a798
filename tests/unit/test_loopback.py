# SPDX-License-Identifier: MIT
"""Connections of a guest to itself: real sockets at both ends, beside a device that must keep out.

test_vsock_stack_loopback.py has any order of everything, on the sources.
"""

import random
from errno import EADDRINUSE, EAGAIN, ECONNRESET, EINPROGRESS, ENOTCONN, EPROTO, ETIMEDOUT
from typing import Any

import pytest
from engines import GuestError
from road import CID, Road
from road_model import SIZE, STREAM, Packet, w

NOISE = random.Random(2).randbytes(1 << 19)
PORT, LOCAL = 77, w.CID_LOCAL
SEQPACKET = 5
DEPTH = 64  # packets that may wait
POLL, WRITABLE = 3, 4  # MicroPython's request of a stream, and its answer


class Pair:
    """A client ("~c") and a server ("~s") of one connection."""

    def __init__(self, engine, cid=LOCAL, kind=1, device=True):
        self.engine = engine
        self.road = Road(engine) if device else None
        if not device:
            engine.power_on({})
            engine.no_device()
            engine.bring_up()
        engine.program.listen("~own", PORT, kind, 1)
        assert engine.program.connect("~c", cid, PORT, 2000, kind) == EINPROGRESS
        assert engine.call("~c.connect_state") == 1
        assert engine.program.accept("~own", "~s") == [cid, 2000]

    def pump(self, data, source="~c", sink="~s", chunk=50_000):
        """Send all of `data` one way; what arrived, in pieces."""
        sent = 0
        pieces: list[bytes] = []
        while sent < len(data) or len(b"".join(pieces)) < len(data):
            n = 0
            if sent < len(data):
                n = self.engine.attempt(f"{source}.send", data[sent : sent + chunk])[0] or 0
            sent += n
            piece = self.engine.attempt(f"{sink}.recv", chunk)[0]
            if piece is not None:
                pieces.append(piece)
            assert n or piece, "nothing moves any more"
        return pieces


@pytest.fixture(params=[LOCAL, CID])
def pair(request, engine):
    return Pair(engine, request.param)


def test_bytes_go_both_ways_and_nothing_is_left(pair):
    engine = pair.engine
    spare, connections = engine.stack.store.spare(), engine.program.connections()
    assert connections == 2
    assert b"".join(pair.pump(NOISE)) == NOISE
    assert b"".join(pair.pump(NOISE[::-1], "~s", "~c", 70_000)) == NOISE[::-1]
    engine.program.forget("~c")
    assert engine.call("~s.recv", 10) == b""
    engine.program.forget("~s")
    engine.program.forget("~own")
    assert engine.program.connections() == 0
    assert engine.stack.store.spare() == spare
    assert engine.host.collect(True) == []  # nothing of it left the guest


def test_a_machine_without_a_device_does_the_same(engine):
    pair = Pair(engine, device=False)
    assert b"".join(pair.pump(NOISE)) == NOISE


def test_messages_keep_their_borders(engine):
    pair = Pair(engine, kind=SEQPACKET)
    for n in (1, 4096, 70_000, 5):
        assert engine.call("~c.send", NOISE[:n]) == n
        assert engine.call("~s.recv", 100_000) == NOISE[:n]
    pair.engine.call("~c.send", b"one")
    pair.engine.call("~c.send", b"two")
    assert [engine.call("~s.recv", 2), engine.call("~s.recv", 10)] == [b"on", b"two"]


def test_half_close_ends_one_direction(pair):
    engine = pair.engine
    engine.call("~c.send", b"request")
    engine.call("~c.shutdown", 1)
    assert engine.call("~s.recv", 100) == b"request"
    assert engine.call("~s.recv", 100) == b""
    assert engine.call("~s.send", b"answer") == 6
    assert engine.call("~c.recv", 100) == b"answer"
    assert engine.attempt("~c.send", b"more") == [None, 32]


def test_a_window_that_is_full_stops_the_sender_and_goes_on_when_it_was_read(pair):
    engine = pair.engine
    assert engine.call("~c.send", bytes(SIZE)) == SIZE
    assert engine.attempt("~c.send", b"x") == [None, EAGAIN]
    engine.program.woken()
    assert len(engine.call("~s.recv", SIZE)) == SIZE
    assert engine.program.woken() == ["~c"]
    assert engine.call("~c.send", b"x") == 1


def test_a_packet_gives_credit_once_its_last_byte_is_read(pair):
    """As Linux's: of the window's four packets one that is not read to its end counts as none."""
    engine = pair.engine
    assert engine.call("~c.send", bytes(SIZE)) == SIZE
    assert len(engine.call("~s.recv", SIZE - 1)) == SIZE - 1
    assert engine.attempt("~c.send", b"x") == [None, EAGAIN]
    assert len(engine.call("~s.recv", 1)) == 1
    assert engine.call("~c.send", bytes(SIZE)) == SIZE


def test_what_shutdown_throws_away_gives_no_credit(pair):
    engine = pair.engine
    assert engine.call("~c.send", bytes(SIZE)) == SIZE
    engine.call("~s.shutdown", 0)
    assert engine.call("~c.ioctl", POLL, WRITABLE) == 0
    engine.call("~s.shutdown", 1)
    assert engine.call("~c.ioctl", POLL, WRITABLE) == WRITABLE


def test_a_peer_that_has_read_a_message_tells_when_the_next_one_needs_that(engine):
    """It has not of itself: more than the least is queued, and more than a packet fits still."""
    Pair(engine, kind=SEQPACKET)
    for _ in range(4):
        assert engine.call("~c.send", NOISE[:60_000]) == 60_000
    assert len(engine.call("~s.recv", 60_000)) == 60_000
    assert engine.call("~c.send", NOISE[:60_000]) == 60_000


def test_many_tiny_packets_are_read_as_they_came(pair):
    engine = pair.engine
    for _ in range(600):  # more than each have an edge of their own
        assert engine.call("~c.send", b"xy") == 2
    assert engine.call("~s.recv", 1500) == b"xy" * 600
    assert engine.call("~c.send", bytes(SIZE)) == SIZE


def test_splice_sends_on_what_fits_and_then_the_rest(engine):
    """64 blocks are queued; eight places are for what is owed."""
    pair = Pair(engine)
    assert engine.program.connect("~d", LOCAL, PORT, 2001) == EINPROGRESS
    engine.call("~d.connect_state")
    engine.program.accept("~own", "~e")
    data = NOISE[:SIZE]
    assert pair.engine.call("~c.send", data) == SIZE
    moved = engine.program.splice("~s", "~d")
    assert moved == (DEPTH - w.RESERVE) * w.BLOCK
    assert moved + engine.program.splice("~s", "~d") == SIZE
    assert engine.program.splice("~s", "~d") == 0
    assert engine.call("~e.recv", SIZE) == data


def test_a_connection_to_oneself_is_eproto(engine):
    Road(engine)
    engine.program.listen("~own", PORT)
    engine.program.socket("~x")
    engine.call("~x.settimeout", 1)
    engine.call("~x.bind", [w.CID_ANY, 2000])
    with pytest.raises(GuestError) as caught:
        engine.call("~x.connect", [LOCAL, 2000])
    assert caught.value.errno == EPROTO


def test_nobody_listening_is_econnreset(engine):
    Road(engine)
    engine.program.connect("~x", LOCAL, 99, 2000)
    assert engine.program.connecting(["~x"]) == [[-1, ECONNRESET]]


# -- a device is not the loopback


@pytest.mark.parametrize("source", [LOCAL, CID])
@pytest.mark.parametrize("op", [w.OP_RW, w.OP_RST, w.OP_SHUTDOWN, w.OP_REQUEST])
def test_a_device_cannot_speak_as_the_loopback(pair, source, op):
    road, engine = pair.road, pair.engine
    road.guest.lines.clear()
    before = engine.host.dropped()[w.DROP_SENDER]
    for peer, port in ((2000, PORT), (PORT, 2000)):
        packet = Packet((source, peer, port), op, STREAM, 3, SIZE, 0, b"forged" * (op == w.OP_RW))
        heads = engine.host.heads()
        header = road.header(packet)
        given = [heads[0], header, packet.payload, w.HEADER_LEN + len(packet.payload)]
        engine.many(["host.give", [given]], ["device.poll"], ["host.refresh"])
    assert engine.host.dropped()[w.DROP_SENDER] == before + 2
    assert engine.host.collect(True) == []
    assert engine.attempt("~s.recv", 10) == [None, EAGAIN]
    assert engine.call("~c.send", b"true") == 4
    assert engine.call("~s.recv", 10) == b"true"


def test_a_host_with_the_same_ports_is_somebody_else(pair):
    """The host's connection 2000 > 77 beside the guest's own."""
    road, engine = pair.road, pair.engine
    header = [2, 0, CID, 0, 2000, PORT, 0, STREAM | w.OP_REQUEST << 16, 0, SIZE, 0]
    data = [2, 0, CID, 0, 2000, PORT, 4, STREAM | w.OP_RW << 16, 0, SIZE, 0]
    heads = engine.host.heads()
    give = ["host.give", [[heads[0], header, b"", 44], [heads[1], data, b"host", 48]]]
    engine.many(give, ["device.poll"])
    assert engine.program.accept("~own", "~h") == [2, 2000]
    engine.call("~c.send", b"self")
    assert engine.call("~h.recv", 10) == b"host"
    assert engine.call("~s.recv", 10) == b"self"
    assert road is not None


def test_a_send_that_finds_no_room_times_out(pair):
    engine = pair.engine
    while engine.attempt("~c.send", NOISE[:50_000])[0]:
        pass
    engine.clock.looks_take(10)
    engine.call("~c.settimeout", 0.01)
    assert engine.attempt("program.write_once", "~c", NOISE[:50_000]) == [None, ETIMEDOUT]


# -- when the device goes


@pytest.mark.parametrize("how", ["reset", "break", "close"])
def test_a_connection_by_the_local_cid_outlives_the_device(engine, how):
    pair = Pair(engine, LOCAL)
    go(engine, how, 44)
    assert b"".join(pair.pump(NOISE[:100_000])) == NOISE[:100_000]


@pytest.mark.parametrize("how, error", [("reset", ECONNRESET), ("close", ECONNRESET)])
def test_a_connection_by_a_cid_that_is_no_longer_ours_ends(engine, how, error):
    Pair(engine, CID)
    go(engine, how, 44)
    for name in "~c", "~s":
        assert engine.attempt(f"{name}.recv", 10) == [None, error]
        assert engine.attempt(f"{name}.recv", 10) == [None, ENOTCONN]


@pytest.mark.parametrize("how", ["reset", "break"])
def test_a_connection_by_a_cid_that_is_still_ours_stays(engine, how):
    pair = Pair(engine, CID)
    go(engine, how, CID)
    assert b"".join(pair.pump(NOISE[:100_000])) == NOISE[:100_000]


def go(engine, how, cid):
    """The device resets the transport, with that CID, or goes."""
    calls: dict[str, list[list[Any]]] = {
        "reset": [["host.have_cid", cid], ["host.event", 4], ["device.poll_events"]],
        "break": [["host.put", 127, 0], ["device.poll"]],
        "close": [["vsock.close"]],
    }
    engine.many(*calls[how])


def test_a_new_connection_by_the_new_cid_works_and_by_the_old_one_goes_to_the_host(engine):
    Pair(engine, CID)
    go(engine, "reset", 44)
    assert engine.program.connect("~x", 44, PORT, 2100) == EINPROGRESS
    assert engine.call("~x.connect_state") == 1
    assert engine.program.connect("~y", CID, PORT, 2101) == EINPROGRESS
    assert engine.call("~y.connect_state") == 0
    [(_, header, _, _)] = engine.host.collect(True)
    assert [header[w.SRC_CID], header[w.DST_CID]] == [44, CID]


def test_a_port_is_taken_until_both_ends_are_closed(engine):
    pair = Pair(engine)
    engine.call("~c.send", b"unread")
    engine.program.forget("~c")
    engine.program.socket("~x")
    assert engine.attempt("~x.bind", [w.CID_ANY, 2000]) == [None, EADDRINUSE]
    engine.program.forget("~s")
    assert engine.attempt("~x.bind", [w.CID_ANY, 2000]) == [None, None]
    assert pair.engine.program.connections() == 0
