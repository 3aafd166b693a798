# SPDX-License-Identifier: MIT
"""A vsock device's life: brought up, interrupted, broken, closed, brought up again.

Programs that wait in the meantime are real sockets that sleep; what the host does then is planned.
"""

from errno import EAGAIN, ECONNRESET, EINPROGRESS, EIO, ENODEV, ENOTCONN

import pytest
import vsock_bench
from engines import GuestError
from road import CID, POSTED, Road, device_module, numbers
from road_model import BOTH, SIZE, STREAM, Packet, w

general = vsock_bench.module("sockets.general")
RX, TX, EVENT, CONFIG = range(4)
POLLIN, POLLOUT = numbers.POLLIN, numbers.POLLOUT
POLLERR, POLLHUP, POLLRDHUP = numbers.POLLERR, numbers.POLLHUP, numbers.POLLRDHUP
VERSION_1 = device_module.F_VERSION_1
RESERVED = [w.CID_HYPERVISOR, w.CID_LOCAL, w.CID_HOST, w.CID_ANY]
RUNNING = [0, 1, 3, 0xB, 0xF]
OWNERLESS = [CID, 0, w.CID_HOST, 0, 0, 0, 0, STREAM | w.OP_RST << w.OP_SHIFT, 0, 0, 0]


@pytest.fixture
def road(engine):
    return Road(engine)


def brought_up(engine, **settings):
    engine.power_on(settings)
    engine.bring_up()
    return engine


def raises(errno, call, *arguments):
    with pytest.raises(GuestError) as caught:
        call(*arguments)
    assert caught.value.errno == errno
    return caught.value


# -- the beginning


def test_it_comes_up_in_order_and_shows_its_buffers(engine):
    brought_up(engine)
    assert engine.transport.statuses() == RUNNING
    assert engine.transport.enabled() == [RX, TX, EVENT]
    assert engine.ring(RX, "avail_idx") == POSTED
    assert len(engine.ring(EVENT, "take_all")) == 4
    assert engine.ring(RX, "armed") and engine.ring(EVENT, "armed")
    assert engine.transport.rung() == [RX, TX, EVENT]
    assert engine.device.interrupts() and engine.host.broken() is None


def test_event_buffers_lie_side_by_side(engine):
    places = brought_up(engine).host.event_buffers()
    first = places[0][0]
    assert sorted(places) == [[first + 4 * i, 4] for i in range(4)]


def test_memory_for_what_nobody_reads_has_an_end(engine):
    """All of it is there from the beginning: two ninths of the RAM, in whole chunks."""
    brought_up(engine)
    assert engine.stack.window_limit() == 16 << 20
    before = engine.machine.dma_used()
    assert before > (56 << 18) + 40 * w.LARGE_STRIDE
    blocks = engine.stack.store.total()
    assert blocks == 56 * 64
    assert engine.stack.budget.connections() == blocks // 3
    while engine.stack.store.promise(100):
        pass
    assert engine.machine.dma_used() == before


def test_reopen_before_anything_brings_it_up_once(engine):
    engine.power_on({})
    engine.clock.looks_take(1000)
    for bring_up in "vsock.reopen", "bring_up":
        engine.call(bring_up)
        assert engine.transport.opened() == 1


def test_automatic_ports_begin_where_nobody_knows(engine):
    begins = []
    for _ in range(3):
        brought_up(engine)
        begins.append(engine.call("stack.automatic.next"))
    assert len(set(begins)) > 1
    assert all(1024 <= each < 1024 + (1 << 28) for each in begins)


@pytest.mark.parametrize(
    "seed, port", [(0, 1024), (1, 1025), (1 << 28, 1024), ((1 << 30) - 1, 1023 + (1 << 28))]
)
def test_automatic_ports_begin_where_the_seed_has_it(engines, monkeypatch, seed, port):
    monkeypatch.setattr(vsock_bench.bench_machine, "seed", lambda: seed)
    assert brought_up(engines["source"]).call("stack.automatic.next") == port


def test_what_is_to_happen_before_the_device_works_happens_once(engines):
    engine = engines["source"]
    engine.power_on({})
    found = []
    before_start = vsock_bench.module("vsock").before_start
    before_start(lambda stack: found.append([stack.cid, engine.transport.statuses()[-1]]))
    engine.bring_up()
    engine.reopen()
    assert found == [[CID, RUNNING[-2]]]


def test_reopen_of_a_device_that_is_gone_says_so(engine):
    brought_up(engine)
    engine.no_device()
    with pytest.raises(GuestError) as caught:
        engine.call("vsock.reopen")
    assert caught.value.name == "IndexError"
    assert caught.value.arguments == ["this machine has no vsock device"]


def test_who_waits_ends_what_lingers_too(road):
    engine = road.engine
    name = road.open(1234, 5000)
    engine.clock.looks_take(10)
    engine.program.forget(name)
    engine.call("stack.waiter.wait", 1000)
    assert engine.machine.alarms() == [8_000_000]
    assert engine.program.connections() == 1
    engine.host.work()
    engine.host.took()
    engine.clock.advance(8_000_000)
    engine.call("stack.waiter.wait", 1000)
    assert engine.program.connections() == 0
    assert len(engine.machine.alarms()) == 1
    [(_, header, _, _)] = engine.host.collect(True)
    assert header[w.TYPE_OP] >> w.OP_SHIFT == w.OP_RST


def test_bytes_are_read_into_a_part_of_a_buffer(road):
    name = road.open(1234, 5000)
    engine = road.engine
    [head, *_] = engine.host.heads()
    header = [2, 0, CID, 0, 5000, 1234, 5, STREAM | w.OP_RW << w.OP_SHIFT, 0, SIZE, 0]
    engine.many(["host.give", [[head, header, b"bytes", 49]]], ["device.poll"])
    assert engine.program.read_into(name, 4, 2) == b"by\0\0"
    assert engine.program.read_into(name, 2, 1) == b"t\0"
    with pytest.raises(GuestError, match="buffer too small"):
        engine.program.read_into(name, 1, 9)
    assert engine.program.read_into(name, 1, 1) == b"e"
    assert engine.program.read_into(name, 4, 0) == b"s\0\0\0"


def test_who_waits_for_more_than_a_window_holds_reads_it_by_and_by(road):
    engine = road.engine
    name = road.open(1236, 5000)  # its window is 3000
    engine.call(f"{name}.options.set_size", 20000, None)  # but memory is short
    engine.call(f"{name}.settimeout", None)
    engine.clock.looks_take(100)
    data = road.noise(9000)
    heads = iter(engine.host.heads())
    comes = []
    for at in range(0, 9000, 3000):
        kind = STREAM | w.OP_RW << w.OP_SHIFT
        header = [2, 0, CID, 0, 5000, 1236, 3000, kind, 0, SIZE, 0]
        given = [next(heads), header, data[at : at + 3000], w.HEADER_LEN + 3000]
        comes.append([["host.work"], ["host.give", [given]], ["device.poll"]])
    engine.plan(comes)
    assert engine.call(f"{name}.recv", 9000, numbers.MSG_WAITALL) == data


def test_each_byte_that_is_read_counts(road):
    name = road.open(1234, 5000)
    road.send(Packet((2, 5000, 1234), w.OP_RW, STREAM, alloc=SIZE, payload=b"bytes"))
    for count in 1, 2:
        road.engine.program.read_into(name, count, 0)
    head = road.engine.host.heads()[0]
    header = [2, 0, CID, 0, 5000, 1234, 0, STREAM | w.OP_CREDIT_REQUEST << w.OP_SHIFT, 0, SIZE, 0]
    road.engine.many(["host.give", [[head, header, b"", 44]]], ["device.poll"])
    [(_, header, _, _)] = road.engine.host.collect(True)
    assert header[w.FWD_CNT] == 3


def test_a_program_that_wants_two_bytes_at_least_waits_for_the_second(road):
    name = road.open(1234, 5000)
    engine = road.engine
    engine.call(f"{name}.setsockopt", general.SOL_SOCKET, general.SO_RCVLOWAT, 2)
    engine.call(f"{name}.settimeout", None)
    heads = engine.host.heads()
    header = [2, 0, CID, 0, 5000, 1234, 1, STREAM | w.OP_RW << w.OP_SHIFT, 0, SIZE, 0]
    first, second = ([["host.give", [[head, header, b"x", 45]]]] for head in heads[:2])
    engine.many(*first, ["device.poll"])
    engine.clock.looks_take(10)
    engine.plan([[*second, ["transport.fire", RX]]])
    assert engine.program.read_into(name, 2, 0) == b"xx"


def test_a_message_is_read_once(road):
    name = road.open(1235, 5000)
    engine = road.engine
    head = engine.host.heads()[0]
    kind = w.TYPE_SEQPACKET | w.OP_RW << w.OP_SHIFT
    header = [2, 0, CID, 0, 5000, 1235, 4, kind, w.SEQ_EOM, SIZE, 0]
    engine.many(["host.give", [[head, header, b"once", 48]]], ["device.poll"])
    assert engine.call(f"{name}.ioctl", 3, POLLIN) == POLLIN
    assert engine.attempt(f"{name}.recv", 9) == [b"once", None]
    assert engine.call(f"{name}.ioctl", 3, POLLIN) == 0
    assert engine.attempt(f"{name}.recv", 9) == [None, EAGAIN]


def test_bytes_that_come_while_a_program_spins_are_read_without_sleep(road):
    name = road.open(1234, 5000)
    engine = road.engine
    engine.call(f"{name}.settimeout", None)
    [head, *_] = engine.host.heads()
    header = [2, 0, CID, 0, 5000, 1234, 5, STREAM | w.OP_RW << w.OP_SHIFT, 0, SIZE, 0]
    engine.clock.looks_take(10)
    engine.host.gives_while_it_looks([[head, header, b"bytes", 49]])
    assert engine.program.read_into(name, 5, 0) == b"bytes"
    assert engine.machine.waits() == []


def test_it_waits_until_the_device_takes_packets(engine):
    engine.power_on({})
    engine.host.takes_after(3000)
    engine.bring_up()
    assert 3000 <= engine.clock.now() < 4000
    assert [each[1] for each in engine.host.took()] == [OWNERLESS]
    assert engine.machine.logged() == [["INFO", "vsock", "cid 33 works"]]


def test_a_device_that_takes_nothing_does_not_keep_the_program_for_ever(engine):
    engine.power_on({})
    engine.host.takes_after(10**9)
    engine.bring_up()
    assert 50_000 < engine.clock.now() < 51_000
    assert engine.machine.logged() == [["WARNING", "vsock", "the device takes no packets"]]


@pytest.mark.parametrize("size, posted", [(128, 16), (16, 16), (8, 8), (1, 1)])
def test_a_small_queue_gets_as_many_buffers_as_it_holds(engine, size, posted):
    brought_up(engine, sizes=[size, 128, 128])
    assert len(engine.host.refresh()) == posted
    assert engine.stack.store.spare() == 40 - posted


@pytest.mark.parametrize("offered", [0, w.F_STREAM, w.F_SEQPACKET, w.F_STREAM | w.F_SEQPACKET])
def test_what_a_device_offers_is_known(engine, offered):
    brought_up(engine, offered=VERSION_1 | offered | 1 << 2)
    assert engine.device.seqpacket() == bool(offered & w.F_SEQPACKET)
    assert engine.device.features() == VERSION_1 | offered == engine.transport.accepted()


def test_the_upper_half_of_the_cid_is_ignored(engine):
    brought_up(engine, configuration=(0x1234_5678 << 32 | 77).to_bytes(8, "little"))
    assert engine.stack.cid() == engine.device.cid() == 77


@pytest.mark.parametrize(
    "settings",
    [
        {"offered": 0},
        {"sizes": [128, 128]},
        {"configuration": b""},
        {"restless": 10**9},
        {"dead_route": 1},
        {"dead_route": 3},
        {"missing": "nothing is there"},
        {"configuration": bytes(4)},
        {"sizes": [128, 1, 128]},
        {"sizes": [0, 128, 128]},
        {"sizes": [128, 128, 0]},
        {"refuses_features": True},
        {"reset_reads": 10**9},
        *({"configuration": cid.to_bytes(8, "little")} for cid in RESERVED),
    ],
)
def test_a_device_that_cannot_be_brought_up_is_taken_off_and_leaves_nothing(engine, settings):
    engine.power_on(settings)
    for tries in 1, 2, 3:
        with pytest.raises(GuestError) as caught:
            engine.bring_up()
        assert caught.value.name in ("NotSupported", "DeviceBroken", "OSError", "MicroOSError")
        assert len(caught.value.arguments) == 2  # a number, and a sentence
        assert engine.transport.closed() == engine.transport.opened() <= tries
        assert engine.transport.statuses()[-1:] in ([], [0])
        assert engine.machine.dma_used() == 0
        assert engine.machine.timers() == 0


def test_a_device_for_which_there_is_no_memory_leaves_nothing(engines):
    """Wherever it ends."""
    engine = engines["source"]
    engine.power_on({})
    engine.bring_up()
    whole = engine.machine.dma_used()
    places = 0
    for limit in [*range(0, 2_000_000, 20_000), whole]:
        engine.power_on({})
        vsock_bench.memory.limit = limit
        try:
            engine.bring_up()
        except GuestError as error:
            assert error.name == "MemoryError"
            places += 1
            assert engine.machine.dma_used() == 0
            assert engine.machine.timers() == 0
            assert engine.transport.closed() == engine.transport.opened()
    assert places > 30


@pytest.mark.parametrize("size", [2, 4, 8, 16])
@pytest.mark.parametrize("vectors", [0, 1, 4])
def test_queues_of_a_few_entries_work(engine, size, vectors):
    engine.power_on({"sizes": [size] * 3, "vectors": vectors})
    engine.bring_up()
    engine.clock.looks_take(10)
    engine.program.listen("~l", 1234)
    head = [2, 0, CID, 0, 5000, 1234]
    data = bytes(range(256)) * 300

    def give(op, length, fwd, payload=b""):
        kind = STREAM | op << w.OP_SHIFT
        header = [*head, length, kind, 0, SIZE, fwd]
        given = [engine.host.heads()[0], header, payload, w.HEADER_LEN + length]
        engine.many(["host.collect", True], ["host.give", [given]], ["device.look"])

    give(w.OP_REQUEST, 0, 0)
    engine.program.accept("~l", "~a")
    sent = received = 0
    for n in (1, 100, 4096, 5000, 60_000):
        give(w.OP_RW, n, sent, data[:n])
        received += n
        assert engine.call("~a.recv", n) == data[:n]
        got = b""
        while len(got) < n:
            answer, error = engine.attempt("~a.send", data[len(got) : n])
            assert error in (None, EAGAIN)
            got += b"".join(each[2] for each in engine.host.collect(True))
            engine.device.look()
            assert answer or got
        assert got == data[:n]
        sent += n
    engine.host.have_cid(44)
    assert engine.host.event(4)
    engine.device.look()
    assert engine.stack.cid() == 44
    assert engine.host.broken() is None


def test_a_device_that_does_not_start_again_leaves_the_loopback(engine):
    brought_up(engine)
    engine.transport.set("dead_route", 3)
    raises(ENODEV, engine.call, "vsock.reopen")
    assert engine.transport.closed() == engine.transport.opened() == 2
    assert engine.stack.device() is None and engine.stack.cid() == w.CID_LOCAL
    assert engine.program.connect("~c", w.CID_HOST, 1234, 2000) == ENODEV


@pytest.mark.parametrize("cid", RESERVED)
def test_a_cid_that_nobody_may_have_is_refused_with_a_sentence(engine, cid):
    engine.power_on({"configuration": (1 << 32 | cid).to_bytes(8, "little")})
    error = raises(ENODEV, engine.bring_up)
    assert error.arguments[1].startswith(f"CID {cid} is reserved")


@pytest.mark.parametrize("cid", RESERVED)
def test_a_reset_that_brings_such_a_cid_breaks_the_device(road, cid):
    name = road.open(1234, 5000)
    engine = road.engine
    engine.many(["host.have_cid", cid], ["host.event", 4], ["device.poll_events"])
    assert "is reserved" in engine.host.broken()
    assert engine.stack.cid() == CID
    assert raises(EIO, engine.call, f"{name}.recv", 1)


def test_a_machine_without_a_device_has_the_loopback(engine):
    engine.power_on({})
    engine.no_device()
    assert engine.bring_up() == w.CID_LOCAL
    assert engine.stack.device() is None
    engine.program.listen("~l", 1234, 1, 1)
    assert engine.program.connect("~c", w.CID_LOCAL, 1234, 2000) == EINPROGRESS
    assert engine.call("~c.connect_state") == 1
    assert engine.program.connect("~d", w.CID_HOST, 1234, 2001) == EINPROGRESS  # as Linux's
    assert engine.call("~d.connect_state") == 1
    assert engine.program.connect("~e", 3, 1234, 2002) == ENODEV
    engine.stack.waiter.wait(0)
    with pytest.raises(GuestError, match="this machine has 0 vsock devices"):
        engine.vsock.get(1)


def test_a_second_device_has_its_own_sockets(engine):
    brought_up(engine)
    engine.second_device()
    assert engine.call("second.cid") == CID + 1
    engine.program.listen("~l", 1234)
    engine.call("second.bind", [w.CID_ANY, 1234])  # no clash
    with pytest.raises(GuestError, match="this machine has 2 vsock devices"):
        engine.vsock.get(2)


def test_one_device_does_not_speak_for_another(engine):
    """A packet that the second one brings is for none of the first one's connections."""
    road = Road(engine)
    name = road.open(1234, 5000)
    local = road.connect()
    road.to(road.names[local], w.OP_RESPONSE)
    engine.second_device()
    for (cid, peer, port), kind in [(each.key, each.kind) for each in road.guest.lines.values()]:
        for op in w.OP_RST, w.OP_SHUTDOWN, w.OP_RW:
            header = [cid, 0, CID + 1, 0, peer, port, 4, kind | op << 16, 3, SIZE, 0]
            engine.second_receives(header, b"lies")
    road.step()  # nothing has changed
    assert road.recv(name, 10) == [None, EAGAIN]


# -- the middle


def test_an_interrupt_of_any_queue_is_looked_after(road):
    name = road.open(1234, 5000)
    line = road.names[name]
    for queue in (RX, TX, EVENT, CONFIG):
        given = road.given(Packet(line.key, w.OP_RW, STREAM, 0, SIZE, 0, road.noise(10)))
        road.step(["host.give", [given]], ["transport.fire", queue])
        assert road.recv(name, 100)[0] == given[2]


@pytest.mark.parametrize("vectors", [1, 4])
def test_an_interrupt_says_whether_it_found_anything(engine, vectors):
    """False: nothing; the machine looks less often after many of those."""
    road = Road(engine, vectors=vectors)
    line = road.names[road.open(1234, 5000)]
    engine.device.look()
    for queue in (RX, TX, EVENT, CONFIG):
        assert engine.transport.fire(queue) is False
        given = road.given(Packet(line.key, w.OP_RW, STREAM, 0, SIZE, 0, road.noise(10)))
        engine.host.give([given])
        assert engine.transport.fire(queue) is True
        assert engine.transport.fire(queue) is False
    assert engine.call("~s1.send", b"x") == 1
    engine.host.collect(True)
    assert engine.transport.fire(TX) is True
    assert engine.transport.fire(TX) is False
    engine.host.event(w.EVENT_BYTES)
    assert engine.transport.fire(EVENT) is True
    assert engine.transport.fire(EVENT) is False


def test_one_vector_is_enough(engine):
    road = Road(engine, vectors=1)
    name = road.open(1234, 5000)
    given = road.given(Packet(road.names[name].key, w.OP_RW, STREAM, 0, SIZE, 0, b"data"))
    road.step(["host.give", [given]], ["transport.fire", RX])
    road.reset_transport(CID + 5)


def test_more_resets_than_there_are_event_buffers(road):
    for cid in range(100, 110):
        road.reset_transport(cid)
        assert road.engine.stack.cid() == cid
        assert road.engine.ring(EVENT, "armed")


def test_an_event_buffer_is_posted_again_at_its_own_place(engine):
    places = dict(brought_up(engine).ring(EVENT, "take_all"))
    for head in 2, 0, 3, 1, 2:
        engine.ring(EVENT, "put", head, w.EVENT_BYTES)
        engine.device.poll_events()
        assert engine.ring(EVENT, "take_all") == [[head, places[head]]]


def test_a_buffer_that_comes_back_empty_is_posted_again(road):
    """Each of them: the number of one is 0, as what was written to it is."""
    name = road.open(1234, 5000)
    road.to(road.names[name], w.OP_RW, road.noise(3000))  # which stays where it is
    for _ in range(2):
        for head in sorted(road.posted):
            road.send(Packet((2, 5000, 1234), w.OP_INVALID, STREAM), head=head, blank=True, used=0)


def test_the_log_tells_of_the_first_packet_of_a_kind_that_goes_no_further(road):
    """A buffer that comes back without one is none."""
    before = len(road.engine.machine.logged())
    stray = [2, 0, CID + 1, 0, 5000, 1234, 0, STREAM | w.OP_RST << w.OP_SHIFT, 0, 0, 0]
    for header in (stray, []) * 3:
        given = [road.engine.host.heads()[0], header, b"", w.HEADER_LEN]
        road.engine.many(["host.give", [given]], ["device.poll"])
    assert road.engine.machine.logged()[before:] == [
        ["WARNING", "vsock", "dropped a packet not for this CID"]
    ]


def test_two_resets_at_once(road):
    road.open(1234, 5000)
    road.engine.host.event(w.EVENT_BYTES)
    road.reset_transport(44)


def test_a_reset_keeps_listeners_and_connections_to_oneself(road):
    engine = road.engine
    engine.program.listen("~own", 7, 1, 1)
    assert engine.program.connect("~a", w.CID_LOCAL, 7, 2900) == EINPROGRESS
    engine.program.accept("~own", "~b")
    engine.many(["host.have_cid", 44], ["host.event", 4], ["device.poll_events"])
    assert engine.call("~a.send", b"still here") == 10
    assert engine.call("~b.recv", 100) == b"still here"
    assert engine.program.connect("~c", 44, 7, 2901) == EINPROGRESS
    assert engine.call("~c.connect_state") == 1


def test_sent_packets_come_back_with_an_interrupt_that_was_asked_for(road):
    engine = road.engine
    road.open(1234, 5000)
    assert not engine.transport.kick(TX)
    engine.device.reap()
    free = engine.device.out.free()
    engine.call("~s1.send", b"x")
    assert engine.device.out.free() == free - 1
    assert engine.device.sending_done() is False
    engine.host.collect(True)
    assert engine.device.sending_done() is True
    engine.transport.fire(TX)
    assert engine.device.out.free() > free - 1


def test_who_waits_for_slots_is_told_of_the_next_one_if_those_that_came_are_too_few(road):
    engine = road.engine
    while engine.device.out.free() > 2:
        engine.call("device._send_nothing")
    engine.host.collect(False)
    engine.host.gives_back_at_fence(1)
    assert engine.device.poll() == 0
    assert engine.device.out.free() == 3 and engine.ring(TX, "armed")
    engine.host.gives_back_at_fence(1)
    engine.device.poll()
    assert engine.device.out.free() == 4


# -- the end: what a socket then gives


def test_a_connection_that_the_device_lost_tells_it_once(road):
    for loss, error in (
        (lambda: road.reset_transport(CID), ECONNRESET),
        (lambda: road.break_by(["host.put", 127, 0], ["device.poll"]), EIO),
        (road.reopen, ECONNRESET),
        (road.close_device, ECONNRESET),
    ):
        if road.broken or road.closed:
            road.reopen()
        receiver, sender, reader = [road.open(1234, 5000 + i) for i in range(3)]
        road.to(road.names[reader], w.OP_RW, b"unread")
        loss()
        for name in (receiver, sender, reader):
            bits = POLLIN | POLLOUT | POLLRDHUP
            # With an error that nobody has heard yet, and nothing more to come.
            assert road.engine.call(f"{name}.ioctl", 3, bits) & (POLLERR | POLLHUP) == 24
        assert road.recv(receiver, 10) == [None, error]
        assert road.recv(receiver, 10) == [None, ENOTCONN]
        assert road.write(receiver, b"x") == [None, ENOTCONN]
        assert road.write(sender, b"x") == [None, error]
        assert road.recv(sender, 10) == [None, ENOTCONN]
        assert road.recv(reader, 10) == [b"unread", None]
        assert road.recv(reader, 10) == [None, error]
        assert road.engine.call(f"{reader}.ioctl", 3, POLLIN) & (POLLERR | POLLHUP) == POLLHUP
        for name in (receiver, sender, reader):
            assert road.shutdown(name, BOTH) == [None, ENOTCONN]
            road.close(name)


@pytest.mark.parametrize("how", ["break", "reset", "close"])
def test_everything_that_waits_ends(engine, how):
    """A program that sleeps in recv, send or connect, while its device goes."""
    for call in ["recv", 10], ["send", b"x" * 10], ["connect", 2, 9]:
        road = Road(engine)
        engine.clock.looks_take(100)
        name = road.open(1234, 5000)
        ends = {
            "break": [["host.put", 127, 0], ["transport.fire", RX]],
            "reset": [["host.event", 4], ["transport.fire", EVENT]],
            "close": [["vsock.close"]],
        }[how]
        engine.plan([[], ends])
        error = EIO if how == "break" else ECONNRESET
        if call[0] == "connect":
            engine.program.socket("~x")
            engine.call("~x.settimeout", None)
            raises(error, engine.call, "~x.connect", [2, 9])
            continue
        if call[0] == "send":
            # The peer has no room.
            road.to(road.names[name], w.OP_CREDIT_UPDATE, alloc=0)
        engine.call(f"{name}.settimeout", None)
        raises(error, engine.call, f"{name}.{call[0]}", *call[1:])


def test_who_waits_for_one_of_many_hears_of_the_end(road):
    names = [road.open(1234, 5000 + i) for i in range(3)]
    road.engine.clock.looks_take(100)
    road.engine.plan([[["host.put", 127, 0], ["transport.fire", RX]]])
    found = [road.engine.program.next_ready() for _ in names]
    assert sorted(found) == sorted(names)


def test_a_listener_outlives_its_device(engine):
    road = Road(engine)
    engine.call("~1234.settimeout", None)
    engine.clock.looks_take(100)
    request = [2, 0, CID, 0, 5000, 1234, 0, STREAM | w.OP_REQUEST << 16, 0, SIZE, 0]
    engine.plan(
        [
            [["vsock.close"]],
            [["reopen"], ["host.refresh"], ["host.give", [[0, request, b"", 44]]]],
        ]
    )
    assert engine.program.accept("~1234", "~c") == [2, 5000]
    assert road.engine.call("~c.getpeername") == [2, 5000]


@pytest.mark.parametrize("how", ["close", "break"])
def test_a_device_that_is_gone_leaves_the_store_only(road, how):
    engine = road.engine
    table = (40 + 56 * 64) * 4 * w.SEG_WORDS
    store = 40 * w.LARGE_STRIDE + (56 << 18) + table
    assert engine.machine.dma_used() > store
    if how == "close":
        road.close_device()
    else:
        road.break_by(["host.put", 127, 0], ["device.poll"])
    assert engine.machine.dma_used() == store
    assert engine.machine.timers() == 0
    assert engine.transport.statuses()[-1] == 0 and engine.transport.closed() == 1
    for _ in range(3):
        road.reopen()
    road.close_device()
    assert engine.machine.dma_used() == store
    assert engine.machine.timers() == 0


def test_what_a_device_that_does_not_reset_was_given_is_for_the_next_one(road):
    """It may still write there: never to what a program has, and never to more and more."""
    engine = road.engine
    used = engine.machine.dma_used()
    posted = sorted(road.posted.values())
    engine.transport.set("reset_reads", 10**9)
    engine.clock.looks_take(1000)
    engine.vsock.close()
    held = engine.machine.dma_used()
    assert held == used - 64  # the bells, which are the bench's
    assert engine.stack.store.spare() == 40 - POSTED
    engine.transport.set("reset_reads", 0)
    engine.clock.looks_take(0)
    engine.reopen()
    assert sorted(each[1] for each in engine.host.refresh()) == posted
    assert engine.stack.store.spare() == 40 - POSTED
    rings = engine.machine.dma_used() - held
    assert rings < 20_000
    engine.vsock.close()
    assert engine.stack.store.spare() == 40


def test_a_device_that_never_resets_when_it_is_closed_costs_no_more_and_more(engine):
    brought_up(engine, stubborn=True)
    used = engine.machine.dma_used()
    held = spare = None
    for _ in range(50):
        engine.clock.looks_take(1000)
        engine.vsock.close()
        held = held or engine.machine.dma_used()
        spare = spare or engine.stack.store.spare()
        assert engine.machine.dma_used() == held == used - 64
        assert engine.stack.store.spare() == spare == 40 - POSTED
        kept = engine.transport.memory.kept()
        # The rings of three queues, and 64 slots of a header and up to 4 KiB.
        assert 3 * 128 * 26 + 64 * 4140 < kept < 3 * 4096 + 64 * 4300
        assert engine.stack.store.abandoned() == POSTED
        engine.reopen()
        assert engine.machine.dma_used() == used and engine.transport.memory.kept() == 0
        assert engine.stack.store.abandoned() == 0
    engine.transport.set("stubborn", False)
    engine.vsock.close()
    assert engine.stack.store.spare() == 40
    assert engine.transport.memory.kept() == 0


@pytest.mark.parametrize(
    "settings",
    [
        {"dead_route": 0},
        {"dead_route": 3},
        {"configuration": bytes(4)},
        {"sizes": [128, 1, 128]},
        {"sizes": [128, 128, 0]},
    ],
    ids=str,
)
def test_tries_that_fail_with_a_device_that_does_not_reset_hold_no_more_and_more(engine, settings):
    engine.power_on(settings | {"stubborn": True})
    held = []
    for _ in range(5):
        with pytest.raises(GuestError):
            engine.bring_up()
        held.append(engine.machine.dma_used())
    assert held == held[:1] * 5
    for name in settings:
        value = {"dead_route": -1, "configuration": CID.to_bytes(8, "little")}
        engine.transport.set(name, value.get(name, [128] * 3))
    engine.transport.set("stubborn", False)
    engine.bring_up()
    assert engine.stack.store.abandoned() == 0
    assert engine.transport.memory.kept() < 100  # a ring of one entry


def test_a_programs_buffers_are_kept_until_the_device_has_reset_after_all(engine):
    """It may read them so long; there are never those of two devices."""
    brought_up(engine, stubborn=True)
    engine.program.listen("~l", 1234)
    for port in range(5000, 5005):
        request = [2, 0, CID, 0, port, 1234, 0, STREAM | w.OP_REQUEST << 16, 0, SIZE, 0]
        head = engine.host.heads()[0]
        engine.many(["host.give", [[head, request, b"", w.HEADER_LEN]]], ["device.poll"])
        engine.program.accept("~l", "~c")
        assert engine.call("~c.send", bytes(100_000)) > w.INLINE
        assert engine.device.out.lends()
        engine.clock.looks_take(1000)
        engine.vsock.close()
        assert engine.transport.memory.pinned() == 1
        engine.reopen()
        assert engine.transport.memory.pinned() == 0


def test_what_an_earlier_round_left_in_memory_is_not_to_be_read(engine):
    """After a soft reset a device that lies about lengths has a program read zeros."""
    engine.power_on({})
    engine.many(["machine.cause.clear"], ["machine.cause.append", 2])
    engine.bring_up()
    engine.program.listen("~l", 1234)
    for op, payload in (w.OP_REQUEST, b""), (w.OP_RW, b"few bytes"):
        n = 60_000 if payload else 0
        header = [2, 0, CID, 0, 5000, 1234, n, STREAM | op << w.OP_SHIFT, 0, SIZE, 0]
        head = engine.host.heads()[0]
        engine.many(["host.give", [[head, header, payload, w.HEADER_LEN + n]]], ["device.poll"])
    engine.program.accept("~l", "~c")
    assert engine.call("~c.recv", 60_000) == b"few bytes" + bytes(60_000 - 9)


def test_a_broken_transmit_or_event_queue_breaks_the_device(engine):
    for queue, way in ((TX, "device.reap"), (EVENT, "device.poll_events"), (TX, "transport.fire")):
        road = Road(engine)
        name = road.open(1234, 5000)
        engine.ring(queue, "put", 127, 0)
        engine.call(way, *([queue] if way == "transport.fire" else []))
        assert f"queue {queue}: used i" in engine.host.broken()
        assert engine.machine.logged()[-1][0] == "ERROR"
        raises(EIO, engine.call, f"{name}.recv", 10)
        assert engine.device.reap() == engine.device.poll() == 0
        assert engine.device.poll_events() == 0
        assert engine.device.sending_done() is True


def test_a_broken_device_says_why_to_who_connects(road):
    road.break_by(["host.jump", 99], ["device.poll"])
    road.engine.program.socket("~x")
    error = raises(EIO, road.engine.call, "~x.connect", [2, 9])
    assert "used index ran ahead" in error.arguments[1]


def test_a_device_breaks_once(road):
    road.break_by(["host.put", 127, 0], ["device.poll"])
    road.engine.transport.set("reset_reads", 0)
    before = road.engine.machine.logged()
    road.step(["device.poll"], ["device.reap"], ["device.poll_events"])
    assert road.engine.machine.logged() == before


def test_bring_up_of_a_device_whose_reset_fails_once_can_be_tried_again(engine):
    engine.power_on({"restless": 10**9})
    with pytest.raises(GuestError):
        engine.bring_up()
    engine.transport.set("restless", 0)
    assert engine.bring_up() == CID


def test_a_soft_reset_stops_the_device(road):
    road.engine.soft_reset()
    assert road.engine.transport.statuses()[-1] == 0


def test_without_interrupts_a_program_that_sleeps_looks_each_millisecond(engine):
    road = Road(engine, vectors=0)
    name = road.open(1234, 5000)
    line = road.names[name]
    header = road.header(Packet(line.key, w.OP_RW, STREAM, 0, SIZE, 0, b"data"))
    engine.call(f"{name}.settimeout", None)
    engine.clock.looks_take(100)
    engine.plan([[], [], [["host.give", [[min(road.posted), header, b"data", 48]]]]])
    assert engine.call(f"{name}.recv", 10) == b"data"
    assert engine.machine.waits() == [1000] * 3


def test_without_interrupts_a_program_that_polls_looks_each_millisecond(engine):
    Road(engine, vectors=0)
    engine.call("device.attend")
    assert engine.machine.alarms() == [1000]


def test_with_interrupts_a_program_that_polls_sleeps(road):
    road.engine.call("device.attend")
    assert road.engine.machine.alarms() == []


def test_nobody_waits_longer_than_half_a_second_without_a_look(road):
    name = road.open(1234, 5000)
    engine = road.engine
    engine.call(f"{name}.settimeout", 1.2)
    engine.clock.looks_take(100)
    raises("timed out", engine.call, f"{name}.recv", 10)
    assert engine.machine.waits()[:2] == [500_000] * 2
    assert len(engine.machine.waits()) == 3 and 150_000 < engine.machine.waits()[2] < 200_000


def test_nothing_there_is_eagain(road):
    assert road.recv(road.open(1234, 5000), 10) == [None, EAGAIN]
