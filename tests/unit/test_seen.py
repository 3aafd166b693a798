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


def test_a_part_that_is_copied_behind_one_that_is_lent_is_seen_once(road):
    name = road.open(1234, 5000)
    road.engine.call(f"{name}.settimeout", 0)
    road.write(name, road.noise(w.MAX_DATA + w.INLINE))
    sent = [each.length for each in records(usual(road)) if operation(each) == w.OP_RW]
    assert sent == [w.MAX_DATA, w.INLINE]


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


def blocks(data):
    """The types and the contents of a file's blocks, whose lengths stand at both of their ends."""
    found = []
    while data:
        kind, size = struct.unpack_from("<II", data)
        assert struct.unpack_from("<I", data, size - 4) == (size,)
        found.append((kind, data[8 : size - 4]))
        data = data[size:]
    return found


def test_a_file_ends_with_how_many_packets_are_in_it(road):
    for i in range(3):
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
    *others, (kind, last) = blocks(usual(road))
    counted = [each for each, _ in others].count(6)
    assert kind == 5 and counted == 3
    assert struct.unpack_from("<HHQHHQ", last, 12) == (4, 8, counted, 5, 8, 0)


def test_what_fills_a_packet_up_is_zero_also_where_others_were(road):
    usual(road)
    road.engine.seen.start("odd", 100, ROOM)
    for data in (b"\xff" * 100, b"\xff" * 100, b"abc", b"abc", b"abcd"):
        road.send(Packet((2, 5000, 99), w.OP_RW, STREAM, 0, SIZE, 0, data))
        road.engine.clock.advance(20_000)
    for _ in range(2):
        road.send(Packet((2, 5000, 99), w.OP_RST, STREAM))
    inside = [each for kind, each in blocks(road.engine.seen.stop("odd")) if kind == 6]
    assert {each[:4] for each in inside} == {bytes(4)}  # the one interface that there is
    ends = [each[20 + 76 :] for each in inside if each[20 + 76 :][:3] == b"abc"]
    flags = struct.pack("<HHIHH", 2, 4, 1, 0, 0)
    assert ends == [b"abc\0" + flags] * 2 + [b"abcd" + flags]


def test_what_is_being_written_stays_while_more_packets_come(road):
    """There are two pages, which take turns."""
    usual(road)
    road.engine.seen.start("peer", 100, ROOM, [70, 71])
    for i in range(4):
        road.engine.seen.takes("peer", [60, 0])
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
        road.engine.clock.advance(10_000)
        road.send(Packet((2, 6000 + i, 99), w.OP_RST, STREAM))
        road.engine.clock.advance(10_000)
    found = records(road.engine.seen.stop("peer"))
    ports = [HEADER.unpack(each.header)[w.SRC_PORT] for each in found]
    assert ports == [port for i in range(4) for port in (5000 + i, 6000 + i)]


def test_a_socket_that_takes_nothing_for_a_while_is_tried_again_without_news(road):
    usual(road)
    road.engine.seen.start("peer", 100, ROOM, [70, 71])
    road.engine.seen.takes("peer", [0, 50, 0, 0, 0])
    road.send(Packet((2, 5000, 99), w.OP_RST, STREAM))
    for _ in range(6):
        road.engine.clock.advance(10_000)
    assert len(records(road.engine.seen.written("peer"))) == 1
    assert road.engine.clock.until_timer() is None  # nothing is left to be written


def test_what_comes_in_small_parts_is_written_at_once(road):
    usual(road)
    road.engine.seen.start("peer", 100, ROOM, [70, 71])
    road.engine.seen.takes("peer", [1, 1])
    road.send(Packet((2, 5000, 99), w.OP_RST, STREAM))
    road.engine.clock.advance(10_000)
    assert len(records(road.engine.seen.written("peer"))) == 1


def test_few_packets_wait_a_hundredth_of_a_second_however_many_follow(road):
    usual(road)
    road.engine.seen.start("few", 100, ROOM)
    for i in range(3):
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
        road.engine.clock.advance(4_000)
    assert len(records(road.engine.seen.written("few"))) == 3


def test_the_rest_of_what_a_slow_socket_takes_comes_before_the_end(road):
    usual(road)
    road.engine.seen.start("peer", 100, ROOM, [70, 71])
    road.engine.seen.takes("peer", [10, 0, 7, 0])
    for i in range(2):
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
        road.engine.clock.advance(10_000)
    road.send(Packet((2, 5002, 99), w.OP_RST, STREAM))
    road.engine.seen.takes("peer", [9, 0, 0])
    assert [kind for kind, _ in blocks(road.engine.seen.stop("peer"))][2:] == [6, 6, 6, 5]


def test_a_socket_that_takes_no_more_holds_the_end_up_for_two_seconds(road):
    usual(road)
    road.engine.seen.start("peer", 100, ROOM, [70, 71])
    begun = road.engine.seen.written("peer")
    road.engine.seen.takes("peer", [0] * 10_000)
    road.send(Packet((2, 5000, 99), w.OP_RST, STREAM))
    start = road.engine.clock.ticks_ms()
    assert road.engine.seen.close("peer") is None
    assert 2000 <= road.engine.clock.ticks_ms() - start < 4100
    assert road.engine.seen.written("peer") == begun


def test_a_socket_that_goes_ends_the_capture_once(road):
    """What waited behind is lost with it; who closes the capture hears of it."""
    usual(road)
    road.engine.seen.start("peer", 100, ROOM, [70, 71])
    road.send(Packet((2, 5000, 99), w.OP_RST, STREAM))
    road.engine.seen.takes("peer", [10, 0])
    road.engine.clock.advance(10_000)
    road.send(Packet((2, 5001, 99), w.OP_RST, STREAM))
    road.engine.seen.takes("peer", [-1])
    road.engine.clock.advance(10_000)
    assert road.engine.seen.failed("peer") == 32
    said = road.engine.machine.logged()[-1]
    assert said[:2] == ["WARNING", "vsock"] and said[2].startswith("the capture has stopped: ")
    assert road.engine.clock.until_timer() is None
    written = road.engine.seen.written("peer")
    assert road.engine.seen.close("peer") == 32
    assert road.engine.seen.written("peer") == written


def test_a_capture_has_room_for_many_packets_unless_it_is_told_otherwise(road):
    usual(road)
    road.engine.seen.start("plain")
    for i in range(100):
        road.send(Packet((2, 5000 + i, 99), w.OP_RST, STREAM))
    assert road.engine.seen.counts("plain") == [100, 0]
    road.engine.seen.stop("plain")


def test_what_with_begins_it_ends(road):
    usual(road)
    assert road.engine.seen.within("inside")
    assert road.engine.seen.untouched()
    assert blocks(road.engine.seen.written("inside"))[-1][0] == 5
    road.engine.rawmode.within()
    assert road.engine.seen.untouched()


@pytest.mark.parametrize("n", [100, 5000])
def test_what_is_spliced_is_seen_once(road, n):
    name = road.open(1234, 5000)
    data = road.noise(n)
    header = [2, 0, CID, 0, 5000, 1234, n, STREAM | w.OP_RW << w.OP_SHIFT, 0, SIZE, 0]
    given = [road.engine.host.heads()[0], header, data, w.HEADER_LEN + n]
    road.engine.many(["host.give", [given]], ["device.poll"])
    assert road.engine.program.splice(name, name) == n
    found = [each for each in records(usual(road)) if operation(each) == w.OP_RW]
    assert [(each.direction, each.length) for each in found] == [("in", n), ("out", n)]


def test_packets_that_carry_the_capture_are_no_news(road):
    usual(road)
    road.engine.seen.start("peer", 100, ROOM, [99, 5000])
    assert road.engine.clock.until_timer() is None
    road.send(Packet((2, 5000, 99), w.OP_RST, STREAM))
    assert road.engine.clock.until_timer() is None
    road.send(Packet((2, 5001, 99), w.OP_RST, STREAM))
    assert road.engine.clock.until_timer() == 10_000


def test_packets_wait_for_room_for_answers_with_a_capture_too(engine):
    road = SeenRoad(engine, sizes=[128, 16, 128])
    engine.many(["host.work"], ["device.reap"], ["host.took"])
    asked = [2, 0, CID, 0, 5000, 99, 0, STREAM | w.OP_REQUEST << w.OP_SHIFT, 0, SIZE, 0]
    heads = engine.host.heads()[:8]
    engine.host.give([[head, asked, b"", w.HEADER_LEN] for head in heads])
    taken = engine.device.poll()
    assert taken == 5  # and three slots are left
    assert engine.device.poll() == 0
    engine.host.work()
    assert engine.device.poll() == 8 - taken
    usual(road)


def test_a_look_without_waiting_is_one_with_a_capture_too(road):
    clock = road.engine.clock
    clock.looks_take(10)
    start = clock.ticks_us()
    assert road.engine.device.poll(0) == 0
    assert clock.ticks_us() - start <= 20
    start = clock.ticks_us()
    assert road.engine.device.poll(500) == 0
    assert 500 <= clock.ticks_us() - start <= 600
    assert road.engine.ring(0, "armed")
    rst = [2, 0, CID, 0, 5000, 99, 0, STREAM | w.OP_RST << w.OP_SHIFT, 0, SIZE, 0]
    road.engine.host.give([[road.engine.host.heads()[0], rst, b"", w.HEADER_LEN]])
    assert road.engine.device.poll(500) == 1
    assert road.engine.device.poll(0) == 0
    assert not road.engine.ring(0, "armed")


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


def test_who_waits_for_a_packet_sleeps(raw):
    engine = raw.engine
    engine.clock.looks_take(10)
    assert engine.rawmode.receive(0.05) is None
    assert engine.machine.waits()
    assert engine.clock.ticks_us() >= 50_000


def test_half_a_mebibyte_of_packets_waits_and_others_are_counted(raw):
    engine = raw.engine
    kind = STREAM | w.OP_RW << w.OP_SHIFT
    header = [2, 0, CID, 0, 5000, 99, w.MAX_DATA, kind, 0, SIZE, 0]
    for _ in range(9):
        given = [engine.host.heads()[0], header, bytes(w.MAX_DATA), w.HEADER_LEN + w.MAX_DATA]
        engine.many(["host.give", [given]], ["device.poll"])
    assert engine.rawmode.dropped() == 2
    for _ in range(7):
        assert engine.rawmode.receive() == [HEADER.pack(*header), bytes(w.MAX_DATA)]
    assert engine.rawmode.receive() is None


def test_packets_one_behind_the_other_are_received_one_by_one(raw):
    """Whatever follows in memory is the next one's."""
    sent = [came_with(raw, data) for data in (b"", b"abc", b"", b"x" * 100)]
    for header, data in sent:
        assert raw.engine.rawmode.receive() == [HEADER.pack(*header), data]


def test_what_a_script_sends_it_does_not_receive(raw):
    assert raw.engine.rawmode.send(HEADER.pack(*LIE), b"", []) is None
    raw.engine.host.work()
    assert raw.engine.rawmode.receive() is None
    header, data = came_with(raw, b"this is")
    assert raw.engine.rawmode.receive() == [HEADER.pack(*header), data]


def came_with(road, data):
    kind = STREAM | w.OP_RW << w.OP_SHIFT
    header = [2, 0, CID, 0, 5000, 99, len(data), kind, 0, SIZE, 0]
    given = [road.engine.host.heads()[0], header, data, w.HEADER_LEN + len(data)]
    road.engine.many(["host.give", [given]], ["device.poll"])
    return header, data


@pytest.mark.parametrize("extra, refused", [(0, False), (1, True)])
def test_a_chain_that_a_small_queue_can_never_hold_is_refused(engine, extra, refused):
    """Half of the eight slots are for what is owed to peers: three are left besides its own."""
    Road(engine, sizes=[128, 16, 128])
    engine.many(["host.work"], ["device.reap"], ["host.took"])
    engine.load("bench_seen")
    engine.rawmode.open([], False)
    engine.clock.looks_take(10)
    answer = engine.rawmode.send_chain([bytes(44)] * (8 + extra), [])
    assert answer == ("ValueError" if refused else None)
    engine.host.work()
    engine.rawmode.close()


def test_chains_that_find_no_room_wait_for_it(engine):
    Road(engine)
    engine.load("bench_seen")
    engine.rawmode.open([], False)
    engine.host.works_while_the_program_sleeps()
    engine.clock.looks_take(10)
    for i in range(200):
        header = [*LIE[:-1], i]
        assert engine.rawmode.send(HEADER.pack(*header), b"", [20, 4]) is None
    engine.host.work()
    sent = [header[w.FWD_CNT] for _, header, _, _ in engine.host.took() if header[0] == LIE[0]]
    assert sent == list(range(200))
    engine.rawmode.close()


def test_slots_that_long_chains_took_are_free_one_by_one_again(engine):
    """Else two packets would lie in one place."""
    road = Road(engine)
    engine.load("bench_seen")
    engine.rawmode.open([], False)
    for _ in range(5):
        assert len(send(road, LIE, road.noise(64), (1,) * 15)) == 1
        engine.device.reap()
    engine.rawmode.close()
    stray = [2, 0, CID, 0, 5000, 99, 0, STREAM | w.OP_SHUTDOWN << w.OP_SHIFT, 0, SIZE, 0]
    heads = engine.host.heads()[:12]  # more than a chain took
    given = []
    for i, head in enumerate(heads):
        stray[w.SRC_PORT] = 6000 + i
        given.append([head, list(stray), b"", w.HEADER_LEN])
    engine.many(["host.give", given], ["device.poll"])
    sent = [header[w.DST_PORT] for _, header, _, _ in engine.host.collect(True)]
    assert sent == [6000 + i for i in range(12)]  # RSTs, each in a place of its own
