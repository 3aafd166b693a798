# SPDX-License-Identifier: MIT
"""A vsock device that breaks or floods: who notices, and what programs then see.

Nothing but OSErrors reaches a program, nothing at all comes out of an interrupt handler, and all
memory is back.
"""

from errno import EAGAIN, EINPROGRESS, EIO

import pytest
import vsock_bench
from engines import GuestError
from road import CID, POSTED, Road, numbers
from road_model import SIZE, STREAM, w

RX, TX, EVENT, CONFIG = range(4)
# Large buffers, blocks, and a row of the table for each.
STORE = 40 * w.LARGE_STRIDE + (56 << 18) + (40 + 56 * 64) * 4 * w.SEG_WORDS
FREE = 40 - POSTED  # receive buffers that no queue has


@pytest.fixture
def road(engine):
    return Road(engine)


def raises(errno, call, *arguments):
    with pytest.raises(GuestError) as caught:
        call(*arguments)
    assert caught.value.name in ("OSError", "MicroOSError")
    assert caught.value.errno == errno


def broke(engine, why):
    """It did, and nothing of it is left but the store, whole."""
    assert why in engine.host.broken()
    assert engine.machine.logged()[-1] == ["ERROR", "vsock", engine.host.broken()]
    assert engine.device.out.free() == 0
    assert engine.transport.closed() == 1
    assert engine.machine.dma_used() == STORE
    assert engine.stack.store.spare() == 40
    assert engine.machine.timers() == 0
    assert engine.program.connections() == 0


def packet(op, port=1234, peer=5000, alloc=SIZE, fwd=0):
    return [2, 0, CID, 0, peer, port, 0, STREAM | op << w.OP_SHIFT, 0, alloc, fwd]


def given(engine, *headers):
    heads = engine.host.heads()
    return [[head, each, b"", w.HEADER_LEN] for head, each in zip(heads, headers, strict=False)]


# -- a transmit queue that breaks, by who looks at it


@pytest.mark.parametrize("size", [1, 4096, 4097, 20_000])
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_program_that_sends_sees_eio(road, size, kind):
    engine = road.engine
    name = road.open(1234, 5000)
    engine.ring(TX, "put", 127, 0)
    send = f"{name}.send" if kind is bytes else "program.write_once"
    for _ in range(70):
        arguments = [bytes(size)] if kind is bytes else [name, bytes(size)]
        answer = engine.attempt(send, *arguments)
        if answer[1] not in (None, EAGAIN):
            break
    assert answer == [None, EIO]
    broke(engine, "queue 1: used id is not the head of a chain in flight")


def test_a_program_that_closes_sees_nothing(road):
    engine = road.engine
    names = [road.open(1234, 5000 + i) for i in range(3)]
    small = bytes(1)
    while engine.device.out.free() > w.RESERVE:
        engine.call(f"{names[0]}.send", small)
    engine.ring(TX, "put", 127, 0)
    for name in names:
        engine.program.forget(name)
    for i in range(w.RESERVE):
        engine.program.connect(f"~c{i}", 2, 99, 2500 + i)
    broke(engine, "queue 1")


def test_packets_that_need_answers_find_it(road):
    engine = road.engine
    while engine.device.out.free() > 4:
        engine.many(["host.give", given(engine, packet(w.OP_RW, 99))], ["device.poll"])
    engine.ring(TX, "put", 127, 0)
    engine.host.give(given(engine, *[packet(w.OP_RW, 99)] * 6))
    engine.transport.fire(RX)
    broke(engine, "queue 1")


def test_a_device_that_breaks_while_a_packet_is_answered(road):
    """The packet's buffer is in no queue then."""
    engine = road.engine
    for i in range(200):
        engine.program.connect(f"~c{i}", 2, 99, 2500 + i)
    while engine.device.out.free() > 4:
        engine.host.give(given(engine, packet(w.OP_RW, 99)))
        engine.device.poll()
    engine.ring(TX, "put", 127, 0)
    header = packet(w.OP_RESPONSE, 2500, 99)
    engine.host.give(given(engine, *[[*header[:5], 2500 + i, *header[6:]] for i in range(8)]))
    engine.host.give(given(engine, packet(w.OP_RW, 98), packet(w.OP_RW, 98)))
    engine.device.poll()
    engine.device.poll()
    broke(engine, "queue 1")


@pytest.mark.parametrize("queue", [TX, EVENT])
def test_who_sleeps_hears_of_it_without_an_interrupt_too(road, queue):
    engine = road.engine
    name = road.open(1234, 5000)
    engine.clock.looks_take(100)
    engine.call(f"{name}.settimeout", None)
    engine.plan([[["ring", queue, "put", 127, 0], ["clock.advance", 500_000]]])
    raises(EIO, engine.call, f"{name}.recv", 10)
    broke(engine, f"queue {queue}")


@pytest.mark.parametrize("queue", [RX, TX, EVENT])
def test_without_interrupts_a_poll_finds_it(engine, queue):
    road = Road(engine, vectors=0)
    name = road.open(1234, 5000)
    engine.ring(queue, "put", 127, 0)
    assert engine.call(f"{name}.ioctl", 3, numbers.POLLIN) & numbers.POLLERR
    broke(engine, f"queue {queue}")


def test_nobody_waits_on_a_dead_device(road):
    engine = road.engine
    engine.ring(RX, "put", 127, 0)
    engine.transport.fire(RX)
    assert engine.device.attend() is True
    engine.stack.waiter.wait_sent(-1)
    assert engine.machine.waits() == []
    broke(engine, "queue 0")


@pytest.mark.parametrize("cid, hears", [(w.CID_ANY, True), (CID, True), (w.CID_LOCAL, False)])
def test_who_waits_for_a_connection_hears_of_it_once(road, cid, hears):
    engine = road.engine
    engine.program.listen("~own", 7, 1, 1, cid)
    engine.ring(RX, "put", 127, 0)
    engine.transport.fire(RX)
    assert ("~own" in engine.program.woken()) == hears
    if hears:
        assert engine.call("~own.ioctl", 3, numbers.POLLIN) == numbers.POLLERR
        raises(EIO, engine.call, "~own.accept")
    assert engine.call("~own.ioctl", 3, numbers.POLLIN) == 0
    assert engine.call("~own.take_error") == 0
    raises(EAGAIN, engine.call, "~own.accept")
    if cid != CID:  # which is the guest's no more
        assert engine.program.connect("~a", w.CID_LOCAL, 7, 2900) == EINPROGRESS
        engine.program.accept("~own", "~b")


@pytest.mark.parametrize("told_by", ["accept", "take_error", "reopen"])
def test_who_sleeps_in_accept_gets_eio_and_goes_on_after_reopen(road, told_by):
    engine = road.engine
    engine.call("~1234.settimeout", None)
    engine.clock.looks_take(100)
    breaks = [["ring", RX, "put", 127, 0], ["transport.fire", RX]]
    if told_by == "accept":
        engine.plan([breaks])
        raises(EIO, engine.call, "~1234.accept")
    else:
        engine.many(*breaks)
    if told_by == "take_error":
        assert engine.call("~1234.take_error") == EIO
    engine.reopen()
    engine.host.refresh()
    engine.plan([[["host.give", [[0, packet(w.OP_REQUEST), b"", 44]]], ["transport.fire", RX]]])
    engine.clock.looks_take(100)
    assert engine.program.accept("~1234", "~c") == [2, 5000]


# -- a device that gives up


@pytest.mark.parametrize("vectors", [4, 2, 1])
def test_needs_reset_is_heard(engine, vectors):
    road = Road(engine, vectors=vectors)
    name = road.open(1234, 5000)
    engine.transport.needs_reset()
    engine.transport.fire(CONFIG)
    raises(EIO, engine.call, f"{name}.recv", 10)
    broke(engine, "the bench's device needs a reset")


@pytest.mark.parametrize(
    "how, why",
    [
        (["transport.needs_reset"], "needs a reset"),
        (["ring", RX, "put", 127, 0], "queue 0: used id is not"),
        (["ring", EVENT, "put", 127, 0], "queue 2: used id is not"),
        (["ring", TX, "put", 127, 0], "queue 1: used i"),
    ],
)
@pytest.mark.parametrize("fence", [1, 2])
def test_a_device_that_breaks_while_it_starts_is_refused_for_that(engine, how, why, fence):
    engine.power_on({"vectors": 4})
    before = engine.machine.timers()
    engine.meanwhile(fence, [how, ["transport.fire", CONFIG]])
    with pytest.raises(GuestError) as caught:
        engine.bring_up()
    assert caught.value.errno == EIO and why in caught.value.arguments[1]
    assert engine.machine.dma_used() == 0
    assert engine.transport.closed() == 1 and engine.transport.statuses()[-1] == 0
    assert engine.machine.timers() == before == 0


# -- floods


def test_events_without_an_end_let_programs_run(road):
    """The device completes each event buffer as soon as it is shown."""
    engine = road.engine
    engine.host.floods_events()
    engine.host.event(w.EVENT_BYTES)
    for fire in range(3):
        engine.transport.fire(EVENT)
        assert engine.clock.until_timer() == 2000
        assert engine.host.events() <= 1 + 8 * (fire + 1)
    seen = engine.host.events()
    engine.clock.advance(2000)
    assert seen < engine.host.events() <= seen + 8
    engine.host.floods_events(False)
    engine.clock.advance(2000)
    engine.clock.advance(2000)
    assert engine.clock.until_timer() is None
    assert engine.ring(EVENT, "armed")


def test_an_event_from_before_there_were_interrupts_is_seen(engine):
    engine.power_on({})
    engine.meanwhile(2, [["host.have_cid", 44], ["host.event", 4]])
    assert engine.bring_up() == 44


def test_a_device_that_breaks_while_an_event_is_looked_at(engines):
    """A handler may come where the CID is read: what it has closed is not touched any more."""
    engine = engines["source"]
    Road(engine)
    device = vsock_bench.module("vsock").get().device
    read_cid = device._read_cid

    def interrupted():
        read_cid()
        engine.ring(TX, "put", 127, 0)
        device.reap()

    device._read_cid = interrupted
    engine.host.event(4)
    assert engine.device.poll_events() == 1
    broke(engine, "queue 1")
