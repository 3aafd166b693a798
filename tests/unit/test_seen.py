# SPDX-License-Identifier: MIT
"""Captures in the guest: everything that passes is in them, and nothing else is different.

The model of the receive road holds with a capture as it does without one.
"""

import io
import struct
from typing import Any

import pytest
import vsock_bench
from hypothesis import given, note, settings
from profiles import examples
from road import CID, Road
from road_model import SIZE, STREAM, Packet, w
from test_receive_road import Chance, openings, steps

from mpfw.capture.reader import Record, read

for name in ("vsock.pcap", "vsock.packets"):  # which are imported when they are needed
    vsock_bench.module(name)
HEADER = struct.Struct("<11I")
ROOM = 1 << 20


def records(data: bytes) -> list[Record]:
    return list(read(io.BytesIO(data)))


class SeenRoad(Road):
    """A road with a capture, and what must be in that."""

    def __init__(self, engine, *arguments, snaplen=100, **settings):
        super().__init__(engine, *arguments, **settings)
        self.came: list[tuple[list[int], bytes, int]] = []  # header, payload, bytes in all
        self.went: list[tuple[list[int], bytes]] = []
        self.snaplen = snaplen
        engine.call("load", "bench_seen")
        engine.seen.start("a", snaplen, ROOM)

    def given(self, *arguments, **lies):
        each = super().given(*arguments, **lies)
        self.came.append((each[1], each[2], each[3]))
        return each

    def _seen(self, _, header, payload, parts):
        self.went.append((header, payload))
        return super()._seen(_, header, payload, parts)

    def check(self):
        """The capture has what the host gave and took, in order."""
        found = records(self.engine.seen.stop("a"))
        assert self.engine.seen.counts("a") == [len(found), 0]
        came = [each for each in found if each.direction == "in"]
        went = [each for each in found if each.direction == "out" and not ownerless(each)]
        for record, (header, payload, used) in zip(came, self.came, strict=True):
            head = min(used, w.HEADER_LEN)
            assert len(record.header) == head and record.length == used - head
            if header:
                assert record.header == HEADER.pack(*header)[:head]
            kept = min(used - head, len(payload), self.snaplen)
            assert record.payload[:kept] == payload[:kept]
        wanted = [
            (HEADER.pack(*header), payload[: self.snaplen], len(payload))
            for header, payload in self.went
        ]
        assert [(each.header, each.payload, each.length) for each in went] == wanted
        times = [each.when_ns for each in found]
        assert times == sorted(times)


def ownerless(record):
    """The packet by which a driver sees that its device works."""
    words = HEADER.unpack(record.header)
    return words[w.SRC_PORT] == words[w.DST_PORT] == 0


def operation(record):
    return HEADER.unpack(record.header)[w.TYPE_OP] >> w.OP_SHIFT


def test_with_a_capture_everything_is_the_same_and_in_it(engine):
    @settings(max_examples=examples(100))
    @given(openings, steps)
    def run(openings, steps):
        road = SeenRoad(engine)
        try:
            for peer, port in enumerate(openings):
                road.open(port, 5000 + peer)
            for step, seed in steps:
                step(road, Chance(seed))
            road.check()
        except BaseException:
            note(road.story())
            raise

    run()


@pytest.fixture
def road(engine):
    road = SeenRoad(engine)
    yield road
    engine.seen.stop("a")


def usual(name):
    """What every road begins with: a capture of its own."""
    return name.engine.seen.stop("a")


def test_when_nobody_looks_nothing_is_in_the_way(road):
    assert not road.engine.seen.untouched()
    road.engine.seen.start("b", 10, ROOM)
    road.engine.seen.stop("b")
    assert not road.engine.seen.untouched()
    usual(road)
    assert road.engine.seen.untouched()


def test_a_capture_is_written_while_a_program_waits(road):
    before = len(road.engine.seen.written("a"))
    road.open(1234, 5000)
    road.engine.clock.advance(20_000)
    assert len(road.engine.seen.written("a")) > before


def test_the_rest_is_written_once_though_the_timer_cuts_in(road):
    """A file's end is written by the program, between whose bytecodes the timer's handler runs."""
    road.engine.seen.stop("a")
    road.engine.seen.start("b", 100, ROOM)
    road.open(1234, 5000)
    road.engine.seen.cut_in("b")
    found = records(road.engine.seen.stop("b"))
    assert road.engine.seen.counts("b") == [len(found), 0] != [0, 0]


@pytest.mark.parametrize("n", [1, 4096, 4097, 65536])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_what_is_sent_is_seen_once_however_it_goes(road, n, kind):
    """Copied, lent, or in a receive buffer."""
    name = road.open(1234, 5000)
    road.engine.call(f"{name}.settimeout", 0)
    if kind is bytes:
        road.write(name, road.noise(n))
    else:
        road.engine.call("program.send_buffer", name, road.noise(n))
    sent = [each.length for each in records(usual(road)) if operation(each) == w.OP_RW]
    assert sent == [n]


def test_without_room_packets_are_counted_and_the_file_tells(engine):
    road = SeenRoad(engine)
    usual(road)
    engine.seen.start("small", 0, 1000)
    for i in range(40):
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
    count, dropped = engine.seen.counts("small")
    assert count + dropped == 40 and dropped > 10
    engine.clock.advance(20_000)
    road.send(Packet((2, 6000, 99), w.OP_RST, STREAM))
    found = records(engine.seen.stop("small"))
    assert [each.dropped for each in found] == [0] * count + [dropped]


def test_a_capture_has_room_for_one_packet_and_what_was_lost_before_it(engine):
    road = SeenRoad(engine)
    usual(road)
    engine.seen.start("small", 100, 1)
    for i in range(3):
        if i == 2:
            engine.clock.advance(20_000)  # the first one is written
        road.send(Packet((2, 5000, 99 + i), w.OP_RW, STREAM, 0, SIZE, 0, bytes(100)))
    found = records(engine.seen.stop("small"))
    assert [(len(each.payload), each.dropped) for each in found] == [
        (100, 0),
        (100, 3),
    ]  # with the answers, RSTs


def test_an_operation_that_nobody_knows_is_unknown_to_the_monitor(road):
    ops = [w.OP_RST, w.OP_CREDIT_REQUEST, w.OP_CREDIT_REQUEST + 1, 0xFFFF]
    for op in ops:
        road.send(Packet((2, 5000, 99), op, STREAM))
    found = [each for each in records(usual(road)) if each.direction == "in"]
    assert [each.monitor[24] for each in found] == [2, 3, 0, 0]


def test_a_look_takes_64_packets_at_most_with_a_capture_too(road):
    rst = [2, 0, CID, 0, 5000, 99, 0, STREAM | w.OP_RST << w.OP_SHIFT, 0, SIZE, 0]
    road.engine.host.floods(rst, b"")
    heads = road.engine.host.heads()[:8]
    road.engine.host.give([[head, rst, b"", w.HEADER_LEN] for head in heads])
    assert road.engine.device.poll() == 64
    road.engine.host.floods([], b"")


def test_buffers_that_come_back_empty_are_posted_again_with_a_capture_too(road):
    heads = road.engine.host.heads()
    road.engine.host.give([[head, [], b"", 0] for head in heads])
    assert road.engine.device.poll() == len(heads)
    assert road.engine.host.dropped()[w.DROP_SHORT] == len(heads)


def test_a_full_disk_ends_the_capture_and_nothing_else(road):
    road.engine.seen.room("a", 500)
    for i in range(40):
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
    road.engine.clock.advance(20_000)
    assert road.engine.seen.failed("a") == 28
    assert road.engine.seen.untouched()
    road.open(1234, 5000)


def test_a_slow_socket_gets_it_all_in_parts(engine):
    road = SeenRoad(engine)
    usual(road)
    engine.seen.start("peer", 100, ROOM, [70, 71])
    engine.seen.takes("peer", [0, 7, 0, 100, 1])
    for i in range(20):
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
        engine.clock.advance(10_000)
    assert len(records(engine.seen.stop("peer"))) == 20


@pytest.mark.parametrize("ports", [[99, 5000], [5000, 99]])
def test_the_socket_that_carries_it_is_not_in_it(engine, ports):
    road = SeenRoad(engine)
    usual(road)
    engine.seen.start("peer", 100, ROOM, ports)
    road.send(Packet((2, 5000, 99), w.OP_RST, STREAM))
    road.send(Packet((2, 5001, 99), w.OP_RST, STREAM))
    assert len(records(engine.seen.stop("peer"))) == 1


def test_a_device_that_comes_anew_is_seen_too(road):
    road.close_device()
    road.reopen()
    road.open(1234, 5000)
    road.check()


def test_packets_to_oneself_are_seen_once(road):
    engine = road.engine
    engine.program.listen("~mine", 77)
    engine.program.socket("~to")
    engine.call("~to.settimeout", 0)
    engine.attempt("~to.connect", [w.CID_LOCAL, 77])
    engine.attempt("~to.send", b"hello")
    found = records(usual(road))
    ops = [operation(each) for each in found]
    assert [each for each in ops if each != w.OP_CREDIT_UPDATE] == [
        w.OP_REQUEST,
        w.OP_RESPONSE,
        w.OP_RW,
    ]
    assert [each.payload for each in found if each.payload] == [b"hello"]


# -- raw ------------------------------------------------------------------------------------------


@pytest.fixture
def raw(road):
    usual(road)
    road.engine.rawmode.open([99], False)
    yield road
    road.engine.rawmode.close()
    assert road.engine.seen.untouched()


def came(road, **lies: Any):
    """A packet for port 99; the sockets get it as the model has it, unless it is claimed."""
    each = Road.given(road, Packet((2, 5000, 99), w.OP_REQUEST, STREAM), **lies)
    road.guest.out.clear()
    road.engine.many(["host.give", [each]], ["device.poll"])
    return each


def test_a_packet_that_is_claimed_is_the_scripts_alone(raw):
    each = came(raw)
    assert raw.engine.rawmode.receive() == [HEADER.pack(*each[1]), b""]
    assert raw.engine.host.collect(True) == []  # no RST, which a socket's absence would be


def test_other_packets_are_the_sockets_and_seen(raw):
    raw.open(1234, 5000)
    header, payload = raw.engine.rawmode.receive()
    assert HEADER.unpack(header)[w.DST_PORT] == 1234 and payload == b""


def test_without_the_sockets_nobody_answers(road):
    usual(road)
    road.engine.rawmode.open([], True)
    each = Road.given(road, Packet((2, 5000, 1234), w.OP_REQUEST, STREAM))
    road.engine.many(["host.give", [each]], ["device.poll"])
    assert road.engine.host.collect(True) == []
    assert road.engine.rawmode.receive() == [HEADER.pack(*each[1]), b""]
    road.engine.rawmode.close()


@pytest.mark.parametrize(
    ("lies", "name"),
    [
        ({"used": 0}, "UsedTooShort"),
        ({"used": 43}, "UsedTooShort"),
        ({"length": 1}, "DataTooShort"),
        ({"length": w.MAX_DATA + 1}, "DataTooLong"),
    ],
)
def test_what_cannot_be_a_packet_is_refused_by_name(raw, lies, name):
    came(raw, **lies)
    assert raw.engine.rawmode.receive() == name
    assert raw.engine.rawmode.receive() is None


def send(road, header, data=b"", sizes=()):
    road.engine.rawmode.send(HEADER.pack(*header), data, list(sizes))
    return road.engine.host.collect(True)


LIE = [1, 2, 3, 4, 5, 6, 7, 0xFFFF0009, 9, 10, 11]


@pytest.mark.parametrize("sizes", [(), (44,), (20, 24), (1,) * 15, (50, 7), (107,)])
@pytest.mark.parametrize("indirect", [False, True])
def test_any_header_goes_out_as_it_is_in_any_chain(engine, sizes, indirect):
    offered = 1 << 32 | 1 << 28 if indirect else 1 << 32
    road = Road(engine, offered=offered)
    engine.call("load", "bench_seen")
    engine.rawmode.open([], False)
    data = road.noise(64)
    for _ in range(200):  # more than there are slots: all come back
        [[_, header, payload, parts]] = send(road, LIE, data, sizes)
        assert (header, payload) == (LIE, data)
        ends = len(sizes) + (sum(sizes) < 108)
        assert parts == ends
    engine.rawmode.close()
    engine.device.reap()
    assert engine.call("stack.out.idle")


def test_a_chain_that_is_cut_beyond_its_packet_is_refused(raw):
    assert raw.engine.rawmode.send(bytes(44), b"", [45]) == "DataTooLong"


def test_bytes_that_are_no_packet_are_sent_as_they_are(raw):
    engine = raw.engine
    engine.rawmode.send_chain([b"shor", b"t"], [])
    [[_, chain]] = engine.ring(1, "take_all")
    assert [each[1:] for each in chain] == [[4, False], [1, False]]


def test_a_buffer_that_the_device_may_write_to_can_be_sent(raw):
    engine = raw.engine
    engine.rawmode.send_chain([bytes(44)], [100])
    [[_, chain]] = engine.ring(1, "take_all")
    assert [each[1:] for each in chain] == [[44, False], [100, True]]


def test_a_chain_of_more_buffers_than_any_is_refused(raw):
    assert raw.engine.rawmode.send_chain([b"x"] * 17, []) == "ValueError"


def test_what_is_sent_so_is_in_a_capture(engine):
    road = SeenRoad(engine)
    engine.rawmode.open([], False)
    data = road.noise(64)
    send(road, LIE, data, (20, 24))
    engine.rawmode.send_chain([b"short"], [])
    engine.host.has()
    engine.rawmode.close()
    found = records(usual(road))
    assert [(each.header, each.payload) for each in found] == [
        (HEADER.pack(*LIE), data),
        (b"short", b""),
    ]
