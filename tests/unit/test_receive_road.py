# SPDX-License-Identifier: MIT
"""The receive road as it ships, from the ring to the program: any packets, in any order.

After every step everything that can be seen is what the model says (road.py); both engines agree
with it, and so with each other.
"""

import random

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from profiles import examples
from road import CID, LISTENERS, POSTED, SHOWN_BY, Road
from road_model import EAGAIN, M32, SEQPACKET, SIZE, STREAM, WIDE, Packet, w

CIDS = [2, 2, 2, 3, 0xFFFFFFFE]
NOBODYS = [w.CID_HYPERVISOR, w.CID_LOCAL, w.CID_ANY]
PORTS = [*LISTENERS, *LISTENERS, 99]
USUAL = [w.OP_CREDIT_UPDATE, w.OP_CREDIT_REQUEST] * 2 + [w.OP_SHUTDOWN]
ODD = [w.OP_REQUEST, w.OP_RESPONSE, w.OP_RST, w.OP_INVALID, 8, 0xFFFF]
OPS = [w.OP_RW] * 24 + USUAL * 2 + ODD
OPS_FOR_CONNECTING = [w.OP_RESPONSE] * 9 + [w.OP_RW, *USUAL, *ODD]
OPS_FOR_NOBODY = [w.OP_REQUEST] * 9 + [w.OP_RW, *USUAL, *ODD]
LIES = [""] * 40 + ["length", "used", "dst", "high", "cid", "cid"]


class Chance(random.Random):
    """Where one step's decisions come from. hypothesis draws its seed, since draws are slow."""

    def seldom(self):
        return self.random() < 0.2

    def size(self):
        """Of a payload, or of what a program wants."""
        return self.choice([2048, 2049, 4097, *[w.MAX_DATA] * 4, *[self.randint(1, 3000)] * 6])

    def word(self):
        """A peer's credit that is not to be believed."""
        return self.choice([0, 1, SIZE, M32, self.randint(0, 70000)])


def packet(road, chance):
    """A packet for somebody: header fields that are mostly right."""
    lines = [*road.guest.lines.values()]
    if lines and not chance.seldom():
        line = chance.choice(lines)
        (cid, peer, port), kind, fwd = line.key, line.kind, line.sent & M32
        op = chance.choice(OPS_FOR_CONNECTING if line.state == "connecting" else OPS)
        room = line.edge - line.got
    else:
        cid, peer, port = chance.choice(CIDS), chance.choice([5000, 5001]), chance.choice(PORTS)
        kind, fwd, room = chance.choice([STREAM, STREAM, SEQPACKET, 0]), 0, 100
        op = chance.choice(OPS_FOR_NOBODY)
    kind ^= chance.choice([0] * 15 + [3])
    alloc = chance.word() if chance.seldom() else SIZE
    fwd = chance.word() if chance.seldom() else fwd
    n = 0
    if op == w.OP_RW or chance.seldom():
        n = chance.size()
        if 0 < room <= w.MAX_DATA and chance.seldom():
            n = room
        elif chance.randint(0, 15):
            n = max(0, min(n, room))
    flags = chance.randint(0, 7)
    return Packet((cid, peer, port), op, kind, flags, alloc, fwd, road.noise(n))


def lies(road, chance, packet):
    """Fields of the header, or the used length, that are not true: see Guest.receive."""
    lie = chance.choice(LIES)
    whole = w.HEADER_LEN + len(packet.payload)
    if lie == "length":
        return {"length": chance.choice([0, 1, w.MAX_DATA, w.MAX_DATA + 1, M32])}
    if lie == "used":
        ends = [0, w.HEADER_LEN - 1, w.HEADER_LEN, max(0, whole - 1), w.BUFFER_LEN]
        return {"used": chance.choice(ends)}
    if lie == "dst":
        return {"dst": chance.choice([w.CID_LOCAL, CID + 1, w.CID_ANY])}
    if lie == "high":
        return {chance.choice(["src_high", "dst_high"]): chance.choice([1, M32])}
    if lie == "cid":
        packet.key = chance.choice([road.guest.cid, *NOBODYS]), *packet.key[1:]
    return {}


# -- what may happen; each takes its decisions from its Chance


def rest(road, chance):
    road.step()


def packets_come(road, chance):
    given = []
    for _ in range(min(chance.randint(1, 4), len(road.posted))):
        each = packet(road, chance)
        untrue = lies(road, chance, each)
        head = chance.choice(sorted(road.posted))
        blank = each.op == w.OP_INVALID and chance.seldom()
        given.append(road.given(each, head, blank, **untrue))
    if given:
        ways = [["device.poll"], ["stack.waiter.wait", 0], ["stack.waiter.spin"]]
        if road.interrupts:
            ways.append(["transport.fire", 0])
        way = chance.choice(ways)
        _, taken = road.step(["host.give", given], way)
        assert way != ["device.poll"] or taken == len(given)


def flood(road, chance):
    """A peer sends all that it may, and asks for more; its program is stuck, or not."""
    lines = [each for each in road.guest.lines.values() if each.state == "established"]
    if not lines:
        return
    line = chance.choice(lines)
    for _ in range(8):
        n = min(w.MAX_DATA, line.edge - line.got)
        if not n or line.remote or line.state == "closed" or not road.posted:
            break
        road.to(line, w.OP_RW, road.noise(n))
    for _ in range(min(chance.randint(0, 3), len(road.posted))):
        road.to(line, w.OP_CREDIT_REQUEST)


def some(road, chance):
    """A socket with a connection that is not under way, or None."""
    settled = [name for name, line in road.names.items() if not line.unchecked]
    return chance.choice(settled) if settled else None


def drain(road, chance):
    """A program reads all that there is."""
    name = some(road, chance)
    if name is not None and not road.names[name].borders:
        want = chance.choice([1 << 18, 30_000])
        for _ in range(16):
            if road.names[name].unread:
                road.recv(name, want)


def recv(road, chance):
    name = some(road, chance)
    if name is not None:
        road.recv(name, chance.choice([chance.size(), 1 << 18]), chance.seldom())


def write(road, chance):
    name = some(road, chance)
    if name is not None:
        road.write(name, road.noise(chance.choice([chance.size(), 100_000])))


def shutdown(road, chance):
    name = some(road, chance)
    if name is not None:
        road.shutdown(name, chance.randint(1, 3))


def close(road, chance):
    if road.names:
        road.close(chance.choice(sorted(road.names)))


def accept(road, chance):
    port = chance.choice(sorted(LISTENERS))
    if port in road.guest.listeners:
        road.accept(port)


def connect(road, chance):
    road.connect(chance.choice([STREAM, STREAM, SEQPACKET]))


def stop_or_start_listening(road, chance):
    port = chance.choice(sorted(LISTENERS))
    (road.stop_listening if port in road.guest.listeners else road.listen)(port)


def time_passes(road, chance):
    road.wait(chance.choice([1, 499, 500, 2000, 8000]))


def the_device_changes(road, chance):
    if road.broken or road.closed:
        road.reopen()
        return
    what = chance.choice(["reset", "reset", "break", "close", "open"])
    if what == "reset":
        road.reset_transport(chance.choice([CID, 44]), chance.choice([w.EVENT_BYTES, 0]))
    elif what == "break":
        the_device_breaks(road, chance)
    elif what == "close":
        road.close_device()
    else:
        road.reopen()


def the_device_breaks(road, chance):
    ways = [
        ["host.give", [[min(road.posted), [], b"", w.BUFFER_LEN + 1]]],
        ["host.put", 128, 0],  # out of range
        ["host.put", 127, 0],  # not in flight
        ["host.jump", len(road.posted) + 1],
        ["transport.needs_reset"],
    ]
    how = chance.choice(ways)
    look: list = ["device.poll"]
    if how == ways[-1]:
        look = ["transport.fire", 3] if road.interrupts else ["device.poll_events"]
    road.break_by(how, look)


# So many times as often.
WEIGHTS = {
    rest: 1,
    packets_come: 18,
    recv: 8,
    write: 5,
    flood: 2,
    drain: 3,
    accept: 3,
    connect: 2,
    shutdown: 2,
    close: 2,
    time_passes: 1,
    stop_or_start_listening: 1,
    the_device_changes: 1,
}
actions = st.sampled_from([each for each, weight in WEIGHTS.items() for _ in range(weight)])
steps = st.lists(st.tuples(actions, st.integers(0, 1 << 32)), min_size=20, max_size=60)
openings = st.lists(st.sampled_from(sorted(LISTENERS)), max_size=5)


def test_any_packets_in_any_order_do_what_the_model_says(engine):
    @settings(max_examples=examples(400))
    @given(st.booleans(), st.booleans(), st.sampled_from([4, 4, 0]), openings, steps)
    def run(event_idx, seqpacket, vectors, openings, steps):
        road = Road(engine, event_idx, seqpacket, vectors)
        try:
            for peer, port in enumerate(openings):
                road.open(port, 5000 + peer)
            for step, seed in steps:
                step(road, Chance(seed))
        except BaseException:
            note(road.story())
            raise

    run()


# -- one thing at a time


@pytest.fixture
def road(engine):
    return Road(engine)


def test_one_question_is_no_sign_that_a_peer_is_stuck_whatever_was_read(road):
    name = road.open(1234, 5000)
    line = road.names[name]
    for _ in range(3):
        road.to(line, w.OP_RW, road.noise(1))
        road.recv(name, 1)
        road.recv(name, 1)
        while line.got < line.edge:
            road.to(line, w.OP_RW, road.noise(min(w.MAX_DATA, line.edge - line.got)))
        road.to(line, w.OP_CREDIT_REQUEST)
        assert line.window == SIZE
        road.close(name)
        name = road.open(1234, 5000 + road.serial)
        line = road.names[name]


def test_a_window_widens_for_a_program_that_reads_much_up_to_1_mib(road):
    name = road.open(1234, 5000)
    line = road.names[name]
    while line.read < 24 * SIZE:
        flood(road, Chance(1))
        drain(road, Chance(1))
    assert line.window == WIDE


def test_a_stuck_peer_gets_a_larger_window_while_memory_is_left(road):
    name = road.open(1234, 5000)
    line = road.names[name]
    before = 0
    while line.window > before:
        before = line.window
        while line.got < line.edge:
            road.to(line, w.OP_RW, road.noise(min(w.MAX_DATA, line.edge - line.got)))
        for _ in range(3):
            road.to(line, w.OP_CREDIT_REQUEST)
    assert 31 << 18 < line.window < 9 << 20
    other = road.names[road.open(1234, 5001)]
    assert 100_000 < other.window < SIZE
    while line.unread:
        road.recv(name, 1 << 18)


def test_all_buffers_are_in_use_and_come_back(road):
    """More large packets than there are buffers: the others are copied."""
    names = [road.open(1234, 5000 + i) for i in range(7)]
    for name in names:
        for _ in range(4):
            road.to(road.names[name], w.OP_RW, road.noise(w.MAX_DATA))
    assert road.guest.spare == 0
    for name in names:
        while road.names[name].unread:
            road.recv(name, 100_000)
    assert road.guest.kept == 0


def test_a_storm_of_tiny_messages_ends_the_connection(road, engine):
    name = road.open(1235, 5000)
    line = road.names[name]
    most = 64 + (SIZE >> 9)
    for _ in range(most):
        road.to(line, w.OP_RW, b"x", w.SEQ_EOM)
    # One more is refused for lack of memory; it has not come.
    given = [min(road.posted), road.header(Packet(line.key, w.OP_RW, line.kind)), b"x", 45]
    given[1][w.LEN] = 1
    line.end(105)
    road.guest.after(line, True)
    road.hidden.append(road.posted.pop(given[0]))
    if len(road.hidden) == SHOWN_BY:
        road.shown, road.hidden = road.hidden, []
    line.peer_alloc = 0
    road.step(["host.give", [given]], ["device.poll"])
    for _ in range(most):
        assert road.recv(name, 10) == [b"x", None]
    assert road.recv(name, 10) == [None, 105]


def test_nothing_comes_and_nothing_happens(road):
    assert road.step(["device.poll"])[0] == 0
    assert road.recv(road.open(1234, 5000), 10) == [None, EAGAIN]
    assert len(road.posted) + len(road.hidden) == POSTED


def test_without_heap_packets_may_be_lost_but_no_buffer_and_no_connection(expanded):
    engine = expanded
    road = Road(engine, event_idx=False)
    name = road.open(1234, 5000)
    line = road.names[name]
    lost = 0
    for i in range(60):
        peer = 6000 + i
        header = [2, 0, CID, 0, peer, 1234, 0, STREAM | w.OP_REQUEST << 16, 0, SIZE, 0]
        payload = b""
        if i % 4 == 1:  # data for the connection that is there
            payload = road.noise(3000)
            header[w.SRC_PORT], header[w.LEN] = 5000, len(payload)
        elif i % 4 == 2:
            header[w.SRC_PORT] = 5000
        elif i % 4 == 3:
            header[w.DST_PORT] = 99
        header[w.TYPE_OP] = STREAM | (w.OP_REQUEST, w.OP_RW, w.OP_CREDIT_REQUEST, 8)[i % 4] << 16
        heads = engine.host.heads()
        assert len(heads) > POSTED - SHOWN_BY
        engine.host.give([[heads[0], header, payload, w.HEADER_LEN + len(payload)]])
        assert engine.without_memory("device.poll") == 1
        sent = [header[w.TYPE_OP] >> 16 for _, header, _, _ in engine.host.collect(True)]
        lost += i % 4 == 0 and sent == [w.OP_RST]
        if i % 4 == 1:
            assert engine.call(f"{name}.recv", 5000) == payload
        elif i % 4:
            assert sent == [w.OP_CREDIT_UPDATE, w.OP_RST][i % 4 == 3 :][:1]
    assert lost == 15 == engine.call("stack.refused")
    assert engine.program.connections() == 1
    assert engine.call("~1234.connection") is None
    assert line.state == "established"
    assert engine.host.broken() is None
    head = engine.host.heads()[0]
    header = [2, 0, CID, 0, 7000, 1234, 0, STREAM | w.OP_REQUEST << 16, 0, SIZE, 0]
    engine.many(["host.give", [[head, header, b"", w.HEADER_LEN]]], ["device.poll"])
    assert engine.program.accept("~1234", "~late") == [2, 7000]
