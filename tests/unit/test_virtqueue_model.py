# SPDX-License-Identifier: MIT
"""The virtqueue against a model: drivers and devices that do anything in any order."""

from engines import Engine, GuestError
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from profiles import run_machine
from test_virtqueue import breaks


class Model(RuleBasedStateMachine):
    """Chains in flight as the driver should see them, against what the queue and device say."""

    def __init__(self, bench: Engine):
        super().__init__()
        self.bench = bench
        self.q, self.d = bench.q, bench.d

    @initialize(
        bits=st.integers(0, 5),
        start=st.sampled_from([0, 0xFFFF, 0xFFF0, 0x7FFF]),
        event_idx=st.booleans(),
        indirect=st.booleans(),
        notify_bytes=st.sampled_from([2, 4]),
    )
    def new_queue(self, bits, start, event_idx, indirect, notify_bytes):
        self.size = 1 << bits
        self.event_idx = event_idx
        self.indirect = indirect
        self.bench.new_queue(self.size, event_idx, indirect, notify_bytes, start)
        self.above = b"\xff\xff" if notify_bytes == 2 else b"\0\0"
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
        try:
            if segments == 1:
                head = self.q.add1(*chain[0], bool(writable))
            elif (readable, writable) == (2, 0):
                head = self.q.add2(*chain[0], *chain[1])
            else:
                head = self.q.add(first, second)
        except GuestError as error:
            if needed > self.size:
                assert error.name in ("ValueError", "QueueFull")
            else:
                assert error.name == "QueueFull"
                assert self.used() + needed > self.size
            return
        assert self.used() + needed <= self.size
        assert head not in self.flying
        self.added.append(
            (head, [[*s, False] for s in first] + [[*s, True] for s in second], needed)
        )

    @precondition(lambda self: not self.broken)
    @rule()
    def publish(self):
        self.q.publish()
        old, new = self.published, (self.published + len(self.added)) & 0xFFFF
        self.published = new
        crossed = (new - self.event - 1) & 0xFFFF < (new - old) & 0xFFFF
        wanted = crossed if self.event_idx else bool(self.added)
        assert self.d.rung() == ((b"\x03\0" + self.above) if wanted else None)
        for head, chain, needed in self.added:
            writable = sum(length for _, length, write in chain if write)
            self.flying[head] = (writable, needed)
            self.waiting.append((head, chain))
        self.added = []

    @precondition(lambda self: not self.broken and self.event_idx)
    @rule(count=st.integers(1, 40))
    def ask_for_notification(self, count):
        self.d.ask_after(count)
        self.event = (self.published + count - 1) & 0xFFFF

    @precondition(lambda self: not self.broken)
    @rule()
    def take(self):
        if not self.waiting:
            assert self.d.take() is None
            return
        head, chain = self.waiting.pop(0)
        assert self.d.take() == [head, chain]
        self.taken.append(head)

    @precondition(lambda self: not self.broken and self.taken)
    @rule(data=st.data())
    def complete(self, data):
        head = data.draw(st.sampled_from(self.taken))
        length = data.draw(st.integers(0, self.flying[head][0]))
        self.taken.remove(head)
        self.d.put(head, length)
        self.done.append((head, length))

    @precondition(lambda self: not self.broken)
    @rule()
    def pop(self):
        if not self.done:
            assert self.q.pop() == -1
            return
        head, length = self.done.pop(0)
        assert self.q.pop() == head << 32 | length
        del self.flying[head]

    @precondition(lambda self: not self.broken)
    @rule()
    def enable_interrupts(self):
        assert self.q.enable_interrupts() == bool(self.done)
        assert self.done or self.d.armed()

    @precondition(lambda self: not self.broken)
    @rule()
    def disable_interrupts(self):
        self.q.disable_interrupts()
        assert not self.d.armed()

    @precondition(lambda self: not self.broken)
    @rule()
    def scribble(self):
        if not self.waiting and not self.added:
            self.d.scribble()

    @precondition(lambda self: not self.broken and not self.done)
    @rule(head=st.integers(0, 0xFFFFFFFF) | st.integers(0, 40), length=st.integers(0, 0xFFFFFFFF))
    def lie(self, head, length):
        """A used entry at random: right by chance, or the end of the queue."""
        truth = self.flying.get(head)
        added = {a[0] for a in self.added}
        if not self.flying or head in added:
            return
        self.d.put(head, length)
        if truth and (length <= truth[0] or not truth[0]):
            assert self.q.pop() == head << 32 | (length if truth[0] else 0)
            del self.flying[head]
            self.taken = [h for h in self.taken if h != head]
            self.waiting = [(h, c) for h, c in self.waiting if h != head]
            self.broken = True  # the device now disagrees with itself on what it has taken
            return
        breaks(self.bench)
        self.broken = True

    @precondition(lambda self: not self.broken)
    @rule(jump=st.integers(1, 0xFFFF))
    def jump(self, jump):
        flying = len(self.flying)
        if len(self.done) + jump <= flying:
            return
        index = self.d.done()
        self.d.set_used_idx((index + jump) & 0xFFFF)
        if len(self.done) + jump > 0xFFFF:
            self.d.set_used_idx(index)
            return
        breaks(self.bench)
        self.broken = True

    @precondition(lambda self: self.broken)
    @rule()
    def new_queue_after_the_end(self):
        self.new_queue(2, 0, True, False, 2)

    @invariant()
    def free_count_is_right(self):
        if hasattr(self, "size") and not self.broken:
            flying = len(self.flying) + len(self.added)
            assert self.bench.many(["q.free"], ["q.in_flight"]) == [
                self.size - self.used(),
                flying,
            ]


def test_any_order_of_everything_matches_the_model(engine):
    run_machine(lambda: Model(engine), 400, 40)
