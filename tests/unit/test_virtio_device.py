# SPDX-License-Identifier: MIT
"""The handshake over a fake transport: what any bus's transport sees (virtio 1.2, chapter 3).

test_virtio_handshake.py has the same over PCI's registers, with their own ways to lie.
"""

from errno import EIO, ENODEV, ETIMEDOUT

import pytest
import vsock_bench
from engines import Engine, GuestError

virtio = vsock_bench.module("virtio.device")
VERSION_1, EVENT_IDX, INDIRECT = virtio.F_VERSION_1, virtio.F_EVENT_IDX, virtio.F_INDIRECT_DESC
ACCEPTED = VERSION_1 | EVENT_IDX
OFF, BEGUN, NEGOTIATED, RUNNING = 0, [0, 1, 3], [0, 1, 3, 0xB], [0, 1, 3, 0xB, 0xF]
FAILED = 0x80
CID = (33).to_bytes(8, "little")  # the configuration


def opened(engine, **settings) -> Engine:
    engine.power_on(settings)
    engine.open_device()
    return engine


def negotiated(engine, **settings):
    opened(engine, **settings).virtio.negotiate()
    return engine


def fails(call, errno, text):
    with pytest.raises(GuestError) as caught:
        call()
    assert caught.value.errno == errno
    assert text in caught.value.arguments[1]
    return caught.value


def test_status_goes_through_the_steps_of_3_1_1(engine):
    opened(engine)
    assert engine.virtio.negotiate() == ACCEPTED == engine.virtio.features()
    assert engine.transport.statuses() == NEGOTIATED
    engine.virtio.driver_ok()
    assert engine.transport.statuses() == RUNNING
    assert engine.virtio.status() == RUNNING[-1]
    assert engine.virtio.close() is True
    assert engine.transport.statuses() == [*RUNNING, OFF]
    assert (engine.transport.opened(), engine.transport.closed()) == (1, 1)


def test_what_nobody_asked_for_is_not_taken(engine):
    opened(engine, offered=VERSION_1 | 0xFFFFFF)
    assert engine.virtio.negotiate() == VERSION_1


@pytest.mark.parametrize("offered", [VERSION_1, VERSION_1 | EVENT_IDX, VERSION_1 | INDIRECT])
def test_a_queue_has_the_features_that_were_agreed_on(engine, offered):
    negotiated(engine, offered=offered)
    engine.keep("q", "virtio.queue", 0)
    assert engine.ring(0, "avail_flags") == int(offered != VERSION_1 | EVENT_IDX)
    free = engine.q.free()
    engine.q.add([[1, 2]] * 3)
    assert free - engine.q.free() == (1 if offered & INDIRECT else 3)


def test_a_reset_is_waited_for(engine):
    opened(engine, reset_reads=900)
    assert engine.virtio.status() == OFF


def test_a_device_that_was_reset_has_no_queues_and_no_features(engine):
    negotiated(engine)
    engine.keep("q", "virtio.queue", 0)
    engine.call("virtio.reset")
    assert engine.virtio.queues() == []
    assert engine.virtio.features() == 0


def test_a_device_that_never_resets_times_out_and_is_taken_off_the_bus(engine):
    engine.power_on({"reset_reads": 10**9})
    fails(engine.open_device, ETIMEDOUT, "the bench's device does not reset")
    assert engine.transport.closed() == 1
    assert 1000 < engine.clock.ticks_ms() < 1010


def test_without_version_1_the_device_is_failed(engine):
    opened(engine, offered=EVENT_IDX)
    error = fails(engine.virtio.negotiate, ENODEV, "lacks feature bits 0x100000000")
    assert error.name == "NotSupported"
    assert engine.transport.statuses()[-1] == BEGUN[-1] | FAILED


def test_a_feature_that_the_driver_needs_is_asked_for(engine):
    opened(engine, offered=VERSION_1 | 4)
    assert engine.virtio.negotiate(2, 4) == VERSION_1 | 4
    opened(engine, offered=VERSION_1 | 2)
    fails(lambda: engine.virtio.negotiate(2, 4), ENODEV, "lacks feature bits 0x4")


def test_refused_features_are_an_error_and_the_device_is_failed(engine):
    opened(engine, refuses_features=True)
    fails(engine.virtio.negotiate, ENODEV, "refuses the features 0x120000000")
    assert engine.transport.statuses()[-1] == BEGUN[-1] | FAILED


@pytest.mark.parametrize("bit", range(0, 64))
def test_only_offered_and_known_features_are_accepted(engine, bit):
    known = {1, 2, 28, 29, 32, 33, 36}  # 1 and 2 are those that the driver wants
    opened(engine, offered=VERSION_1 | 1 << bit | 2)
    accepted = VERSION_1 | 2 | (1 << bit if bit in known else 0)
    assert engine.virtio.negotiate(6) == accepted
    assert engine.transport.accepted() == accepted
    assert engine.virtio.offered() == VERSION_1 | 1 << bit | 2


@pytest.mark.parametrize(
    "offered, wanted, size",
    [
        (256, 1024, 256),
        (256, 64, 64),
        (100, 1024, 64),
        (7, 1024, 4),
        (4096, 1024, 1024),
        (1, 1024, 1),
    ],
)
def test_queue_size_is_a_power_of_two_that_both_can(engine, offered, wanted, size):
    negotiated(engine, sizes=[offered])
    engine.keep("q", "virtio.queue", 0, wanted)
    assert engine.q.size() == engine.ring(0, "size") == size


def test_a_queue_has_1024_entries_at_most(engine):
    negotiated(engine, sizes=[4096])
    engine.keep("q", "virtio.queue", 0)
    assert engine.q.size() == 1024


def test_queues_get_what_was_negotiated(engine):
    for offered in (VERSION_1, ACCEPTED, ACCEPTED | INDIRECT):
        negotiated(engine, offered=offered, sizes=[128, 64])
        for index in (0, 1):
            engine.keep("q", "virtio.queue", index)
            head = engine.q.add([[1, 2], [3, 4], [5, 6]])
            engine.q.publish()
            chain = [[1, 2, False], [3, 4, False], [5, 6, False]]
            assert engine.ring(index, "take") == [head, chain]
            assert engine.q.free() == [128, 64][index] - (1 if offered & INDIRECT else 3)
            assert engine.ring(index, "event_idx") == bool(offered & EVENT_IDX)
            assert engine.transport.rung() == [index]
        assert engine.transport.enabled() == [0, 1]


def test_a_missing_queue_is_an_error(engine):
    negotiated(engine)
    fails(lambda: engine.keep("q", "virtio.queue", 3), ENODEV, "has no queue 3")
    assert engine.transport.statuses()[-1] == NEGOTIATED[-1] | FAILED


@pytest.mark.parametrize("route, steps", [(1, 2), (3, 3)])
def test_a_vector_that_the_device_does_not_take_is_an_error(engine, route, steps):
    negotiated(engine, dead_route=route)

    def bring_up():
        for index in range(3):
            engine.keep("q", "virtio.queue", index)
        engine.virtio.driver_ok()

    why = fails(bring_up, ENODEV, "takes no interrupt vector").arguments[1]
    assert why == "takes no interrupt vector"  # and no number before it
    assert engine.transport.statuses()[-1] == NEGOTIATED[-1] | FAILED


def test_without_vectors_a_look_looks_each_time(engine):
    negotiated(engine, vectors=0)
    engine.virtio.driver_ok()
    assert engine.virtio.check() is True
    assert engine.virtio.check() is True
    engine.transport.needs_reset()
    error = fails(engine.virtio.check, EIO, "the bench's device needs a reset")
    assert error.name == "DeviceBroken"


def test_with_a_vector_a_look_is_quiet_until_the_configuration_interrupt(engine):
    negotiated(engine)
    engine.virtio.driver_ok()
    assert engine.virtio.check() is False
    engine.transport.fire(3)
    assert engine.virtio.check() is True
    assert engine.virtio.check() is False
    engine.transport.needs_reset()
    assert engine.virtio.check() is False
    engine.transport.fire(3)
    for _ in range(2):  # whoever looks next must not wait for such a device either
        fails(engine.virtio.check, EIO, "needs a reset")


def test_configuration_is_read_again_when_it_changes_meanwhile(engine):
    opened(engine, configuration=bytes(range(64)), restless=7)
    assert engine.virtio.config(8, 8) == bytes(range(8, 16))
    assert engine.transport.restless() == 0
    assert engine.virtio.config(60, 4) == bytes(range(60, 64))
    assert engine.virtio.config(0, 64) == bytes(range(64))


@pytest.mark.parametrize("restless, works", [(199, True), (200, False), (10**6, False)])
def test_configuration_that_never_stands_still_is_an_error(engine, restless, works):
    opened(engine, restless=restless)
    if works:
        assert engine.virtio.config(0, 8) == CID
    else:
        fails(lambda: engine.virtio.config(0, 8), EIO, "configuration changes all the time")


@pytest.mark.parametrize("place", [(4, 8), (0, 12), (2, 4), (0, 3), (8, 4)])
def test_configuration_beyond_its_end_or_askew_is_a_value_error(engine, place):
    opened(engine)
    with pytest.raises(GuestError) as caught:
        engine.virtio.config(*place)
    assert caught.value.name == "ValueError"
    assert caught.value.arguments == ["configuration has 8 bytes"]


def test_a_closed_device_gives_everything_back(engine):
    opened(engine)
    before = engine.machine.dma_used()
    engine.virtio.negotiate()
    engine.keep("q", "virtio.queue", 0)
    engine.virtio.driver_ok()
    assert engine.machine.dma_used() > before
    assert engine.virtio.close() is True
    assert engine.q.broken() == "closed"
    assert engine.machine.dma_used() == 0
    assert engine.virtio.close() is False
    assert engine.transport.statuses() == [*RUNNING, OFF]
    assert engine.transport.closed() == 1


def test_the_queues_of_a_device_that_does_not_reset_stay_its_own(engine):
    negotiated(engine)
    engine.keep("q", "virtio.queue", 0)
    used = engine.machine.dma_used()
    engine.transport.set("reset_reads", 10**9)
    assert engine.virtio.close() is False
    assert engine.q.broken() == "closed"  # its rings are the next driver's
    assert engine.machine.dma_used() == used - 64  # the bells
    assert engine.transport.memory.kept() == used - 64
    level, where, what = engine.machine.logged()[-1]
    assert (level, where) == ("WARNING", "virtio")
    assert what.endswith("the bench's device does not reset")
    assert engine.transport.closed() == 1


BELLS = 64


def test_what_a_device_had_that_does_not_reset_is_for_its_next_driver(engine):
    engine.power_on({"stubborn": True, "offered": ACCEPTED | INDIRECT})
    used: int = 0
    places: set[int] = set()
    for _ in range(50):
        engine.open_device()
        engine.virtio.negotiate()
        for name, index in ("q", 0), ("q2", 1):
            engine.keep(name, "virtio.queue", index)
            assert engine.ring(index, "avail_idx") == 0 and engine.call(f"{name}.pop") == -1
            engine.call(f"{name}.add", [[1, 2]] * 3)
            engine.call(f"{name}.publish")
        engine.keep("b", "virtio.borrow", 1000)
        engine.virtio.driver_ok()
        engine.ring(0, "put", 0, 0)
        engine.ring(1, "set_used_idx", 9)
        here = {engine.q.desc_address(), engine.q2.desc_address(), engine.b.addr()}
        places, used = places or here, used or engine.machine.dma_used()
        assert engine.machine.dma_used() == used and here == places
        assert engine.transport.memory.kept() == 0
        assert engine.virtio.close() is False
        assert engine.transport.memory.kept() == engine.machine.dma_used() == used - BELLS
    engine.power_on({})
    assert engine.transport.memory.kept() == 0


def test_kept_memory_is_for_who_asks_for_as_much(engine):
    engine.power_on({"stubborn": True})
    for size in 64, 128, 256, 128, 64, 256, 32:
        opened_anew(engine, size)
    kept = engine.transport.memory.kept()
    for size in 64, 128, 256, 32:
        opened_anew(engine, size)
    assert engine.transport.memory.kept() == kept
    engine.transport.set("stubborn", False)
    opened_anew(engine, 64, True)
    assert 0 < engine.transport.memory.kept() < kept
    assert engine.machine.dma_used() == engine.transport.memory.kept()


def opened_anew(engine, size, resets=False):
    engine.transport.set("sizes", [size])
    engine.open_device()
    engine.virtio.negotiate()
    engine.keep("q", "virtio.queue", 0)
    assert engine.virtio.close() is resets


def test_a_reset_forgets_queues_and_features(engine):
    negotiated(engine)
    engine.keep("q", "virtio.queue", 0)
    engine.virtio.reset()
    assert engine.virtio.features() == 0
    assert engine.q.broken() == "closed"
    engine.virtio.negotiate()
    engine.keep("q2", "virtio.queue", 0)
    assert engine.q2.broken() is None


def test_a_soft_reset_resets_every_open_device(engine):
    negotiated(engine)
    engine.soft_reset()
    assert engine.transport.statuses()[-1] == OFF
    assert engine.transport.closed() == 1
    engine.soft_reset()
    assert engine.transport.closed() == 1


def test_a_transport_that_cannot_be_opened_says_why(engine):
    engine.power_on({"missing": "no modern interface"})
    with pytest.raises(GuestError) as caught:
        engine.open_device()
    assert (caught.value.name, caught.value.errno) == ("NotSupported", ENODEV)
    assert engine.transport.statuses() == []


def test_a_device_has_a_name(engine):
    opened(engine)
    assert engine.call("virtio.__repr__") == "<VirtioDevice the bench's device>"


def test_feature_bits_are_those_of_the_specification():
    bits = {"INDIRECT_DESC": 28, "EVENT_IDX": 29, "VERSION_1": 32, "ACCESS_PLATFORM": 33}
    for name, bit in {**bits, "ORDER_PLATFORM": 36}.items():
        assert getattr(virtio, f"F_{name}") == 1 << bit


@pytest.mark.parametrize("bit", [28, 29, 33, 36])
def test_each_ring_feature_is_taken_by_itself(engine, bit):
    offered = 1 << 32 | 1 << bit
    engine.power_on({"offered": offered})
    engine.open_device()
    assert engine.virtio.negotiate() == offered
