# SPDX-License-Identifier: MIT
"""How long waits spin: what they learn, and what that costs at most, with peers of several kinds.

A peer here is how long its answer takes. On a machine of its own it answers whatever we do; where
it needs our processor it answers so long after we have gone to sleep.
"""

from itertools import pairwise

import pytest
import vsock_bench
from hypothesis import given
from hypothesis import strategies as st

patience = vsock_bench.module("vsock.patience")
MOST, SHORT, LEAST, RAREST = patience.MOST, patience.SHORT, patience.LEAST, patience.RAREST
PER_MISS, EXCUSES, ROW = patience.PER_MISS, patience.EXCUSES, patience.ROW
EXCUSED = EXCUSES // PER_MISS  # waits in vain before anything is learned from them

soon = st.integers(0, MOST - 1)
late = st.integers(MOST, 10_000_000)


def wait_beside(learned, answer):
    """One wait for an answer that comes by itself after so long; what spinning has wasted."""
    if answer < learned.spin:
        if not learned.sure:
            learned.found(answer)
        return 0
    wasted = learned.spin
    learned.slept(answer - wasted)
    return wasted


def wait_for_the_processor(learned, answer):
    """The same of a peer that has none before we sleep."""
    wasted = learned.spin
    learned.slept(answer)
    return wasted


def experienced(events):
    """What is learned from any mixture of waits."""
    learned = patience.Patience()
    for beside, answer in events:
        (wait_beside if beside else wait_for_the_processor)(learned, answer)
    return learned


experience = st.lists(st.tuples(st.booleans(), st.integers(0, 1_000_000)), max_size=400).map(
    experienced
)


def test_who_has_learned_nothing_spins_each_time_as_long_as_it_may():
    learned = patience.Patience()
    assert (learned.spin, learned.sure) == (MOST, True)


@given(experience)
def test_a_spin_is_never_longer_than_most_nor_shorter_than_a_look(learned):
    assert LEAST <= learned.spin <= MOST


@given(st.lists(soon, min_size=3000, max_size=3000))
def test_a_peer_that_needs_our_processor_is_held_up_for_a_moment(answers):
    learned = patience.Patience()
    wasted = [wait_for_the_processor(learned, answer) for answer in answers]
    tries = [number for number, spin in enumerate(wasted) if spin == MOST]
    assert all(spin <= SHORT for spin in wasted if spin != MOST)
    # 1, then 3 and so on up to RAREST + 1 waits from one to the next.
    gaps = [after - before for before, after in pairwise(tries)]
    assert gaps == sorted(gaps)
    assert set(gaps[7 + EXCUSED :]) == {RAREST + 1}
    assert len(tries) <= 7 + EXCUSED + len(answers) // RAREST


@given(experience, soon)
def test_on_a_quiet_machine_every_wait_spins_again_before_long(learned, answer):
    for _ in range(2 * RAREST + 2):
        wait_beside(learned, answer)
    assert learned.spin == MOST
    for _ in range(ROW):
        assert wait_beside(learned, answer) == 0
    assert learned.sure
    assert wait_beside(learned, answer) == 0


@given(experience, st.lists(late.map(lambda us: us + MOST), min_size=12))
def test_a_peer_that_is_slow_wastes_half_as_much_each_time(learned, answers):
    wasted = [wait_beside(learned, answer) for answer in answers]
    assert all(after <= max(LEAST, before // 2) for before, after in pairwise(wasted))
    assert sum(wasted) < 2 * MOST + len(wasted)


@given(late)
def test_after_a_slow_answer_the_next_fast_one_is_all_that_is_slept_for(answer):
    learned = patience.Patience()
    while learned.spin > LEAST:
        wait_beside(learned, answer + MOST)
    assert wait_beside(learned, SHORT) == LEAST
    assert wait_beside(learned, SHORT) == 0


between = st.integers(SHORT + 1, MOST - 1)  # what a long spin finds, and a short one does not


@given(experience, st.lists(st.tuples(between, between, soon), min_size=300, max_size=300))
def test_a_wait_in_vain_among_three_costs_the_others_nothing(learned, answers):
    """As in connections one after the other: answers come soon, the next connection later."""
    for first, _, _ in answers:
        wait_beside(learned, first)
    for first, second, more in answers:
        assert wait_beside(learned, first) == 0
        assert wait_beside(learned, second) == 0
        assert wait_beside(learned, MOST + more) == MOST


@given(st.lists(st.tuples(st.integers(0, SHORT), soon), min_size=1000, max_size=1000))
def test_what_a_short_spin_would_have_found_excuses_nothing(answers):
    """On one processor: some answers are there before we look, others need it."""
    learned = patience.Patience()
    wasted = 0
    for there, answer in answers:
        wait_beside(learned, there)
        wasted += wait_for_the_processor(learned, answer)
    assert wasted <= (SHORT + MOST / RAREST) * len(answers) + (8 + EXCUSED) * MOST


@pytest.mark.parametrize("failures", range(1, 9))
def test_each_row_of_spins_that_pay_halves_the_time_to_the_next_try(failures):
    """A row is as long as there are waits from one try to the next; ROW more, and it is sure."""
    learned = patience.Patience()
    for _ in range(EXCUSED):
        learned.slept(0)
    for _ in range(failures):
        learned.spin = MOST
        learned.slept(0)
    rarest = min(1 << failures, RAREST)
    paid = 0
    while not learned.sure:
        learned.found(SHORT)
        paid += 1
    assert paid == 2 * rarest - 2 + ROW


# -- the table, row by row

QUICK, FAR = SHORT, SHORT + 1  # answers that a short spin finds, and that only a long one does


def told(*steps):
    """What is learned from (us that spins took to find news, times), or the us of a sleep."""
    learned = patience.Patience()
    for step in steps:
        if isinstance(step, tuple):
            us, times = step
            for _ in range(times):
                learned.found(us)
        else:
            learned.slept(step)
    return learned


SOON = MOST - 1  # a sleep that was over soon
IN_VAIN = [SOON] * EXCUSED  # all excuses used up


def spins(learned, sleeps):
    """How long it spins after each of so many sleeps that were over soon."""
    found = []
    for _ in range(sleeps):
        learned.slept(SOON)
        found.append(learned.spin)
    return found


def test_at_first_some_spins_in_vain_are_excused():
    assert spins(patience.Patience(), EXCUSED + 1) == [MOST] * EXCUSED + [SHORT]


def test_a_spin_that_only_a_long_one_wins_is_half_of_an_excuse():
    assert spins(told(*IN_VAIN, (FAR, PER_MISS - 1)), 1) == [SHORT]
    assert spins(told(*IN_VAIN, (FAR, PER_MISS)), 2) == [MOST, SHORT]
    assert spins(told(*IN_VAIN, (QUICK, PER_MISS)), 1) == [SHORT]


def test_so_many_excuses_are_remembered_and_no_more():
    assert spins(told(SOON, (FAR, 1), (FAR, 9)), EXCUSED + 1) == [MOST] * EXCUSED + [SHORT]
    assert spins(told(SOON, (FAR, 9), *IN_VAIN, (FAR, PER_MISS - 1)), 1) == [SHORT]


def test_a_row_of_spins_that_pay_makes_sure_and_gives_all_excuses_back():
    assert not told(SOON, (QUICK, ROW - 1)).sure
    learned = told(SOON, (QUICK, ROW))
    assert learned.sure
    assert spins(learned, EXCUSED + 1) == [MOST] * EXCUSED + [SHORT]


def test_the_next_row_begins_anew():
    assert not told(SOON, (QUICK, ROW), SOON, (QUICK, ROW - 1)).sure
    assert told(SOON, (QUICK, ROW), SOON, (QUICK, ROW)).sure


def test_a_short_spin_in_vain_is_not_excused():
    """It would not have been a long one's, however many of those have won."""
    learned = told(*IN_VAIN, SOON, SOON, SOON, SOON, (FAR, PER_MISS))
    assert learned.spin == SHORT
    assert spins(learned, 4) == [SHORT, SHORT, SHORT, MOST]


def test_an_excuse_makes_a_spin_whole_again_that_a_slow_peer_has_made_shorter():
    learned = told(MOST)
    assert learned.spin == MOST // 2
    assert spins(learned, 1) == [MOST]
