# SPDX-License-Identifier: MIT
"""Who looks for packets: each row of attention.py's table, then any order of everything.

What the device sees is whether the driver wants an interrupt, and what is in its rings; what the
machine sees are timers. Nobody may be forgotten: see the model's `nobody_waits_for_ever`.
"""

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st
from profiles import examples
from road import CID, Road
from road_model import SIZE, STREAM, w

RX = 0
IDLE_US = 2000  # a program that polls does so more often than that
SPIN_US = 600
READING, SENDING = 0, 1
TO_NOBODY = [2, 0, CID, 0, 5000, 99, 0, STREAM | w.OP_RST << 16, 0, SIZE, 0]


class Guest(Road):
    """A device whose packets are RSTs to nobody: they need no answer."""

    unsure: set[int]  # kinds of waits that have not paid

    def come(self, count=1):
        """Packets come; whether the device should interrupt, which it does not do yet."""
        for head, address, _, _ in self.engine.host.refresh():
            self.posted[head] = address
        assert count <= len(self.posted), "the driver shows no more buffers"
        heads = sorted(self.posted)[:count]
        given = [[head, TO_NOBODY, b"", w.HEADER_LEN] for head in heads]
        for head in heads:
            del self.posted[head]
        return self.engine.many(["host.give", given], ["ring", RX, "wants_interrupt"])[1]

    def armed(self):
        return self.engine.ring(RX, "armed")

    def timer(self):
        """Microseconds until the timer looks, None if it is not set."""
        return self.engine.clock.until_timer()

    def pass_us(self, micros):
        self.engine.clock.advance(micros)

    def poll(self, micros=SPIN_US):
        return self.engine.device.poll(micros)

    def all_taken(self):
        """What came has been taken, without a poll."""
        return self.engine.device.poll() == 0

    def polled(self):
        """Bring it to POLLED."""
        self.come()
        assert self.poll() == 1

    def interrupt(self):
        self.engine.transport.fire(RX)


@pytest.fixture
def guest(engine):
    guest = Guest(engine)
    guest.unsure = set()
    return guest


@pytest.fixture
def without(engine):
    """A guest whose device has no interrupts."""
    return Guest(engine, vectors=0)


# -- the table, row by row


def test_it_begins_armed(guest):
    assert guest.timer() is None  # or it would look again, without interrupts


@pytest.mark.parametrize("before", ["armed", "polled"])
def test_a_program_that_polls_and_finds_nothing_in_time_arms_it(guest, before):
    if before == "polled":
        guest.polled()
    guest.engine.clock.looks_take(10)
    start = guest.engine.clock.ticks_us()
    assert guest.poll() == 0
    assert guest.armed()
    assert SPIN_US <= guest.engine.clock.ticks_us() - start <= SPIN_US + 50


def test_a_program_that_polls_and_finds_packets_makes_it_polled_and_sets_the_timer(guest):
    guest.polled()
    assert guest.timer() == IDLE_US
    assert not guest.armed()
    assert not guest.come()  # no interrupt for these


def test_who_may_not_wait_takes_what_is_there_and_looks_no_longer(guest):
    guest.come()
    guest.engine.call("stack.waiter.wait", 0)
    assert guest.all_taken()
    assert guest.timer() is None  # or it would look again, without interrupts


def test_a_program_that_waits_for_packets_is_not_interrupted_by_them(guest):
    [head, *_] = guest.engine.host.heads()
    guest.engine.host.gives_while_it_looks([[head, TO_NOBODY, b"", w.HEADER_LEN]])
    assert guest.poll() == 1
    assert guest.engine.host.asked() is False


def test_a_program_that_waited_long_many_times_still_arms_it(guest):
    guest.engine.clock.looks_take(10)
    for _ in range(12):  # each time it spins half as long before it sleeps
        guest.engine.call("stack.waiter.wait", 1000)
    guest.polled()
    guest.engine.call("stack.waiter.wait", 100)
    assert guest.armed()


def test_a_packet_that_comes_while_interrupts_are_asked_for_is_taken_at_once(guest):
    guest.engine.clock.looks_take(10)
    [head, *_] = guest.engine.host.heads()
    guest.engine.host.gives_at_fence([[head, TO_NOBODY, b"", w.HEADER_LEN]])
    assert guest.poll() == 1
    assert guest.timer() == IDLE_US


def test_packets_found_while_polled_are_counted_and_the_timer_stays(guest):
    guest.polled()
    guest.pass_us(500)
    guest.come(3)
    assert guest.poll() == 3
    assert guest.timer() == IDLE_US - 500
    assert not guest.armed()


def test_the_timer_finds_packets_counted_and_is_set_again_for_twice_as_long(guest):
    guest.polled()
    for times in 1, 2, 4, 8, 8:
        assert guest.timer() == times * IDLE_US and not guest.armed()
        guest.pass_us(times * IDLE_US - 1)
        guest.polled()
        guest.pass_us(1)


@pytest.mark.parametrize("how", ["polls no more", "is interrupted"])
def test_the_timer_is_short_again_once_it_found_none_counted(guest, how):
    guest.polled()
    guest.pass_us(IDLE_US)
    guest.come()
    if how == "is interrupted":
        guest.interrupt()
    guest.pass_us(2 * IDLE_US)
    assert guest.armed() and guest.timer() is None
    guest.polled()
    assert guest.timer() == IDLE_US


def test_the_timer_stays_long_for_a_program_that_polls_again_and_again_though_in_vain_at_times(
    guest,
):
    guest.engine.clock.looks_take(SPIN_US)
    guest.polled()
    guest.pass_us(IDLE_US)
    guest.polled()
    assert guest.poll() == 0 and guest.armed()
    guest.pass_us(2 * IDLE_US)
    assert guest.armed() and guest.timer() is None
    guest.polled()
    assert guest.timer() == 4 * IDLE_US


def test_the_timer_finds_none_counted_and_arms_it_and_looks(guest):
    guest.polled()
    guest.pass_us(IDLE_US)
    guest.come(2)
    guest.pass_us(2 * IDLE_US - 1)
    assert not guest.armed()
    guest.pass_us(1)
    assert guest.timer() is None  # or it would look again, without interrupts
    assert guest.all_taken()


def test_the_timer_after_an_interrupt_changes_nothing(guest):
    guest.polled()
    guest.interrupt()
    assert guest.armed() and guest.timer() == IDLE_US
    guest.come()
    guest.pass_us(IDLE_US)
    assert guest.timer() is None
    assert guest.poll() == 1  # which nobody has taken: the interrupt is under way


def test_a_timer_that_is_set_stays_so_when_programs_poll_again(guest):
    guest.polled()
    guest.pass_us(500)
    guest.interrupt()
    guest.polled()
    assert not guest.armed() and guest.timer() == IDLE_US - 500


@pytest.mark.parametrize("before", ["armed", "polled"])
def test_an_interrupt_takes_what_is_there_and_arms_it(guest, before):
    if before == "polled":
        guest.polled()
    guest.come(2)
    guest.interrupt()
    assert guest.armed()
    assert guest.all_taken()


def test_a_program_that_waits_in_its_own_way_arms_it(guest):
    assert guest.engine.device.attend() is False
    guest.polled()
    assert guest.engine.device.attend() is False  # nothing came meanwhile
    assert guest.armed()
    guest.polled()
    guest.come(2)
    assert guest.engine.device.attend() is True
    assert guest.armed()
    assert guest.all_taken()


def test_a_program_that_waits_in_its_own_way_hears_of_packets_without_end(guest):
    guest.polled()
    guest.engine.host.floods(TO_NOBODY, b"")
    guest.come(8)
    assert guest.engine.device.attend() is True
    assert not guest.armed()


def spun(guest, sleep=1000, kind=READING):
    """How long a program spins that is woken by something after so long a sleep."""
    engine = guest.engine
    engine.plan([[["clock.advance", sleep]]])
    start = engine.clock.now()
    engine.call("stack.waiter.wait", 10_000, None, kind)
    looks = 6  # as it begins to spin, once it has, around its sleep, and around the machine's
    if kind in guest.unsure:
        looks += 1  # how long a spin takes that may pay
    guest.unsure.add(kind)
    return engine.clock.now() - start - sleep - looks


def test_a_spin_is_half_as_long_after_a_long_sleep_and_whole_after_a_short_one(guest):
    guest.engine.clock.looks_take(1)
    assert [spun(guest) for _ in range(11)] == [600, 300, 150, 75, 37, 18, 9, 4, 2, 1, 1]
    assert [spun(guest, sleep) for sleep in (SPIN_US - 3, SPIN_US - 4, 1000)] == [1, 1, 600]


def test_each_kind_of_wait_learns_for_itself(guest):
    guest.engine.clock.looks_take(1)
    assert [spun(guest), spun(guest), spun(guest, kind=SENDING)] == [600, 300, 600]


def test_a_wait_that_was_over_for_no_news_teaches_nothing(guest):
    engine = guest.engine
    engine.clock.looks_take(1)
    assert [spun(guest), spun(guest)] == [600, 300]
    engine.call("stack.waiter.wait", 10)
    assert spun(guest) == 150


def test_who_has_spun_in_vain_does_not_spin_again_before_he_sleeps(guest):
    engine = guest.engine
    engine.clock.looks_take(1)
    assert engine.call("stack.waiter.spin") is False
    assert spun(guest) < 1
    assert spun(guest) == 300


@pytest.mark.parametrize(
    "between",
    [
        ["wait", 0],
        ["wait_sent", 0],
        ["wait", 10, None, SENDING],
        ["spin", SENDING],
    ],
    ids=["a wait of no time", "one for a buffer", "another kind of wait", "another kind of spin"],
)
def test_what_comes_between_ends_a_spin_in_vain(guest, between):
    """The sleep behind a wait says what its own spin was worth, not what another one was."""
    way, *arguments = between
    guest.engine.clock.looks_take(1)
    assert guest.engine.call("stack.waiter.spin") is False
    guest.engine.call(f"stack.waiter.{way}", *arguments)
    assert spun(guest) == SPIN_US


def test_a_spin_in_vain_long_ago_is_forgotten(guest):
    """Such as that of a send whose time was over."""
    guest.engine.clock.looks_take(1)
    assert guest.engine.call("stack.waiter.spin") is False
    guest.pass_us(SPIN_US)
    assert spun(guest) == SPIN_US + 1  # the look at how long ago


def test_who_waits_for_his_buffer_spins_before_he_sleeps_and_sleeps_no_longer_than_he_may(guest):
    engine = guest.engine
    engine.clock.advance(5000)
    engine.clock.looks_take(1)
    for left, spin in (1000, SPIN_US), (0, SPIN_US // 2):
        start = engine.clock.now()
        engine.call("stack.waiter.wait_sent", left)
        assert engine.clock.now() - start == spin + 5 + left
    assert engine.machine.waits() == [1000, 0]


@pytest.mark.parametrize("way", ["wait", "wait_sent"])
def test_who_may_wait_for_ever_sleeps_half_a_second_at_a_time(guest, way):
    guest.engine.clock.looks_take(10)
    guest.engine.call(f"stack.waiter.{way}")
    assert guest.engine.machine.waits() == [500_000]


def test_packets_without_end_make_it_polled(guest):
    """An interrupt, and each buffer is full again as soon as it is shown."""
    guest.engine.host.floods(TO_NOBODY, b"")
    guest.come(8)
    before = guest.engine.ring(RX, "done") - 8
    guest.interrupt()
    assert guest.timer() == IDLE_US
    # The interrupt's own look and sixteen more, of 64 packets each: Ctrl-C must get through.
    taken = guest.engine.ring(RX, "done") - before
    assert 17 * 64 <= taken <= 17 * 64 + 16
    assert guest.poll(0) == 64
    guest.engine.host.floods([], b"")
    guest.pass_us(IDLE_US)  # none was counted: it arms, and takes the rest
    assert guest.timer() is None  # or it would look again, without interrupts
    assert guest.all_taken()


@pytest.mark.parametrize("look_us, looks", [(499, 3), (500, 3), (501, 2), (1000, 2), (1001, 1)])
def test_packets_without_end_do_not_hold_a_program_up_for_long(guest, look_us, looks):
    """However long each takes: what a program has to do about them waits for it."""
    guest.engine.clock.looks_take(look_us)
    guest.engine.host.floods(TO_NOBODY, b"")
    guest.come(8)
    before = guest.engine.ring(RX, "done") - 8
    guest.interrupt()
    assert guest.timer() is not None and not guest.armed()
    taken = guest.engine.ring(RX, "done") - before
    assert (1 + looks) * 64 <= taken <= (1 + looks) * 64 + 16


def test_a_closed_device_has_no_timer_and_takes_nothing(guest):
    guest.polled()
    guest.engine.vsock.close()
    assert guest.timer() is None
    assert guest.poll() == 0
    assert guest.engine.device.attend() is True  # nothing is to be waited for


def test_a_device_that_breaks_while_the_timer_looks_is_remembered(guest):
    guest.polled()
    guest.pass_us(IDLE_US)
    guest.engine.host.put(127, 0)
    guest.pass_us(2 * IDLE_US)
    assert "used id is not the head" in guest.engine.host.broken()
    assert guest.timer() is None


def test_without_interrupts_who_may_not_wait_does_not_sleep(without):
    without.engine.clock.looks_take(1)
    without.engine.call("stack.waiter.wait_sent", 0)
    assert without.engine.machine.waits() == [0]


def test_without_interrupts_who_waits_in_his_own_way_hears_of_each_packet(without):
    assert without.engine.device.attend() is False
    without.come()
    assert without.engine.device.attend() is True
    assert without.engine.device.attend() is False


def test_without_interrupts_nothing_is_ever_polled(without):
    assert not without.engine.device.interrupts()
    without.polled()
    assert without.timer() is None and without.armed()
    without.come(2)
    assert without.engine.device.attend() is True
    assert without.engine.device.attend() is False


# -- any order of everything

micros = st.sampled_from([1, 500, IDLE_US - 1, IDLE_US, 5000])
steps = st.lists(
    st.one_of(
        st.tuples(st.just("come"), st.integers(1, 5)),
        st.tuples(st.just("poll"), st.sampled_from([0, SPIN_US])),
        st.tuples(st.just("attend"), st.just(0)),
        st.tuples(st.just("interrupt"), st.just(0)),
        st.tuples(st.just("pass_us"), micros),
    ),
    max_size=30,
)


class Table:
    """The table of attention.py as a model."""

    def __init__(self):
        self.now = 0
        self.polled = False
        self.armed = True  # the next packet asks for an interrupt
        self.asked = False  # one did, and it has not come yet
        self.due = None  # when the timer looks
        self.counted = False
        self.idle = IDLE_US  # until the timer looks the next time
        self.waiting = 0  # packets in the ring

    def come(self, count):
        self.waiting += count
        asked, self.armed = self.armed, False
        self.asked |= asked
        return asked

    def arm(self):
        """Interrupts on, and a look; whether packets came."""
        self.polled = False
        self.armed = True
        news, self.waiting = self.waiting > 0, 0
        return news

    def poll(self, spin):
        taken, self.waiting = self.waiting, 0
        if spin and taken:
            self.counted = True
            if not self.polled:
                self.polled = True
                self.due = self.due or self.now + self.idle
        elif spin:
            self.now += 2 * SPIN_US  # two looks at the clock
            self.arm()
        return taken

    def attend(self, _):
        return self.polled and self.arm()

    def interrupt(self, _):
        self.asked = False
        self.arm()

    def pass_us(self, micros):
        end = self.now + micros
        while self.due is not None and self.due <= end:
            self.now, self.due = max(self.now, self.due), None
            self.idle = min(2 * self.idle, 8 * IDLE_US) if self.counted else IDLE_US
            counted, self.counted = self.counted, False
            if self.polled and counted:
                self.due = self.now + self.idle
            elif self.polled:
                self.arm()
        self.now = end

    @property
    def timer(self):
        return None if self.due is None else max(0, self.due - self.now)


def follow(guest, table, step, argument):
    """One step, of both; they must answer the same."""
    if step == "come":
        argument = min(argument, 8 - table.waiting)
    if not argument and step == "come" or step == "interrupt" and not table.asked:
        return
    wanted = getattr(table, step)(argument)
    if step == "poll":
        # A spin ends when time has passed; a timer that is due then looks later.
        guest.engine.clock.looks_take(SPIN_US)
        assert guest.poll(argument) == wanted
        guest.engine.clock.looks_take(0)
    elif step == "attend":
        assert guest.engine.device.attend() == wanted
    elif step == "interrupt":
        guest.interrupt()
    else:
        assert getattr(guest, step)(argument) == wanted


def test_any_order_of_everything_follows_the_table_and_no_packet_waits_for_ever(engine):
    @settings(max_examples=examples(300))
    @given(steps)
    def run(steps):
        guest = Guest(engine)
        guest.engine.clock.advance(-guest.engine.clock.now())
        table = Table()
        for step, argument in steps:
            note(f"{step} {argument}")
            follow(guest, table, step, argument)
            assert guest.armed() is table.armed
            assert guest.timer() == table.timer
            assert table.waiting == 0 or table.asked or table.timer is not None
        if table.asked:
            guest.interrupt()
        guest.pass_us(16 * IDLE_US)
        assert guest.all_taken()

    run()
