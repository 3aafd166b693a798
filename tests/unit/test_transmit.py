# SPDX-License-Identifier: MIT
"""The way out: slots, buffers that the device borrows, segments, debts that wait for a slot.

The device takes packets when it likes and gives them back in any order. Nothing that was sent may
change while it has it, nothing is lost or comes twice, and all that was lent comes back.
"""

import sys
from errno import EAGAIN, EPIPE, ETIMEDOUT

import pytest
import vsock_bench
from engines import GuestError
from hypothesis import given, note, settings
from hypothesis import strategies as st
from profiles import examples
from road import CID, POSTED, Road, numbers
from road_model import M32, SEQPACKET, SIZE, STREAM, Packet, w
from test_receive_road import Chance

RX, TX = 0, 1
POLLOUT = numbers.POLLOUT
SIZE_OPTION, MAX_SIZE = 0, 2  # SO_VM_SOCKETS_BUFFER_*
LARGE = w.LARGE


class Line:
    """One connection: what the program sent, what the wire saw, what it was sent and read."""

    def __init__(self, name, port):
        self.name = name
        self.port = port
        self.sent = b""
        self.wire = b""
        self.ops = []  # of control packets
        self.came = b""
        self.read = 0
        self.told = 0  # our FWD_CNT as the guest knows it
        self.alloc = SIZE


class Sender(Road):
    """A guest with three connections, and a transmit queue of `slots` packets."""

    def __init__(self, engine, slots, lines=3):
        super().__init__(engine, sizes=[128, 2 * slots, 128])
        self.slots = slots
        self.lines = [Line(self.open(1234, 5000 + i), 5000 + i) for i in range(lines)]
        engine.many(["device.reap"], ["host.refresh"])
        self.held = []  # heads of packets that the device has
        engine.host.took()
        engine.clock.looks_take(100)
        self.heads = sorted(self.posted)

    # -- the device

    def take(self):
        """The device takes what was sent."""
        for head, header, payload, parts in self.engine.host.collect(False):
            if header[w.TYPE_OP] >> w.OP_SHIFT == w.OP_RW:
                assert self.slots - len(self.held) > w.RESERVE, "data took a reserved slot"
            self._remember(header, payload, parts)
            assert head not in self.held
            self.held.append(head)
            assert len(self.held) <= self.slots

    def _remember(self, header, payload, parts):
        """Check a packet that the device has taken, and write down what it says."""
        line = self.line(header[w.DST_PORT])
        op = header[w.TYPE_OP] >> w.OP_SHIFT
        assert header[w.LEN] == len(payload)
        assert parts == (2 if len(payload) > w.INLINE else 1)
        if op == w.OP_RW:
            line.wire += payload
        else:
            line.ops.append(op)

    def line(self, port):
        return next(each for each in self.lines if each.port == port)

    def give_back(self, heads):
        """The device is done with some packets."""
        for head in heads:
            self.held.remove(head)
        self.engine.host.complete(heads)

    def tell(self, line, op=w.OP_CREDIT_UPDATE, payload=b"", **fields):
        """A packet of a connection's peer, which has everything that the wire saw."""
        head = self.heads.pop(0)
        line.told = len(line.wire)
        line.alloc = fields.pop("alloc", line.alloc)
        kind = STREAM | op << w.OP_SHIFT
        header = [2, 0, CID, 0, line.port, 1234, len(payload), kind, fields.get("flags", 0)]
        packet = [head, [*header, line.alloc, line.told & M32], payload, 44 + len(payload)]
        values = self.engine.many(["host.give", [packet]], ["device.poll"], ["host.refresh"])
        self.heads += [each[0] for each in values[2]]
        line.came += payload
        return values[1]

    def calm(self):
        """The device takes and gives back everything, until nobody has more to say."""
        for _ in range(100):
            self.take()
            if not self.held:
                return
            self.give_back(sorted(self.held))
            self.engine.transport.fire(TX)
        raise AssertionError("it never ends")

    # -- the program

    def room(self, line):
        """Bytes that a program can send in one call, by credit and by slots."""
        credit = max(0, min(line.alloc, SIZE) - (len(line.sent) - line.told))
        return credit, max(0, self.slots - len(self.held) - self.untaken() - w.RESERVE)

    def untaken(self):
        seen, offered = self.engine.many(["ring", TX, "seen"], ["ring", TX, "avail_idx"])
        return (offered - seen) & 0xFFFF

    def write(self, line, data, once=False):
        """Send, as bytes or from a buffer that changes afterwards; how much went out."""
        credit, packets = self.room(line)
        wanted = min(len(data), credit, packets * LARGE)
        if once:
            wanted = self.copied(min(len(data), credit), packets)
        path = "program.write_once" if once else f"{line.name}.send"
        arguments = [line.name, data] if once else [data]
        answer = self.engine.attempt(path, *arguments)
        for _, header, payload, parts in self.engine.host.took():  # while the program waited
            self._remember(header, payload, parts)
        self.held = self.engine.host.has()
        assert answer == ([wanted, None] if wanted else [None, EAGAIN])
        line.sent += data[:wanted]
        return wanted

    def copied(self, n, packets):
        """Of `n` bytes, how many are sent as copies: in spare receive buffers, else in slots."""
        self.engine.device.reap()
        spare = self.engine.stack.store.spare() - 8
        done = 0
        while done < n and packets:
            part = min(n - done, LARGE)
            if part > w.INLINE:
                part = part if spare > 0 else w.INLINE
                spare -= 1
            done += part
            packets -= 1
        return done


# -- any order of everything


def write(sender, chance):
    line = chance.choice(sender.lines)
    n = chance.choice([1, 44, w.INLINE, w.INLINE + 1, LARGE, LARGE + 1, 150_000])
    sender.write(line, sender.noise(min(n, 130_000)), once=chance.seldom())


def take(sender, chance):
    sender.take()


def give_some_back(sender, chance):
    sender.take()
    heads = [each for each in sorted(sender.held) if chance.random() < 0.6]
    chance.shuffle(heads)
    sender.give_back(heads)


def look(sender, chance):
    """Some way in which the driver notices what came back."""
    way = chance.choice([["device.reap"], ["transport.fire", TX], ["device.poll"]])
    sender.engine.call(*way)


def credit(sender, chance):
    sender.take()
    sender.tell(chance.choice(sender.lines), alloc=chance.choice([SIZE, 70_000, SIZE]))


def ask(sender, chance):
    sender.take()
    sender.tell(chance.choice(sender.lines), w.OP_CREDIT_REQUEST)


def data_comes(sender, chance):
    sender.take()
    line = chance.choice(sender.lines)
    if len(line.came) - line.read + LARGE <= SIZE // 2:
        sender.tell(line, w.OP_RW, sender.noise(chance.choice([5, 3000, 5000, LARGE])))


def splice(sender, chance):
    line, to = chance.choice(sender.lines), chance.choice(sender.lines)
    n = sender.engine.program.splice(line.name, to.name)
    to.sent += line.came[line.read : line.read + n]
    line.read += n


def forward(sender, chance):
    line, to = chance.choice(sender.lines), chance.choice(sender.lines)
    if line.read < len(line.came):
        data, sent = sender.engine.program.forward(line.name, to.name)
        assert data == line.came[line.read : line.read + len(data)]
        line.read += len(data)
        to.sent += data if sent else b""


WEIGHTS = {
    write: 6,
    take: 2,
    give_some_back: 3,
    look: 2,
    credit: 3,
    ask: 1,
    data_comes: 3,
    splice: 2,
    forward: 1,
}
actions = st.sampled_from([each for each, weight in WEIGHTS.items() for _ in range(weight)])
steps = st.lists(st.tuples(actions, st.integers(0, 1 << 32)), min_size=10, max_size=50)


def test_what_is_sent_arrives_whole_and_what_is_lent_comes_back(engine):
    @settings(max_examples=examples(300))
    @given(st.sampled_from([16, 32, 64]), steps)
    def run(slots, steps):
        sender = Sender(engine, slots)
        spare = engine.stack.store.spare()
        engine.host.works_while_the_program_sleeps()
        for step, seed in steps:
            note(f"{step.__name__} {seed}")
            step(sender, Chance(seed))
        sender.calm()
        for line in sender.lines:
            while line.read < len(line.came):
                line.read += len(engine.call(f"{line.name}.recv", 1 << 18))
            sender.calm()
            assert line.wire == line.sent
        engine.device.reap()
        assert engine.device.out.free() == slots
        assert engine.stack.store.spare() == spare
        engine.machine.dma_used()  # and the guards are whole

    run()


# -- one thing at a time


def full_of_data(engine, lines=3):
    """A sender with 16 slots, eight of them taken by data: no more of that gets in."""
    sender = Sender(engine, 16, lines)
    for _ in range(8):
        assert sender.write(sender.lines[0], b"x") == 1
    assert sender.write(sender.lines[0], b"y") == 0
    sender.take()
    return sender


def test_data_leaves_slots_for_what_is_owed(engine):
    sender = full_of_data(engine)
    assert engine.device.out.free() == w.RESERVE
    for line in sender.lines[1:]:
        sender.tell(line, w.OP_CREDIT_REQUEST)
        sender.take()
        assert line.ops[-1] == w.OP_CREDIT_UPDATE


def test_packets_wait_in_the_ring_while_there_is_no_room_for_answers(engine):
    sender = full_of_data(engine)
    line = sender.lines[1]
    assert [sender.tell(line, w.OP_CREDIT_REQUEST) for _ in range(7)] == [1] * 5 + [0] * 2
    assert engine.device.out.free() == 3
    sender.take()
    sender.give_back(sender.held[:1])
    assert engine.device.poll() == 1  # and the other must wait again
    sender.calm()
    assert line.ops.count(w.OP_CREDIT_UPDATE) == 7


def test_packets_that_wait_for_slots_are_taken_with_the_interrupt_that_brings_some(engine):
    sender = Sender(engine, 16)
    line = sender.lines[0]
    while sender.tell(line, w.OP_CREDIT_REQUEST):
        pass
    sender.take()
    assert engine.ring(TX, "armed")
    sender.give_back(sorted(sender.held))
    assert engine.transport.kick(TX)
    sender.calm()
    assert sender.tell(line, w.OP_CREDIT_REQUEST) == 1


def in_debt(engine):
    """A sender without a slot: five of its eight connections owe a SHUTDOWN."""
    sender = full_of_data(engine, 8)
    for _ in range(5):
        sender.tell(sender.lines[0], w.OP_CREDIT_REQUEST)
    sender.take()
    for line in sender.lines:
        engine.call(f"{line.name}.shutdown", 1)
        sender.take()
    assert shutdowns(sender) == [1] * 3 + [0] * 5
    assert engine.device.out.free() == 0
    return sender


def shutdowns(sender):
    """How many each connection has sent."""
    return [line.ops.count(w.OP_SHUTDOWN) for line in sender.lines]


def test_debts_wait_for_slots_and_are_paid_once_each(engine):
    sender = in_debt(engine)
    engine.call(f"{sender.lines[7].name}.shutdown", 0)  # one that waits already
    sender.give_back(sender.held[:2])
    engine.transport.fire(TX)
    sender.take()
    assert shutdowns(sender) == [1] * 5 + [0] * 3
    sender.calm()
    assert shutdowns(sender) == [1] * 8


def test_debts_are_not_forgotten_if_a_slot_comes_back_while_others_are_paid(engines):
    engine = engines["source"]
    sender = in_debt(engine)
    out = vsock_bench.module("bench_objects").objects["device"].out
    reap, looks = out.reap, []

    def at_once():
        looks.append(1)
        if len(looks) in (1, 3):  # the second debt has found no slot, the third looks for one
            sender.give_back(sender.held[:1])
        return reap()

    out.reap = at_once
    engine.device.reap()
    sender.take()
    assert shutdowns(sender).count(1) == 5
    del out.reap
    sender.calm()
    assert shutdowns(sender) == [1] * 8


def test_a_device_that_is_gone_keeps_no_connection_that_owed_something(engine):
    in_debt(engine)
    out = engine.device.out
    engine.vsock.close()
    assert out._waiting() == []


def test_who_finds_no_slot_hears_when_the_device_gives_one_back(engine):
    sender = full_of_data(engine)
    line = sender.lines[1]
    assert engine.call(f"{line.name}.ioctl", 3, POLLOUT) == 0
    assert engine.program.woken() == []
    assert engine.ring(TX, "armed")  # it asked for an interrupt
    sender.give_back(sender.held[:1])
    assert engine.transport.kick(TX)
    # Also the one whose last send found none.
    assert engine.program.woken() == [sender.lines[0].name, line.name]
    assert engine.call(f"{line.name}.ioctl", 3, POLLOUT) == POLLOUT
    assert sender.write(line, b"z") == 1
    sender.give_back(sender.held[:1])
    engine.transport.fire(TX)
    assert engine.program.woken() == []  # it has been told


def test_a_slot_that_comes_back_while_interrupts_are_asked_for_is_not_missed(engine):
    sender = full_of_data(engine)
    line = sender.lines[1]
    engine.host.works_at_fence(1)
    assert engine.call(f"{line.name}.ioctl", 3, POLLOUT) == 0
    assert engine.program.woken() == [sender.lines[0].name, line.name]


def test_a_slot_that_came_back_unnoticed_is_found_when_one_is_wanted(engine):
    sender = full_of_data(engine)
    sender.give_back(sender.held[:3])
    assert engine.call(f"{sender.lines[1].name}.ioctl", 3, POLLOUT) == POLLOUT


@pytest.mark.parametrize("n", [5, w.INLINE + 1])
def test_bytes_find_slots_that_came_back_unnoticed(engine, n):
    sender = full_of_data(engine)
    send = f"{sender.lines[1].name}.endpoint.send"
    data = engine.stack.store.address(0)
    assert engine.call(send, data, n, b"", 0, 0) == 0
    sender.give_back(sender.held[:3])
    assert engine.call(send, data, n, b"", 0, 0) == n


def test_a_little_is_sent_or_not(engine):
    sender = Sender(engine, 16)
    at = engine.call(f"{sender.lines[0].name}.endpoint.at")
    data = engine.stack.store.address(0)
    small = engine.device.out.small
    assert [small(at, data, 5, 0) for _ in range(9)] == [1] * 8 + [0]


@pytest.mark.parametrize("slots", [1, 2])
def test_splice_shows_what_it_moved_when_slots_run_out(engine, slots):
    sender = Sender(engine, 16)
    line, to, _ = sender.lines
    for _ in range(3):
        sender.tell(line, w.OP_RW, sender.noise(w.BLOCK))
    for _ in range(8 - slots):
        assert sender.write(to, b"x") == 1
    sender.take()
    assert engine.program.splice(line.name, to.name) == slots * w.BLOCK
    before = len(to.wire)
    sender.take()
    assert to.wire[before:] == line.came[: slots * w.BLOCK]


def test_a_segment_finds_slots_that_came_back_unnoticed(engine):
    sender = full_of_data(engine)
    store = engine.stack.store
    seg = store.take_spare(0)
    store.fill(seg, store.address(0), 5000)
    at = engine.call(f"{sender.lines[1].name}.endpoint.at")
    assert engine.device.out.put_segment(at, seg, 5000, 0, 1) == 0
    sender.give_back(sender.held[:3])
    assert engine.device.out.put_segment(at, seg, 5000, 0, 1) == 1


def test_a_copy_finds_a_buffer_that_came_back_unnoticed(engine):
    sender = Sender(engine, 64)
    store, out = engine.stack.store, engine.device.out
    while store.spare() > 9:
        store.take_large()
    assert sender.write(sender.lines[0], sender.noise(5000), once=True) == 5000
    assert (store.spare(), out.spare()) == (8, -1)  # the last ones are for receiving
    sender.take()
    sender.give_back(list(sender.held))
    assert out.spare() >= 0


def test_a_debt_finds_slots_that_came_back_unnoticed(engine):
    sender = full_of_data(engine, 8)
    for _ in range(5):
        sender.tell(sender.lines[0], w.OP_CREDIT_REQUEST)
    sender.take()
    for line in sender.lines[:3]:
        engine.call(f"{line.name}.shutdown", 1)
    sender.take()
    assert engine.device.out.free() == 0
    sender.give_back(sender.held[:2])
    engine.call(f"{sender.lines[3].name}.shutdown", 1)
    sender.take()
    assert sender.lines[3].ops[-1] == w.OP_SHUTDOWN


def test_who_would_sleep_hears_of_packets_that_must_wait(engine):
    sender = full_of_data(engine)
    line = sender.lines[1]
    header = [2, 0, CID, 0, line.port, 1234, 0, STREAM | w.OP_CREDIT_REQUEST << 16, 0, SIZE, 0]
    engine.many(["host.give", [[sender.heads.pop(0), header, b"", 44]]], ["device.poll", 300])
    for _ in range(6):
        sender.tell(line, w.OP_CREDIT_REQUEST)
    assert not engine.ring(RX, "armed")
    assert engine.device.attend() is True


def test_an_interrupt_for_packets_that_must_wait_does_not_look_again_and_again(engine):
    sender = full_of_data(engine)
    for _ in range(7):
        sender.tell(sender.lines[1], w.OP_CREDIT_REQUEST)
    sender.take()
    engine.transport.fire(RX)
    assert engine.clock.until_timer() is None


def test_a_segment_under_way_is_the_stores_again_when_the_device_goes(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    sender.tell(line, w.OP_RW, sender.noise(60_000))
    assert engine.program.splice(line.name, line.name) == 60_000
    engine.call("vsock.close")
    assert engine.stack.store.spare() == 40


def test_whether_the_device_takes_anything_can_be_asked(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    assert engine.stack.deaf() is False and engine.device.out.idle() is True
    sender.write(line, b"x")
    assert engine.stack.deaf() is True and engine.device.out.idle() is False
    sender.take()
    assert engine.stack.deaf() is True  # nobody says that it has been sent
    sender.give_back(list(sender.held))
    assert engine.stack.deaf() is False and engine.device.out.idle() is True
    engine.call("vsock.close")
    assert engine.stack.deaf() is False


def test_what_came_back_is_counted(engine):
    sender = full_of_data(engine)
    sender.give_back(sender.held[:3])
    assert engine.device.reap() == 3
    assert engine.device.reap() == 0


def test_small_packets_under_way_do_not_touch_each_other(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    data = sender.noise(6 * w.INLINE)
    for at in range(0, len(data), w.INLINE):
        assert sender.write(line, data[at : at + w.INLINE]) == w.INLINE
    sender.take()
    assert line.wire == data


def after_all_slots_were_taken(engine):
    """A sender whose slot 0, which is the last one taken, came back last and goes out next."""
    sender = full_of_data(engine)
    for _ in range(5):
        sender.tell(sender.lines[0], w.OP_CREDIT_REQUEST)
    sender.take()
    for line in sender.lines:
        engine.call(f"{line.name}.shutdown", 0)
        engine.call(f"{line.name}.shutdown", 1) if line is not sender.lines[0] else None
        sender.take()
    assert engine.device.out.free() == 0
    sender.calm()
    return sender


def test_every_slot_can_lend_a_buffer(engine):
    sender = after_all_slots_were_taken(engine)
    blocking(sender, sender.lines[0])
    data = sender.noise(2 * LARGE - 100)
    assert engine.program.write_once(sender.lines[0].name, data) == len(data)


@pytest.mark.parametrize("end", ["read", "gone"])
def test_every_slot_can_lend_every_segment(engine, end):
    """Also slot 0 the segment 0, until the device has read it or is gone."""
    sender = after_all_slots_were_taken(engine)
    store = engine.stack.store
    assert store.take_spare(0) == 0
    spare = store.spare()
    store.fill(0, store.address(1), 5000)
    at = engine.call(f"{sender.lines[0].name}.endpoint.at")
    assert engine.device.out.put_segment(at, 0, 5000, 0, 1) == 1
    if end == "read":
        sender.calm()
        assert store.spare() == spare + 1
    else:
        engine.call("vsock.close")
        assert store.spare() == spare + 1 + POSTED


def test_a_buffer_that_came_back_is_nobodys(engine):
    """What the device has next in its place does not count as what that connection lent."""
    sender = Sender(engine, 64)
    line = sender.lines[0]
    blocking(sender, line)
    data = sender.noise(LARGE + 5000)
    assert engine.program.write_once(line.name, data) == len(data)
    assert engine.call(f"{line.name}.send", data) == len(data)
    engine.host.work()
    engine.device.reap()
    assert engine.program.write_once(line.name, data) == len(data)


def test_a_device_that_is_gone_holds_no_buffer_of_a_program(engines):
    engine = engines["source"]  # whose buffers are this process's
    sender = Sender(engine, 64)
    data = sender.noise(2 * LARGE - 100)
    assert engine.call(f"{sender.lines[0].name}.send", data) == len(data)
    sender.take()
    before = sys.getrefcount(data)
    engine.call("vsock.close")
    assert sys.getrefcount(data) == before - 2  # packets


def test_who_waits_for_his_buffer_does_not_sleep_when_it_comes_at_the_last_moment(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    engine.call(f"{line.name}.settimeout", None)
    engine.clock.looks_take(10)
    engine.host.works_at_fence(2)  # the first is that of being shown the packets
    data = sender.noise(2 * LARGE - 100)
    assert engine.program.write_once(line.name, data) == len(data)
    assert engine.machine.waits() == []


def test_splice_moves_nothing_without_a_slot_and_goes_on_later(engine):
    sender = full_of_data(engine)
    line = sender.lines[1]
    data = sender.noise(5000)
    sender.tell(line, w.OP_RW, data)
    assert engine.program.splice(line.name, line.name) == 0
    sender.calm()
    assert engine.program.splice(line.name, line.name) == 5000
    sender.take()
    assert line.wire == data


def test_splice_ends_with_the_peers_last_byte(engine):
    sender = Sender(engine, 64)
    line, to = sender.lines[:2]
    sender.tell(line, w.OP_RW, b"the last")
    sender.tell(line, w.OP_SHUTDOWN, flags=w.SHUTDOWN_SEND)
    assert engine.program.splice(line.name, to.name) == -1
    sender.take()
    assert to.wire == b"the last"
    assert engine.program.splice(line.name, to.name) == -1


def test_splice_ends_when_the_other_side_takes_no_more(engine):
    sender = Sender(engine, 64)
    line, to = sender.lines[:2]
    sender.tell(line, w.OP_RW, b"unwanted")
    sender.tell(to, w.OP_SHUTDOWN, flags=w.SHUTDOWN_RCV)
    assert engine.program.splice(line.name, to.name) == -1
    assert engine.call(f"{line.name}.recv", 100) == b"unwanted"


def test_splice_sends_as_much_as_the_other_side_takes_now(engine):
    sender = Sender(engine, 64)
    line, to = sender.lines[:2]
    sender.tell(to, alloc=1000)
    data = sender.noise(5000)
    sender.tell(line, w.OP_RW, data)
    assert engine.program.splice(line.name, to.name) == 1000
    assert engine.program.splice(line.name, to.name) == 0
    sender.take()
    engine.program.woken()
    sender.tell(to, alloc=1 << 20)
    assert engine.program.woken() == [to.name]
    assert engine.program.splice(line.name, to.name) == 4000
    sender.take()
    assert to.wire == data


def test_a_borrowed_segment_is_free_when_the_device_has_read_all_of_it(engine):
    """One large packet goes on in parts, which come back in the wrong order."""
    sender = Sender(engine, 64)
    line, to = sender.lines[:2]
    spare = engine.stack.store.spare()
    data = sender.noise(60_000)
    sender.tell(line, w.OP_RW, data)
    for part in (10_000, 30_000, 60_000):
        sender.tell(to, alloc=part)
        engine.program.splice(line.name, to.name)
        sender.take()
    while len(to.wire) < len(data):
        sender.tell(to, alloc=1 << 20)
        engine.program.splice(line.name, to.name)
        sender.take()
    assert to.wire == data
    for head in sorted(sender.held, reverse=True):
        assert engine.stack.store.spare() == spare - 1
        sender.give_back([head])
        engine.device.reap()
    assert engine.stack.store.spare() == spare


@pytest.mark.parametrize("n", [100, w.INLINE + 1])
def test_who_was_told_to_try_again_hears_of_slots(engine, n):
    """EAGAIN for want of slots, not of credit: a Ready wakes the program once there are some."""
    sender = Sender(engine, 16)
    line = sender.lines[0]
    while sender.write(line, sender.noise(n)):
        pass
    assert sender.room(line)[0] > n
    engine.program.woken()
    sender.take()
    assert engine.program.woken() == []
    sender.give_back(sorted(sender.held))
    engine.transport.fire(TX)
    assert engine.program.woken() == [line.name]
    assert sender.write(line, sender.noise(n)) == n


def test_the_rest_of_a_message_waits_for_slots(engine):
    """A socket that never waits does, once the first part of a message has gone out."""
    road = Road(engine, sizes=[128, 32, 128])
    key = 2, 6000, 1235
    road.send(Packet(key, w.OP_REQUEST, SEQPACKET, alloc=1 << 20))
    name = road.accept(1235)
    for option in MAX_SIZE, SIZE_OPTION:
        engine.call(f"{name}.setsockopt", numbers.AF_VSOCK, option, 1 << 20)
    engine.host.work()
    engine.host.took()
    engine.host.works_while_the_program_sleeps()
    engine.clock.looks_take(100)
    data = road.noise(60_000) * 15
    assert engine.call(f"{name}.send", data) == len(data)
    engine.host.work()
    sent = engine.host.took()
    assert b"".join(each[2] for each in sent) == data
    assert [each[1][w.FLAGS] for each in sent] == [0] * (len(sent) - 1) + [w.SEQ_EOM]


def test_a_message_that_is_copied_in_small_parts_ends_with_the_last(engine):
    """There is no receive buffer to spare for a copy."""
    road = Road(engine)
    road.send(Packet((2, 6000, 1235), w.OP_REQUEST, SEQPACKET, alloc=SIZE))
    name = road.accept(1235)
    while engine.stack.store.spare() > 8:
        engine.stack.store.take_large()
    data = road.noise(2 * w.INLINE + 100)
    assert engine.program.write_once(name, data) == len(data)
    sent = [(each[2], each[1][w.FLAGS]) for each in engine.host.collect(True)]
    assert sent == [
        (data[: w.INLINE], 0),
        (data[w.INLINE : 2 * w.INLINE], 0),
        (data[2 * w.INLINE :], w.SEQ_EOM),
    ]


def test_a_message_without_room_is_not_begun_with_dontwait(engine):
    road = Road(engine)
    road.send(Packet((2, 6000, 1235), w.OP_REQUEST, SEQPACKET, alloc=1000))
    name = road.accept(1235)
    engine.call(f"{name}.settimeout", None)
    assert engine.call(f"{name}.send", bytes(600)) == 600
    answer = engine.attempt(f"{name}.send", bytes(600), numbers.MSG_DONTWAIT)
    assert answer == [None, EAGAIN]
    assert [len(each[2]) for each in engine.host.collect(True)] == [600]


def blocking(sender, line):
    sender.engine.host.works_while_the_program_sleeps()
    sender.engine.call(f"{line.name}.settimeout", None)


@pytest.mark.parametrize("spare", [40, 8])
def test_a_buffer_that_changes_is_the_programs_again_when_send_returns(engine, spare):
    """The last part is copied, if a receive buffer can be spared for that, else lent, too."""
    sender = Sender(engine, 64)
    while engine.stack.store.spare() > spare:
        engine.stack.store.take_large()
    left = engine.stack.store.spare()
    blocking(sender, sender.lines[0])
    data = sender.noise(2 * LARGE - 100)
    assert engine.program.write_once(sender.lines[0].name, data) == len(data)
    sleeps = len(engine.machine.waits())
    assert sleeps == 1  # until the first part, and without a spare buffer the last, came back
    for _, header, payload, parts in engine.host.took():
        sender._remember(header, payload, parts)
    sender.held = engine.host.has()
    sender.calm()
    assert sender.lines[0].wire == data
    assert engine.stack.store.spare() == left


@pytest.mark.parametrize("spare", [40, 8])
@pytest.mark.parametrize("seconds", [0, 0.5])
def test_who_does_not_wait_for_ever_is_not_kept_by_the_device(engine, seconds, spare):
    """It takes nothing and gives nothing back."""
    sender = Sender(engine, 64)
    while engine.stack.store.spare() > spare:
        engine.stack.store.take_large()
    line = sender.lines[0]
    engine.call(f"{line.name}.settimeout", seconds)
    start = engine.clock.ticks_us()
    data = sender.noise(2 * LARGE - 100)
    assert engine.program.write_once(line.name, data) == len(data)
    assert engine.machine.waits() == []
    sender.tell(line, alloc=1 << 30)
    assert engine.attempt("program.write_once", line.name, data)[0] > 0
    answer = engine.attempt("program.write_once", line.name, data)
    while answer[0]:
        answer = engine.attempt("program.write_once", line.name, data)
    assert answer == [None, ETIMEDOUT if seconds else EAGAIN]
    assert engine.clock.ticks_us() - start < 3 * 1_000_000 * seconds + 10_000
    line.sent = line.wire
    sender.take()
    assert line.wire[: len(data)] == data


def test_a_buffer_whose_send_was_interrupted_is_the_devices_until_it_gives_it_back(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    engine.call(f"{line.name}.settimeout", None)
    engine.plan([[], [["raise_interrupt"]]])
    data = sender.noise(2 * LARGE - 100)
    with pytest.raises(GuestError) as caught:
        engine.program.send_buffer(line.name, data)
    assert caught.value.name == "Interrupt"
    engine.collect_garbage()
    sender.take()
    assert line.wire == data
    engine.call(f"{line.name}.settimeout", 0)
    assert engine.program.send_buffer(line.name, b"x" * 5000) == 5000  # does not wait for it
    engine.collect_garbage()
    sender.take()
    engine.host.complete(sender.held)  # which looks whether it is still the same
    assert engine.device.reap() == 3
    assert not engine.device.out.lends()


def test_bytes_are_lent_and_nobody_waits_for_them(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    blocking(sender, line)
    data = sender.noise(2 * LARGE - 100)
    assert engine.call(f"{line.name}.send", data) == len(data)
    assert engine.machine.waits() == []
    sender.take()
    assert line.wire == data
    engine.collect_garbage()
    sender.calm()  # which looks whether they are still the same


@pytest.mark.parametrize("kind", ["bytes", "bytearray"])
def test_a_blocking_send_goes_on_as_credit_comes(engine, kind):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    spare = engine.stack.store.spare()
    sender.tell(line, alloc=100)
    data = sender.noise(60_000)
    engine.call(f"{line.name}.settimeout", None)
    rooms = [0, 1000, 30_000, 60_000, 200_000]
    plan = []
    for room in rooms:
        header = [2, 0, CID, 0, line.port, 1234, 0, STREAM | w.OP_CREDIT_UPDATE << 16, 0, room]
        head = sender.heads.pop(0)
        give = ["host.give", [[head, [*header, 0], b"", 44]]]
        plan.append([["host.work"], give, ["transport.fire", RX]])
    engine.plan(plan)
    engine.host.works_while_the_program_sleeps()
    path = [f"{line.name}.send", data]
    if kind == "bytearray":
        path = ["program.write_once", line.name, data]
    assert engine.call(*path) == len(data)
    engine.host.work()
    for _, header, payload, parts in engine.host.took():
        sender._remember(header, payload, parts)
    assert line.wire == data
    assert w.OP_CREDIT_REQUEST in line.ops  # the peer was asked, once, when it said nothing
    engine.device.reap()
    assert engine.stack.store.spare() == spare


def test_a_send_that_times_out_gives_back_what_it_staged(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    spare = engine.stack.store.spare()
    sender.tell(line, alloc=0)
    engine.call(f"{line.name}.settimeout", 1)
    with pytest.raises(GuestError) as caught:
        engine.program.write_once(line.name, sender.noise(60_000))
    assert caught.value.name.endswith("TimeoutError")
    assert caught.value.arguments == ["timed out"]
    engine.program.forget(line.name)
    sender.calm()
    assert engine.stack.store.spare() == spare


def test_a_send_ends_with_epipe_when_the_peer_goes_meanwhile(engine):
    sender = Sender(engine, 64)
    line = sender.lines[0]
    sender.tell(line, alloc=100)
    engine.call(f"{line.name}.settimeout", None)
    header = [2, 0, CID, 0, line.port, 1234, 0, STREAM | w.OP_RST << 16, 0, 0, 0]
    engine.plan([[["host.give", [[sender.heads[0], header, b"", 44]]], ["transport.fire", RX]]])
    with pytest.raises(GuestError) as caught:
        engine.call(f"{line.name}.sendall", sender.noise(5000))
    assert caught.value.errno == EPIPE


def test_a_message_goes_as_a_whole_or_not_at_all(engine):
    sender = Sender(engine, 16, 0)
    sender.lines = [Line(sender.open(1235, 5000), 5000)]
    line = sender.lines[0]
    engine.many(["device.reap"], ["host.refresh"])
    data = sender.noise(2 * LARGE + 5)
    assert engine.attempt(f"{line.name}.send", data) == [len(data), None]
    found = engine.host.collect(True)
    assert [len(payload) for _, _, payload, _ in found] == [LARGE, LARGE, 5]
    assert [header[w.FLAGS] for _, header, _, _ in found] == [0, 0, w.SEQ_EOM]
    assert b"".join(payload for _, _, payload, _ in found) == data
    assert engine.attempt(f"{line.name}.send", bytes(SIZE)) == [None, EAGAIN]
    assert engine.attempt(f"{line.name}.send", bytes(SIZE + 1)) == [None, 90]
    assert engine.attempt(f"{line.name}.send", b"x", 0x80) == [1, None]  # MSG_EOR
    [(_, header, _, _)] = engine.host.collect(True)
    assert header[w.FLAGS] == w.SEQ_EOM | w.SEQ_EOR
