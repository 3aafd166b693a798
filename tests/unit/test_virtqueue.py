# SPDX-License-Identifier: MIT
"""The virtqueue, as source and as it ships: a device that behaves, and ones that lie in every way
that a used ring allows.
"""

from errno import EIO, ENOBUFS

import pytest
import vsock_bench
from engines import Engine, GuestError

CLOSED = "closed"
RAN_AHEAD = "used index ran ahead of what was offered"
OUT_OF_RANGE = "used id out of range"
STRAY = "used id is not the head of a chain in flight"
TOO_LONG = "used length exceeds the device-writable bytes"


@pytest.fixture
def bench(engine) -> Engine:
    """A queue of 8 entries with event index (`q`), and a device at its end (`d`)."""
    engine.new_queue(8)
    return engine


def add(bench, count=1, length=1):
    """Add so many buffers and show them; their heads."""
    heads = [bench.q.add1(0, length, True) for _ in range(count)]
    bench.q.publish()
    return heads


def refused(call, *arguments):
    """The exception of a call that must have one."""
    with pytest.raises(GuestError) as caught:
        call(*arguments)
    return caught.value


def breaks(bench, call=None):
    """The call raises QueueBroken, and everything after it too; the reason."""
    q = bench.q
    for attempt in (
        [call or q.pop],
        [q.pop],
        [q.add1, 0, 1, True],
        [q.add2, 0, 1, 2, 3],
        [q.add, [], [[2, 3]]],
    ):
        error = refused(*attempt)
        assert error.name == "QueueBroken"
        assert error.errno == EIO
        assert error.arguments[1] == f"queue 3: {q.broken()}"
    return q.broken()


# -- what a good device sees and gives back


def test_a_buffer_reaches_the_device_and_comes_back_with_its_length(bench):
    q, d = bench.q, bench.d
    head = q.add1(0x123456789ABC, 100, True)
    assert d.take() is None  # not before publish
    q.publish()
    assert d.take() == [head, [[0x123456789ABC, 100, True]]]
    assert q.holds(head) and not q.holds(head ^ 1)
    assert q.pop() == -1
    d.put(head, 42)
    assert q.pop() == head << 32 | 42
    assert not q.holds(head)
    assert q.pop() == -1
    assert q.free() == 8


def test_a_queue_has_its_number(bench):
    assert bench.q.index() == 3


@pytest.mark.parametrize("size", [1, 2, 8, 32, 1024])
def test_the_rings_lie_one_behind_the_other(bench, size):
    """2.7; the used ring, which the device writes, has cache lines of its own."""
    bench.new_queue(size)
    desc = bench.q.desc_address()
    avail = desc + 16 * size
    used = -(-(avail + 6 + 2 * size) // 64) * 64
    assert (bench.q.avail_address(), bench.q.used_address()) == (avail, used)
    assert bench.machine.dma_used() == used - desc + 6 + 8 * size + 64  # the bell's


def test_two_readable_buffers_are_one_chain(bench):
    head = bench.q.add2(1 << 40, 44, 1 << 41, 65536)
    bench.q.publish()
    assert bench.d.take() == [head, [[1 << 40, 44, False], [1 << 41, 65536, False]]]
    assert bench.q.free() == 6


def test_a_chain_of_any_shape(bench):
    q, d = bench.q, bench.d
    head = q.add([[1, 2], [3, 4]], [[5, 6], [7, 8]])
    q.publish()
    assert d.take() == [head, [[1, 2, False], [3, 4, False], [5, 6, True], [7, 8, True]]]
    d.put(head, 14)
    assert q.pop() == head << 32 | 14
    assert q.free() == 8


def test_long_chains_take_one_descriptor_where_indirect_is_offered(bench):
    bench.new_queue(4, True, True)
    q, d = bench.q, bench.d
    head = q.add([[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10]])
    q.publish()
    chain = [[1, 2, False], [3, 4, False], [5, 6, False], [7, 8, True], [9, 10, True]]
    assert d.take() == [head, chain]
    assert q.free() == 3
    d.put(head, 18)
    assert q.pop() == head << 32 | 18
    assert q.free() == 4


@pytest.mark.parametrize("segments, taken", [(2, 2), (3, 1), (16, 1), (17, 17)])
def test_a_table_takes_three_to_sixteen_segments(bench, segments, taken):
    bench.new_queue(32, True, True)
    chain = [[i + 1, 10] for i in range(segments)]
    head = bench.q.add(chain)
    bench.q.publish()
    assert bench.d.take() == [head, [[*each, False] for each in chain]]
    assert bench.q.free() == 32 - taken


def test_a_full_queue_refuses_and_recovers(bench):
    q, d = bench.q, bench.d
    heads = [q.add1(4096, 16, True) for _ in range(7)]
    for call in ([q.add2, 0, 1, 2, 3], [q.add, [[0, 1], [2, 3]]]):
        error = refused(*call)
        assert (error.name, error.errno) == ("QueueFull", ENOBUFS)
        assert error.arguments[1] == "queue 3: no free descriptors"
    heads.append(q.add1(4096, 16, True))
    refused(q.add1, 4096, 16, True)
    assert sorted(heads) == list(range(8))
    q.publish()
    d.put(heads[3], 1)
    q.pop()
    assert q.add1(4096, 16, True) == heads[3]


def test_a_chain_that_can_never_fit_is_a_value_error(bench):
    for readable, writable in ([[0, 1]] * 9, []), ([], []), ([], [[0, 1 << 30]] * 2):
        assert refused(bench.q.add, readable, writable).name == "ValueError"
    assert bench.q.free() == 8
    assert bench.q.add([], [[0, 1 << 30], [0, (1 << 30) - 1]]) == 0  # a byte less


@pytest.mark.parametrize("size", (0, 3, 32769, 65536, -8))
def test_sizes_that_no_split_queue_has_are_refused(bench, size):
    error = refused(bench.new_queue, size)
    assert error.name == "ValueError" and "at most 32768" in error.arguments[0]


@pytest.mark.parametrize("size", (1, 2, 32768))
def test_sizes_at_the_ends_are_taken(bench, size):
    bench.new_queue(size)
    assert bench.q.free() == size
    head = bench.q.add1(7, 5, False)
    bench.q.publish()
    assert bench.d.take() == [head, [[7, 5, False]]]


def test_indices_wrap_around_with_every_shape(bench):
    assert bench.run_long(0xFE00, 700)


def test_indices_wrap_around_again_and_again(expanded):
    assert expanded.run_long(0, 70000)


@pytest.mark.parametrize("length", [0, 1, 2, 100, 0xFFFFFFFF])
def test_length_of_a_chain_without_writable_bytes_is_0(bench, length):
    q = bench.q
    for add in (q.add1, 0, 100, False), (q.add2, 0, 100, 200, 50), (q.add, [[0, 1]] * 3):
        head = add[0](*add[1:])
        q.publish()
        bench.d.put(head, length)
        assert q.pop() == head << 32


def test_hot_functions_allocate_nothing(expanded):
    expanded.new_queue(64)
    for call in (
        ["add1", 0x123456789ABC, 100, True],
        ["add2", 1, 2, 3, 4],
        ["publish"],
        ["pop"],
        ["enable_interrupts"],
        ["disable_interrupts"],
    ):
        assert expanded.allocated(*call) == 0
    expanded.q.publish()
    for head, _ in expanded.d.take_all()[:4]:
        expanded.d.put(head, 0)
    assert expanded.allocated("pop") == 0


# -- notifications and interrupts


def test_without_event_index_the_flag_decides_on_notifications(bench):
    bench.new_queue(8, False)
    add(bench)
    assert bench.d.rung() == b"\x03\x00\xff\xff"  # the queue's index, in two bytes
    bench.d.set_no_notify(1)
    add(bench)
    assert bench.d.rung() is None
    bench.d.set_no_notify(2)  # another flag
    add(bench)
    assert bench.d.rung() is not None


def test_a_notification_may_be_four_bytes_wide(bench):
    bench.new_queue(8, True, False, 4)
    add(bench)
    assert bench.d.rung() == b"\x03\x00\x00\x00"


def test_with_event_index_only_crossing_it_notifies(bench):
    bench.d.ask_after(3)
    for wanted in (False, False, True, False):
        add(bench)
        assert bool(bench.d.rung()) is wanted


def test_one_publish_that_jumps_over_the_event_index_notifies_once(bench):
    bench.d.ask_after(2)
    add(bench, 5)
    assert bench.d.rung()


def test_publishing_nothing_notifies_nobody(bench):
    bench.q.publish()
    assert bench.d.rung() is None


def test_interrupts_are_off_at_first_and_asked_for_at_the_next_completion(bench):
    q, d = bench.q, bench.d
    (head,) = add(bench)
    assert d.used_event() == 0xFFFF
    assert q.enable_interrupts() is False
    assert d.used_event() == 0
    d.put(head, 0)
    assert q.enable_interrupts() is True
    q.pop()
    assert q.enable_interrupts() is False
    assert d.used_event() == 1
    q.disable_interrupts()
    assert d.used_event() == 0


def test_interrupts_are_asked_for_across_the_wrap_around(bench):
    bench.new_queue(8, True, False, 2, 0xFFFF)
    q, d = bench.q, bench.d
    for event in 0xFFFF, 0, 1:
        (head,) = add(bench)
        assert q.enable_interrupts() is False
        assert d.used_event() == event
        d.put(head, 0)
        assert q.enable_interrupts() is True
        q.pop()


def test_without_event_index_the_flag_asks_for_interrupts(bench):
    bench.new_queue(8, False)
    assert bench.d.avail_flags() == 1
    bench.q.enable_interrupts()
    assert bench.d.avail_flags() == 0
    bench.q.disable_interrupts()
    assert bench.d.avail_flags() == 1


@pytest.mark.parametrize("event_idx", [True, False])
@pytest.mark.parametrize("before", [128, 192])
def test_rings_may_lie_across_a_boundary_of_4_gib(engines, event_idx, before):
    """The descriptors (128 bytes) before it, or the available ring (up to 192), too."""
    engine = engines["source"]
    queue_module = vsock_bench.module("virtio.queue")
    vsock_bench.memory.places = [1 << 32, (3 << 32) - before]  # the notification's, the rings'
    engine.new_queue(8, event_idx)
    q, d = engine.q, engine.d
    assert (q.used_address() - q.desc_address(), q.used_address() >> 32) == (192, 3)
    for _ in range(3):
        assert q.enable_interrupts() is False
        q.disable_interrupts()
        assert not d.armed()
        d.ask_after(1)
        heads = [q.add1(1, 2, True), q.add2(3, 4, 5, 6), q.add([[7, 8]], [[9, 10]])]
        q.publish()
        taken = [d.take() for _ in heads]
        assert [head for head, _ in taken] == heads
        assert taken[1][1] == [[3, 4, False], [5, 6, False]]
        assert d.rung()
        assert q.pop() == -1
        assert not queue_module.spin(q.state(), 3)
        d.ask_after(1)
        heads.append(q.add1(9, 10, True))
        queue_module.show(q.state(), 0)
        assert d.take() == [heads[3], [[9, 10, True]]]
        assert d.rung() is None
        for head in heads:
            d.put(head, 1)
        assert queue_module.spin(q.state(), 1)  # one look is enough
        assert engine.call("q.enable_interrupts") is True
        lengths = [1, 0, 1, 1]  # nothing was written to what is only read
        assert [q.pop() for _ in heads] == [
            head << 32 | n for head, n in zip(heads, lengths, strict=True)
        ]


# -- devices that lie


@pytest.mark.parametrize("head", (8, 9, 0x8000, 0xFFFFFFFF))
def test_an_id_out_of_range_breaks_the_queue(bench, head):
    add(bench)
    bench.d.put(head, 0)
    assert breaks(bench) == OUT_OF_RANGE


def test_forged_id_that_is_not_in_flight_breaks_the_queue(bench):
    add(bench)
    bench.d.put(5, 0)
    assert breaks(bench) == STRAY


def test_duplicate_completion_breaks_the_queue(bench):
    add(bench, 2)
    bench.d.put(0, 0)
    bench.d.put(0, 0)
    bench.q.pop()
    assert breaks(bench) == STRAY


def test_mid_chain_completion_breaks_the_queue(bench):
    bench.q.add2(0, 1, 2, 3)
    bench.q.publish()
    bench.d.put(1, 0)
    assert breaks(bench) == STRAY


def test_oversized_length_breaks_the_queue(bench):
    add(bench, length=100)
    bench.d.put(0, 101)
    assert breaks(bench) == TOO_LONG


def test_length_beyond_the_writable_part_of_a_chain_breaks_the_queue(bench):
    bench.q.add([[0, 100]], [[200, 8]])
    bench.q.publish()
    bench.d.put(0, 9)
    assert breaks(bench) == TOO_LONG


@pytest.mark.parametrize("jump", (3, 9, 0x7FFF, 0xFFFF))
def test_index_jump_breaks_the_queue(bench, jump):
    add(bench, 2)
    bench.d.set_used_idx(jump)
    assert breaks(bench) == RAN_AHEAD


def test_completion_before_publication_breaks_the_queue(bench):
    bench.q.add1(0, 1, True)
    bench.d.put(0, 0)
    assert breaks(bench) == RAN_AHEAD


def test_overwritten_descriptors_change_nothing(bench):
    q, d = bench.q, bench.d
    head = q.add([[1, 2], [3, 4]], [[5, 6]])
    other = q.add1(7, 8, True)
    q.publish()
    d.scribble()
    d.put(other, 8)
    d.put(head, 6)
    assert q.pop() == other << 32 | 8
    assert q.pop() == head << 32 | 6
    assert q.free() == 8
    assert sorted(q.add1(0, 1, True) for _ in range(8)) == list(range(8))


def test_a_broken_queue_is_not_notified(bench):
    q, d = bench.q, bench.d
    add(bench)
    q.add1(0, 1, True)
    d.put(9, 0)
    d.rung()
    breaks(bench)
    d.ask_after(1)
    shown = d.avail_idx()
    q.publish()
    assert d.rung() is None and d.avail_idx() == shown


def test_a_closed_queue_refuses_everything_and_gives_its_memory_back(bench):
    bench.new_queue(8, True, True)
    bell = bench.machine.dma_used()
    bench.q.close()
    assert breaks(bench) == CLOSED
    assert bench.machine.dma_used() < bell
    bench.new_queue(8, True, True)
    bench.q.add([[1, 2]] * 3)  # makes the tables
    bench.q.close()
    assert bench.machine.dma_used() == 64  # the bell's


# -- a pool of buffers on a queue


def test_a_pool_posts_what_fits_and_shows_it_when_told(bench):
    assert bench.new_pool(512, [[4096 * i, 100 + i] for i in range(10)]) == 8
    assert bench.d.take() is None
    bench.pool.show()
    taken = bench.d.take_all()
    assert [chain for _, chain in taken] == [[[4096 * i, 512, True]] for i in range(8)]
    assert sorted(bench.pool.tags()) == [100 + i for i in range(8)]


def test_a_pool_gives_back_the_tag_and_the_length_in_the_devices_order(bench):
    bench.new_pool(512, [[4096 * i, 100 + i] for i in range(4)])
    bench.pool.show()
    heads = [head for head, _ in bench.d.take_all()]
    assert bench.pool.take() == -1
    for i, length in (2, 0), (0, 512), (3, 44):
        bench.d.put(heads[i], length)
    wanted = [102 << 32, 100 << 32 | 512, 103 << 32 | 44, -1]
    assert [bench.pool.take() for _ in range(4)] == wanted
    assert bench.pool.tags() == [101]


@pytest.mark.parametrize("count, batch", [(8, 2), (5, 2), (4, 1), (1, 1)])
def test_a_pool_shows_new_buffers_by_the_quarter(bench, count, batch):
    bench.new_pool(64, [[4096 * i, i] for i in range(count)])
    bench.pool.show()
    heads = [head for head, _ in bench.d.take_all()]
    for head in heads:
        bench.d.put(head, 1)
    hidden = 0
    for _ in heads:
        tag = bench.pool.take() >> 32
        bench.pool.post(4096, tag)
        hidden = (hidden + 1) % batch
        assert (bench.d.take_all() != []) is (hidden == 0)
    bench.pool.show()
    assert len(bench.d.take_all()) == hidden
    bench.pool.show()  # begins to count anew
    assert bench.d.take() is None


def pooled(bench, start, asks_after=1):
    """A pool of 8 on a queue whose indices begin at `start`; the device has them, and asks."""
    bench.new_queue(8, True, False, 2, start)
    bench.new_pool(64, [[4096 * i, i] for i in range(8)])
    bench.pool.show()
    bench.d.rung()
    bench.d.ask_after(asks_after)
    return [head for head, _ in bench.d.take_all()]


def turn(bench, head):
    """The device fills a buffer, the driver posts it again; whether the device is notified."""
    bench.d.put(head, 1)
    bench.pool.post(4096, bench.pool.take() >> 32)
    return bench.d.rung() is not None


@pytest.mark.parametrize("start", [0, 65530])
def test_a_device_that_looks_only_when_notified_always_has_a_buffer(bench, start):
    heads = pooled(bench, start)
    notified = 0
    for _ in range(100):
        if turn(bench, heads.pop(0)):
            notified += 1
            heads += [head for head, _ in bench.d.take_all()]
            bench.d.ask_after(1)
        assert heads
    assert notified <= 100 // 6


@pytest.mark.parametrize("start", [0, 65530])
def test_a_device_that_has_seen_new_buffers_by_itself_is_not_notified_of_them(bench, start):
    heads = pooled(bench, start)
    for _ in range(100):
        assert not turn(bench, heads.pop(0))
        heads += [head for head, _ in bench.d.take_all()]
        bench.d.ask_after(1)


@pytest.mark.parametrize("start", [0, 65530])
def test_a_device_that_does_not_ask_is_not_notified(bench, start):
    """Its event index is where it is in the ring: it asks only when it has none."""
    heads = pooled(bench, start, -7)
    for _ in range(100):
        assert not turn(bench, heads.pop(0))
        heads += [head for head, _ in bench.d.take_all()]
        bench.d.ask_after(1 - len(heads))


def test_a_device_that_has_gone_ahead_of_what_it_was_told_is_told_when_it_asks(bench):
    heads = pooled(bench, 0, 100)  # for now it does not ask, and looks by itself
    for _ in range(20):
        assert not turn(bench, heads.pop(0))
        heads += [head for head, _ in bench.d.take_all()]
    bench.d.ask_after(1)
    assert any([turn(bench, heads.pop(0)) for _ in range(7)])


def test_buffers_that_are_posted_late_are_told_of_too(bench):
    """The device has used more than it was told of when the first of them comes back."""
    heads = pooled(bench, 0)
    for _ in range(4):
        assert not turn(bench, heads.pop(0))
    heads += [head for head, _ in bench.d.take_all()]
    for head in heads:
        bench.d.put(head, 1)
    tags = [bench.pool.take() >> 32 for _ in heads]
    for tag in tags:
        bench.pool.post(4096, tag)
    assert bench.d.rung() is not None
