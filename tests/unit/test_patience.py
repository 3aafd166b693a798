# SPDX-License-Identifier: MIT
"""How long waits spin: what they learn, and what that costs at most, with peers of several kinds.

A peer here is how long its answer takes. On a machine of its own it answers whatever we do; where
it needs our processor it answers so long after we have gone to sleep.
"""

from itertools import pairwise

import vsock_bench
from hypothesis import given
from hypothesis import strategies as st

patience = vsock_bench.module("vsock.patience")
MOST, SHORT, LEAST, RAREST = patience.MOST, patience.SHORT, patience.LEAST, patience.RAREST

soon = st.integers(0, MOST - 1)
late = st.integers(MOST, 10_000_000)


def wait_beside(learned, answer):
    """One wait for an answer that comes by itself after so long; what spinning has wasted."""
    if answer < learned.spin:
        if not learned.sure:
            learned.found()
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
    assert set(gaps[7:]) == {RAREST + 1}
    assert len(tries) <= 7 + len(answers) // RAREST


@given(experience, soon)
def test_on_a_quiet_machine_every_wait_spins_again_before_long(learned, answer):
    for _ in range(2 * RAREST + 2):
        wait_beside(learned, answer)
    assert (learned.spin, learned.sure) == (MOST, True)
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
