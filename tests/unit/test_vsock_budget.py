# SPDX-License-Identifier: MIT
"""What each connection is promised, in blocks: a budget of 1024 of them, by hand.

test_vsock_stack.py has peers that use what they were promised.
"""

from types import SimpleNamespace

import pytest
import vsock_bench

w = vsock_bench.module("vsock.words")
control = vsock_bench.module("vsock.control")
budget_module = vsock_bench.module("vsock.budget")
store_module = vsock_bench.module("vsock.store")
types = vsock_bench.module("sockets.types")
STREAM, SEQPACKET = types.STREAM, types.SEQPACKET
CHUNK = 1 << 18
TOTAL = 1024
MOST = TOTAL // 3  # connections, each of which has a block for the least window
POOL = TOTAL - MOST - 1  # what is left over; one is for the large buffer
LEAVE_WIDE, LEAVE_STUCK = POOL // 2, POOL // 8


class Guest:
    """A store and its budget, with nobody connected."""

    def __init__(self, chunks=16):
        vsock_bench.memory.clear()
        self.store = store_module.Store(vsock_bench.DMABuffer, 1, chunks * CHUNK)
        self.budget = budget_module.Budget(self.store)

    def connection(self, window, kind=STREAM):
        """Its words, as the peer knows them."""
        c = control.control_block(33, 1000, 2, 2000, kind, window)
        assert self.budget.begin(c) == 1
        control.accept(c, 1 << 18, 0)
        return c

    def left(self):
        words = self.store._words
        return words[w.STORE_TOTAL] - words[w.STORE_PROMISED] - words[w.STORE_RESERVED]

    def leave(self, blocks):
        """Others are promised all but so many."""
        assert self.store.promise(self.left() - blocks)


@pytest.fixture
def guest():
    return Guest()


def windows(c):
    return c[w.BUF_ALLOC], c[w.BASE], c[w.EDGE]


def test_a_third_of_the_blocks_may_be_connections_and_parts_of_these_wait_or_linger(guest):
    budget = guest.budget
    assert (budget.connections, budget.pending, budget.lingering) == (341, 170, 85)
    assert guest.left() == POOL
    assert not budget.short


def test_without_blocks_one_may_wait_and_one_may_linger():
    budget = Guest(0).budget
    assert (budget.connections, budget.pending, budget.lingering) == (0, 1, 1)


@pytest.mark.parametrize(
    "kind, wanted, window, blocks",
    [
        (STREAM, 1, 1, 1),
        (STREAM, w.BLOCK, w.BLOCK, 1),  # packed into one
        (STREAM, w.BLOCK + 1, w.BLOCK + 1, 3),
        (STREAM, 2 * w.BLOCK, 2 * w.BLOCK, 3),
        (STREAM, 2 * w.BLOCK + 1, 2 * w.BLOCK + 1, 4),
        (STREAM, 262144, 262144, 65),  # one more than its bytes fill
        (STREAM, 1 << 20, (1 + POOL // 8) * w.BLOCK, 2 + POOL // 8),  # an eighth of what is left
        (SEQPACKET, w.BLOCK, w.BLOCK, 1),
        (SEQPACKET, 2 * w.BLOCK, 2 * w.BLOCK, 6),
        (SEQPACKET, 262144, (1 + POOL // 16) * w.BLOCK, 4 + 2 * (POOL // 16)),
    ],
)
def test_a_new_connection_is_promised_its_window_or_a_share(guest, kind, wanted, window, blocks):
    c = guest.connection(wanted, kind)
    assert windows(c) == (window, window, window)
    assert c[w.PLEDGE] == blocks
    assert c[w.SEND_LIMIT] == wanted
    assert guest.left() == POOL - blocks + 1  # one was set aside for it
    assert guest.store.promised == 1 + blocks


@pytest.mark.parametrize("left, window", [(0, 1), (7, 1), (8, 2), (15, 2), (16, 3)])
def test_with_little_left_a_new_connection_gets_the_least_and_an_eighth(guest, left, window):
    guest.leave(left)
    c = guest.connection(262144)
    assert windows(c) == (window * w.BLOCK,) * 3
    assert c[w.PLEDGE] == (1 if window == 1 else window + 1)


def test_without_memory_for_the_least_window_nothing_is_promised(guest):
    guest.leave(0)
    assert guest.store.promise(MOST)  # all that was set aside
    c = control.control_block(33, 1000, 2, 2000, STREAM, 262144)
    assert guest.budget.begin(c) == 0
    assert c[w.PLEDGE] == 0
    assert guest.store.promised == TOTAL


@pytest.mark.parametrize(
    "kind, step, got, blocks",
    [
        (STREAM, 1, 1, 1),
        (STREAM, w.BLOCK, w.BLOCK, 1),
        (STREAM, 5000, 5000, 2),
        (STREAM, 1 << 30, 600 // 8 * w.BLOCK, 600 // 8),
        (SEQPACKET, w.BLOCK, w.BLOCK, 2),  # messages share no blocks
        (SEQPACKET, 1 << 30, 600 // 16 * w.BLOCK, 2 * (600 // 16)),
    ],
)
def test_more_is_what_is_wanted_or_a_share_of_what_is_left(guest, kind, step, got, blocks):
    c = guest.connection(2 * w.BLOCK, kind)
    guest.leave(600)
    before = c[w.PLEDGE]
    assert guest.budget.more(c, step, 0) == got
    assert c[w.PLEDGE] == before + blocks
    assert guest.left() == 600 - blocks


def test_more_leaves_so_much_to_others(guest):
    c = guest.connection(2 * w.BLOCK)
    guest.leave(600)
    assert guest.budget.more(c, w.BLOCK, 600) == 0
    assert guest.budget.more(c, w.BLOCK, 601) == 0
    assert guest.left() == 600
    assert guest.budget.more(c, w.BLOCK, 599) == w.BLOCK


def test_more_of_nothing_is_nothing(guest):
    c = guest.connection(w.BLOCK)
    guest.leave(7)  # an eighth of which is none
    assert guest.budget.more(c, w.BLOCK, 0) == 0
    assert (c[w.PLEDGE], guest.left()) == (1, 7)


def test_a_stuck_peer_gets_a_step_until_an_eighth_is_left_or_the_limit_is_reached(guest):
    c = guest.connection(262144)
    limit = 262144 + 2 * w.STEP
    for size in (262144 + w.STEP, limit, limit):
        guest.budget.grow(c, limit)
        assert c[w.BUF_ALLOC] == size
    guest.budget.grow(c, limit + w.STEP - 1)
    assert c[w.BUF_ALLOC] == limit
    assert not guest.budget.short
    guest.leave(LEAVE_STUCK)
    guest.budget.grow(c, 1 << 30)
    assert c[w.BUF_ALLOC] == limit
    assert guest.budget.short  # who sees to that looks for who does not move
    assert guest.left() == LEAVE_STUCK


def test_a_stuck_peer_gets_a_part_of_a_step_from_the_last_eighth_but_one(guest):
    c = guest.connection(262144)
    guest.leave(LEAVE_STUCK + 1)
    guest.budget.grow(c, 1 << 30)
    assert c[w.BUF_ALLOC] == 262144 + (LEAVE_STUCK + 1) // 8 * w.BLOCK
    assert not guest.budget.short


def test_a_peer_that_is_stuck_gets_what_was_held_back_and_no_more(guest):
    c = guest.connection(262144)
    guest.budget.grow(c, 1 << 30)
    c[w.RX_CNT] = c[w.READ_CNT] = 10  # told of none of it
    left = guest.left()
    guest.budget.grow(c, 1 << 30)
    assert (c[w.BUF_ALLOC], c[w.FWD_CNT], guest.left()) == (262144 + w.STEP, 10, left)


def test_who_reads_fast_is_widened_by_steps_until_half_is_left(guest):
    c = guest.connection(262144)
    for n in (1, 2):
        guest.budget.widen(c)
        assert c[w.BUF_ALLOC] == c[w.BASE] == 262144 + n * w.STEP
    guest.leave(LEAVE_WIDE)
    guest.budget.widen(c)
    assert c[w.BASE] == 262144 + 2 * w.STEP
    assert not guest.budget.short


@pytest.mark.parametrize("begins", [w.BLOCK, 150_000, 262143])
def test_who_began_with_less_than_usual_is_widened_to_that_first(guest, begins):
    c = guest.connection(begins)
    guest.leave(600)
    guest.budget.widen(c)
    assert c[w.BUF_ALLOC] == c[w.BASE] == 262144
    guest.budget.widen(c)
    assert c[w.BUF_ALLOC] == c[w.BASE] == 262144 + w.STEP


def test_who_began_with_less_than_usual_gets_that_of_the_last_half_too(guest):
    c = guest.connection(150_000)
    guest.leave(LEAVE_WIDE)
    for _ in range(2):
        guest.budget.widen(c)
        assert c[w.BUF_ALLOC] == c[w.BASE] == 262144


@pytest.mark.parametrize(
    "kind, begins, size, window, blocks",
    [
        (STREAM, 262144, 262144, 262144, 0),
        (STREAM, 262144, 262145, 262145, 1),
        (STREAM, 262144, 100, 100, 0),
        (STREAM, 262144, 300_000, 300_000, 10),
        (STREAM, w.BLOCK, w.BLOCK, w.BLOCK, 0),
        (STREAM, w.BLOCK, 1, 1, 0),
        (STREAM, w.BLOCK, 2 * w.BLOCK, 2 * w.BLOCK, 2),
        (SEQPACKET, 8 * w.BLOCK, 8 * w.BLOCK, 8 * w.BLOCK, 0),
        (SEQPACKET, 8 * w.BLOCK, 16 * w.BLOCK, 16 * w.BLOCK, 16),
    ],
)
def test_a_program_gets_the_window_that_it_wants(guest, kind, begins, size, window, blocks):
    c = guest.connection(begins, kind)
    before = c[w.PLEDGE]
    conn = SimpleNamespace(at=c, block=c)
    assert guest.budget.resize(conn, size) == window
    assert c[w.PLEDGE] == before + blocks


def test_a_program_that_wants_more_than_there_is_gets_a_share(guest):
    c = guest.connection(262144)
    share = guest.left() // 8
    assert guest.budget.resize(SimpleNamespace(at=c, block=c), 1 << 30) == 262144 + share * w.BLOCK


@pytest.mark.parametrize("start", [0, 1000, vsock_bench.M32])
@pytest.mark.parametrize(
    "kind, unread, keeps",
    [
        (STREAM, 0, 0),
        (STREAM, 1, 2),
        (STREAM, 2, 2),
        (STREAM, w.BLOCK - 1, 2),
        (STREAM, w.BLOCK, 3),
        (STREAM, 200_000, 50),
        (SEQPACKET, 0, 0),
        (SEQPACKET, 1, None),
    ],
)
def test_who_is_gone_keeps_the_blocks_of_what_is_unread(guest, kind, unread, keeps, start):
    c = guest.connection(262144, kind)
    keeps = c[w.PLEDGE] if keeps is None else keeps
    c[w.READ_CNT], c[w.RX_CNT] = start, start + unread & vsock_bench.M32
    guest.budget.left_table(c)
    assert c[w.PLEDGE] == keeps
    assert guest.store.promised == 1 + keeps
    assert guest.left() == POOL - keeps  # and one is set aside for who comes next
    guest.budget.closed(c, 0)
    assert (c[w.PLEDGE], guest.left()) == (0, POOL)


def test_nobody_who_closes_keeps_more_than_there_was(guest):
    c = guest.connection(w.BLOCK)
    guest.budget.closed(c, 2)
    assert (c[w.PLEDGE], guest.store.promised) == (1, 2)


@pytest.mark.parametrize("chunks", [16, 17])
@pytest.mark.parametrize("percent", [75, 50, 10])
def test_below_tells_when_less_than_a_part_of_the_pool_is_left(chunks, percent):
    guest = Guest(chunks)
    half = guest.left() // 2
    assert not guest.budget.below(100)
    guest.leave(-(-2 * half * percent // 100))
    assert not guest.budget.below(percent)
    assert guest.store.promise(1)
    assert guest.budget.below(percent)


@pytest.mark.parametrize("chunks", [16, 17])
def test_half_of_the_pool_is_half_of_what_nobody_has(chunks):
    guest = Guest(chunks)
    c = guest.connection(262144)
    guest.leave((64 * chunks - 64 * chunks // 3 - 1) // 2)
    guest.budget.widen(c)
    assert c[w.BASE] == 262144
    guest.budget.closed(c, c[w.PLEDGE] - 1)
    guest.budget.widen(c)
    assert c[w.BASE] > 262144
