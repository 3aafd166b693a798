# SPDX-License-Identifier: MIT
"""The virtqueue, on real memory under MicroPython's unix port: a device that behaves, and ones
that lie in every way that a used ring allows.
"""

from errno import ENOBUFS

import pytest
from queue_client import RemoteError, Server, breaks


@pytest.fixture(scope="module")
def server():
    """One MicroPython for all tests; each makes its own queue in it."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def q(server):
    """The server, with a fresh queue of 8 entries and event index."""
    server("new(8)")
    return server


# -- what a good device sees and gives back


def test_a_buffer_reaches_the_device_and_comes_back_with_its_length(q):
    head = q("q.add1(0x123456789abc, 100, True)")
    assert q("d.take()") is None  # not before publish
    q("q.publish()")
    assert q("d.take()") == (head, [(0x123456789ABC, 100, True)])
    assert q("q.pop()") == -1
    q(f"d.put({head}, 42)")
    assert q("q.pop()") == head << 32 | 42
    assert q("q.pop()") == -1
    assert q("q.free") == 8


def test_two_readable_buffers_are_one_chain(q):
    head = q("q.add2(1 << 40, 44, 1 << 41, 65536)")
    q("q.publish()")
    assert q("d.take()") == (head, [(1 << 40, 44, False), (1 << 41, 65536, False)])
    assert q("q.free") == 6


def test_a_chain_of_any_shape(q):
    head = q("q.add([(1, 2), (3, 4)], [(5, 6), (7, 8)])")
    q("q.publish()")
    chain = [(1, 2, False), (3, 4, False), (5, 6, True), (7, 8, True)]
    assert q("d.take()") == (head, chain)
    q(f"d.put({head}, 14)")
    assert q("q.pop()") == head << 32 | 14
    assert q("q.free") == 8


def test_long_chains_take_one_descriptor_where_indirect_is_offered(q):
    q("new(4, indirect=True)")
    head = q("q.add([(1, 2), (3, 4), (5, 6)], [(7, 8), (9, 10)])")
    q("q.publish()")
    chain = [(1, 2, False), (3, 4, False), (5, 6, False), (7, 8, True), (9, 10, True)]
    assert q("d.take()") == (head, chain)
    assert q("q.free") == 3
    q(f"d.put({head}, 18)")
    assert q("q.pop()") == head << 32 | 18
    assert q("q.free") == 4


def test_a_full_queue_refuses_and_recovers(q):
    heads = [q("q.add1(4096, 16, True)") for _ in range(7)]
    for expression in "q.add2(0, 1, 2, 3)", "q.add([(0, 1), (2, 3)])":
        with pytest.raises(RemoteError) as caught:
            q(expression)
        assert (caught.value.name, caught.value.errno) == ("QueueFull", ENOBUFS)
    heads.append(q("q.add1(4096, 16, True)"))
    with pytest.raises(RemoteError):
        q("q.add1(4096, 16, True)")
    assert sorted(heads) == list(range(8))
    q("q.publish()")
    q(f"d.put({heads[3]}, 1)")
    q("q.pop()")
    assert q("q.add1(4096, 16, True)") == heads[3]


def test_a_chain_that_can_never_fit_is_a_value_error(q):
    for expression in "q.add([(0, 1)] * 9)", "q.add(())", "q.add((), [(0, 1 << 30)] * 2)":
        with pytest.raises(RemoteError) as caught:
            q(expression)
        assert caught.value.name == "ValueError"
    assert q("q.free") == 8


@pytest.mark.parametrize("size", (0, 3, 65536, -8))
def test_sizes_that_no_split_queue_has_are_refused(q, size):
    with pytest.raises(RemoteError) as caught:
        q(f"new({size})")
    assert caught.value.name == "ValueError"


def test_indices_wrap_around_with_every_shape(q):
    assert q("run_long(70000)")


def test_length_of_a_chain_without_writable_bytes_is_0(q):
    head = q("q.add1(0, 100, False)")
    q("q.publish()")
    q(f"d.put({head}, 100)")
    assert q("q.pop()") == head << 32


def test_hot_functions_allocate_nothing(q):
    q("new(64)")
    for expression in (
        "q.add1, 0x123456789abc, 100, True",
        "q.add2, 1, 2, 3, 4",
        "q.publish",
        "q.pop",
        "q.enable_interrupts",
        "q.disable_interrupts",
    ):
        assert q(f"allocated({expression})") == 0
    q("q.publish()")
    q("[d.put(d.take()[0], 0) for _ in range(4)]")
    assert q("allocated(q.pop)") == 0


# -- notifications and interrupts


def test_without_event_index_the_flag_decides_on_notifications(q):
    q("new(8, event_idx=False)")
    q("(q.add1(0, 1, True), q.publish())")
    assert q("d.notified()") == 3  # the queue's index
    q("(d.set_no_notify(1), q.add1(0, 1, True), q.publish())")
    assert q("d.notified()") is None


def test_with_event_index_only_crossing_it_notifies(q):
    q("d.ask_after(3)")
    for wanted in (None, None, 3, None):
        q("(q.add1(0, 1, True), q.publish())")
        assert q("d.notified()") == wanted


def test_one_publish_that_jumps_over_the_event_index_notifies_once(q):
    q("d.ask_after(2)")
    q("[q.add1(0, 1, True) for _ in range(5)]")
    q("q.publish()")
    assert q("d.notified()") == 3


def test_publishing_nothing_notifies_nobody(q):
    q("q.publish()")
    assert q("d.notified()") is None


def test_interrupts_are_off_at_first_and_asked_for_at_the_next_completion(q):
    head = q("q.add1(0, 1, True)")
    q("q.publish()")
    assert q("d.used_event()") == 0xFFFF
    assert q("q.enable_interrupts()") is False
    assert q("d.used_event()") == 0
    q(f"d.put({head}, 0)")
    assert q("q.enable_interrupts()") is True
    q("q.pop()")
    assert q("q.enable_interrupts()") is False
    assert q("d.used_event()") == 1
    q("q.disable_interrupts()")
    assert q("d.used_event()") == 0


def test_interrupts_are_asked_for_across_the_wrap_around(q):
    q("d.start_at(q, 0xFFFF)")
    for event in 0xFFFF, 0, 1:
        head = q("q.add1(0, 1, True)")
        q("q.publish()")
        assert q("q.enable_interrupts()") is False
        assert q("d.used_event()") == event
        q(f"d.put({head}, 0)")
        assert q("q.enable_interrupts()") is True
        q("q.pop()")


def test_without_event_index_the_flag_asks_for_interrupts(q):
    q("new(8, event_idx=False)")
    assert q("d.avail_flags()") == 1
    q("q.enable_interrupts()")
    assert q("d.avail_flags()") == 0
    q("q.disable_interrupts()")
    assert q("d.avail_flags()") == 1


# -- devices that lie


def test_id_out_of_range_breaks_the_queue(q):
    q("(q.add1(0, 1, True), q.publish(), d.put(8, 0))")
    assert breaks(q) == "used id out of range"


def test_huge_id_breaks_the_queue(q):
    q("(q.add1(0, 1, True), q.publish(), d.put(0xFFFFFFFF, 0))")
    assert breaks(q) == "used id out of range"


def test_forged_id_that_is_not_in_flight_breaks_the_queue(q):
    q("(q.add1(0, 1, True), q.publish(), d.put(5, 0))")
    assert breaks(q) == "used id is not the head of a chain in flight"


def test_duplicate_completion_breaks_the_queue(q):
    q("(q.add1(0, 1, True), q.add1(0, 1, True), q.publish(), d.put(0, 0), d.put(0, 0))")
    q("q.pop()")
    assert breaks(q) == "used id is not the head of a chain in flight"


def test_mid_chain_completion_breaks_the_queue(q):
    q("(q.add2(0, 1, 2, 3), q.publish(), d.put(1, 0))")
    assert breaks(q) == "used id is not the head of a chain in flight"


def test_oversized_length_breaks_the_queue(q):
    q("(q.add1(0, 100, True), q.publish(), d.put(0, 101))")
    assert breaks(q) == "used length exceeds the device-writable bytes"


def test_length_beyond_the_writable_part_of_a_chain_breaks_the_queue(q):
    q("(q.add([(0, 100)], [(200, 8)]), q.publish(), d.put(0, 9))")
    assert breaks(q) == "used length exceeds the device-writable bytes"


@pytest.mark.parametrize("jump", (3, 9, 0x7FFF, 0xFFFF))
def test_index_jump_breaks_the_queue(q, jump):
    q("(q.add1(0, 1, True), q.add1(0, 1, True), q.publish())")
    q(f"d.set_used_idx({jump})")
    assert breaks(q) == "used index ran ahead of what was offered"


def test_completion_before_publication_breaks_the_queue(q):
    q("(q.add1(0, 1, True), d.put(0, 0))")
    assert breaks(q) == "used index ran ahead of what was offered"


def test_overwritten_descriptors_change_nothing(q):
    head = q("q.add([(1, 2), (3, 4)], [(5, 6)])")
    other = q("q.add1(7, 8, True)")
    q("(q.publish(), d.scribble())")
    q(f"(d.put({other}, 8), d.put({head}, 6))")
    assert q("q.pop()") == other << 32 | 8
    assert q("q.pop()") == head << 32 | 6
    assert q("q.free") == 8
    assert sorted(q("[q.add1(0, 1, True) for _ in range(8)]")) == list(range(8))


def test_a_broken_queue_is_not_notified(q):
    q("(q.add1(0, 1, True), q.publish(), d.put(9, 0), d.notified())")
    breaks(q)
    q("d.ask_after(1)")
    with pytest.raises(RemoteError):
        q("(q._offer(0), q.publish())")
    assert q("d.notified()") is None


def test_a_closed_queue_refuses_everything(q):
    q("q.close()")
    assert breaks(q) == "closed"
