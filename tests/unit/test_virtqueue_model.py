# SPDX-License-Identifier: MIT
"""The virtqueue against a model: drivers and devices that do anything in any order."""

from collections.abc import Callable
from typing import Any

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
from queue_client import RemoteError, Server, breaks


class Model(RuleBasedStateMachine):
    """Chains in flight as the driver should see them, against what the queue and device say."""

    server: Callable[[str], Any]

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
        if hasattr(self, "size") and not self.broken:
            assert self.server("q.free") == self.size - self.used()
            assert self.server("q.in_flight") == len(self.flying) + len(self.added)


def test_any_order_of_everything_matches_the_model():
    server = Server()
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
    server.close()
