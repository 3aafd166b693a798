# SPDX-License-Identifier: MIT
"""The virtqueue, on real memory under MicroPython's unix port: a device that behaves, and ones
that lie in every way that a used ring allows.
"""

import ast
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pci_machine import MODULES

from mpfw.upstream import build_unix_port, source_tree


class RemoteError(Exception):
    """An exception in the server: its type's name and its arguments."""

    def __init__(self, name, arguments):
        super().__init__(name, arguments)
        self.name = name
        self.errno = arguments[0] if arguments else None


class Server:
    """queue_server.py at the other end of a pipe."""

    def __init__(self, micropython):
        script = Path(__file__).with_name("queue_server.py")
        self.process = subprocess.Popen(
            [micropython, script, MODULES],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __call__(self, expression):
        self.process.stdin.write(expression + "\n")
        kind, _, value = self.process.stdout.readline().strip().partition(" ")
        if kind == "=":
            return ast.literal_eval(value)
        name, _, arguments = value.partition(" ")
        raise RemoteError(name, ast.literal_eval(arguments or "()"))

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server():
    """One MicroPython for all tests; each makes its own queue in it."""
    server = Server(build_unix_port(source_tree()))
    yield server
    server.close()


@pytest.fixture
def q(server):
    """The server, with a fresh queue of 8 entries and event index."""
    server("new(8)")
    return server


EIO, EINVAL, ENOBUFS = 5, 22, 105


def breaks(q, expression="q.pop()"):
    """Whether the expression raises QueueBroken, and everything after it too."""
    for attempt in (expression, "q.pop()", "q.add1(0, 1, True)", "q.add2(0, 1, 2, 3)"):
        with pytest.raises(RemoteError) as caught:
            q(attempt)
        assert caught.value.name == "QueueBroken"
        assert caught.value.errno == EIO
    return q("q.broken")


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


# -- all of it at once, against a model


class Model(RuleBasedStateMachine):
    """Chains in flight as the driver should see them, against what the queue and device say."""

    server = None

    @initialize(
        bits=st.integers(0, 5),
        start=st.sampled_from([0, 0xFFFF, 0xFFF0, 0x7FFF]),
        event_idx=st.booleans(),
        indirect=st.booleans(),
    )
    def first_queue(self, bits, start, event_idx, indirect):
        self.new_queue(bits, start, event_idx, indirect)

    def new_queue(self, bits, start, event_idx, indirect):
        self.size = 1 << bits
        self.event_idx = event_idx
        self.indirect = indirect
        self.server(f"new({self.size}, {event_idx}, {indirect})")
        self.server(f"d.start_at(q, {start})")
        self.published = start
        self.event = 0
        self.added = []  # not yet published: (head, chain, descriptors)
        self.flying = {}  # published: head -> (writable bytes, descriptors)
        self.taken = []  # heads that the device has taken, not completed
        self.done = []  # completed, not popped: (head, length)
        self.waiting = []  # published, not taken: (head, chain)
        self.broken = False

    def used(self):
        """Descriptors in use."""
        flying = sum(descriptors for _, descriptors in self.flying.values())
        return flying + sum(descriptors for _, _, descriptors in self.added)

    @precondition(lambda self: not self.broken)
    @rule(readable=st.integers(0, 4), writable=st.integers(0, 4), data=st.data())
    def add(self, readable, writable, data):
        segments = readable + writable
        if not segments:
            return
        pairs = st.tuples(st.integers(0, (1 << 48) - 1), st.integers(1, 1 << 20))
        chain = [data.draw(pairs) for _ in range(segments)]
        indirect = self.indirect and segments >= 3
        needed = 1 if indirect else segments
        first, second = chain[:readable], chain[readable:]
        call = f"q.add({first}, {second})"
        if segments == 1:
            call = f"q.add1({chain[0][0]}, {chain[0][1]}, {bool(writable)})"
        elif (readable, writable) == (2, 0):
            call = "q.add2({}, {}, {}, {})".format(*chain[0], *chain[1])
        try:
            head = self.server(call)
        except RemoteError as error:
            if needed > self.size:
                assert error.name in ("ValueError", "QueueFull")
            else:
                assert error.name == "QueueFull"
                assert self.used() + needed > self.size
            return
        assert self.used() + needed <= self.size
        assert head not in self.flying
        self.added.append(
            (head, [(*s, False) for s in first] + [(*s, True) for s in second], needed)
        )

    @precondition(lambda self: not self.broken)
    @rule()
    def publish(self):
        self.server("q.publish()")
        old, new = self.published, (self.published + len(self.added)) & 0xFFFF
        self.published = new
        crossed = (new - self.event - 1) & 0xFFFF < (new - old) & 0xFFFF
        wanted = crossed if self.event_idx else bool(self.added)
        assert self.server("d.notified()") == (3 if wanted else None)
        for head, chain, needed in self.added:
            writable = sum(length for _, length, write in chain if write)
            self.flying[head] = (writable, needed)
            self.waiting.append((head, chain))
        self.added = []

    @precondition(lambda self: not self.broken and self.event_idx)
    @rule(count=st.integers(1, 40))
    def ask_for_notification(self, count):
        self.server(f"d.ask_after({count})")
        self.event = (self.published + count - 1) & 0xFFFF

    @precondition(lambda self: not self.broken)
    @rule()
    def take(self):
        if not self.waiting:
            assert self.server("d.take()") is None
            return
        head, chain = self.waiting.pop(0)
        assert self.server("d.take()") == (head, chain)
        self.taken.append(head)

    @precondition(lambda self: not self.broken and self.taken)
    @rule(data=st.data())
    def complete(self, data):
        head = data.draw(st.sampled_from(self.taken))
        length = data.draw(st.integers(0, self.flying[head][0]))
        self.taken.remove(head)
        self.server(f"d.put({head}, {length})")
        self.done.append((head, length))

    @precondition(lambda self: not self.broken)
    @rule()
    def pop(self):
        if not self.done:
            assert self.server("q.pop()") == -1
            return
        head, length = self.done.pop(0)
        assert self.server("q.pop()") == head << 32 | length
        del self.flying[head]

    @precondition(lambda self: not self.broken)
    @rule()
    def enable_interrupts(self):
        assert self.server("q.enable_interrupts()") == bool(self.done)

    @precondition(lambda self: not self.broken)
    @rule()
    def scribble(self):
        if not self.waiting and not self.added:
            self.server("d.scribble()")

    @precondition(lambda self: not self.broken and not self.done)
    @rule(head=st.integers(0, 0xFFFFFFFF) | st.integers(0, 40), length=st.integers(0, 0xFFFFFFFF))
    def lie(self, head, length):
        """A used entry at random: right by chance, or the end of the queue."""
        truth = self.flying.get(head)
        added = {a[0] for a in self.added}
        if not self.flying or head in added:
            return
        self.server(f"d.put({head}, {length})")
        if truth and (length <= truth[0] or not truth[0]):
            assert self.server("q.pop()") == head << 32 | (length if truth[0] else 0)
            del self.flying[head]
            self.taken = [h for h in self.taken if h != head]
            self.waiting = [(h, c) for h, c in self.waiting if h != head]
            self.broken = True  # the device now disagrees with itself on what it has taken
            return
        breaks(self.server)
        self.broken = True

    @precondition(lambda self: not self.broken)
    @rule(jump=st.integers(1, 0xFFFF))
    def jump(self, jump):
        flying = len(self.flying)
        if len(self.done) + jump <= flying:
            return
        index = self.server("d.done")
        self.server(f"d.set_used_idx({(index + jump) & 0xFFFF})")
        if len(self.done) + jump > 0xFFFF:
            self.server(f"d.set_used_idx({index})")
            return
        breaks(self.server)
        self.broken = True

    @precondition(lambda self: self.broken)
    @rule()
    def new_queue_after_the_end(self):
        self.new_queue(2, 0, True, False)

    @invariant()
    def free_count_is_right(self):
        if self.server and hasattr(self, "size") and not self.broken:
            assert self.server("q.free") == self.size - self.used()
            assert self.server("q.in_flight") == len(self.flying) + len(self.added)


def test_any_order_of_everything_matches_the_model(server):
    Model.server = staticmethod(server)
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=400,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
