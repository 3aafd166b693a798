# SPDX-License-Identifier: MIT
"""From which byte on a peer is told, and what a connection says of itself: the bounds, by hand.

test_connection.py has two ends that do anything.
"""

from errno import ENOBUFS

import pytest
import vsock_bench
from vsock_bench import owed

w = vsock_bench.module("vsock.words")
control = vsock_bench.module("vsock.control")
credit = vsock_bench.module("vsock.credit")
types = vsock_bench.module("sockets.types")
STREAM, SEQPACKET = types.STREAM, types.SEQPACKET
M32 = vsock_bench.M32
STARTS = [0, 1000, M32 - 5]
BOTH = 3


def established(window=262144, start=0, kind=STREAM):
    """A connection whose counters begin somewhere."""
    c = control.control_block(33, 1000, 2, 2000, kind, window)
    for word in (w.RX_CNT, w.READ_CNT, w.FWD_CNT, w.FWD_SENT, w.TX_CNT):
        c[word] = start
    c[w.EDGE] = start + window & M32
    control.accept(c, 262144, start)
    assert owed(c) == [w.OP_RESPONSE]
    return c


def come(c, n, flags=0):
    """`n` bytes come, which the peer may send."""
    assert control.admit(c, n, flags, c[w.PEER_ALLOC], c[w.PEER_FWD]) == n


# -- when an update is due


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    "window, came, read, due",
    [
        # Half of the window.
        (262144, 131_071, 131_071, 0),
        (262144, 131_072, 131_072, 1),
        (262144, 196_608, 131_071, 0),
        # The peer knows of less room than a largest packet takes, and there is a sixteenth more.
        (262144, 196_609, 16_383, 0),
        (262144, 196_609, 16_384, 1),
        (131072, 65_536, 65_535, 0),
        (131072, 65_537, 8_191, 0),
        (131072, 65_537, 8_192, 1),
    ],
)
def test_an_update_is_due_from_that_byte_on(window, came, read, due, start):
    c = established(window, start)
    come(c, came)
    assert credit.consumed(c, read) == due * w.UPDATE_DUE
    assert owed(c) == [w.OP_CREDIT_UPDATE] * due
    c = established(window, start)
    come(c, came)
    credit.count(c, read)
    assert credit.update_due(c) == due


def test_who_asks_again_is_told_that_an_update_is_due():
    c = established()
    come(c, 200_000)
    credit.count(c, 200_000)
    assert credit.update_due(c) == 1
    assert owed(c) == [w.OP_CREDIT_UPDATE]
    assert credit.update_due(c) == 0  # it has been told


def test_nothing_is_due_of_nothing_even_to_who_wants_more_than_there_is():
    c = established()
    c[w.LOWAT] = 1000
    assert credit.update_due(c) == 0
    assert owed(c) == []


@pytest.mark.parametrize(
    "lowat, unread, due", [(5, 4, 1), (5, 5, 0), (5, 6, 0), (2, 1, 1), (2, 2, 0), (1, 0, 0)]
)
def test_who_waits_for_more_than_is_there_has_every_byte_told(lowat, unread, due):
    c = established()
    c[w.LOWAT] = lowat
    come(c, unread + 1)
    assert credit.consumed(c, 1) == due * w.UPDATE_DUE
    assert owed(c) == [w.OP_CREDIT_UPDATE] * due


def test_a_peer_that_sends_no_more_is_told_no_more():
    c = established()
    come(c, 200_000)
    control.on_control(c, w.OP_SHUTDOWN, w.SHUTDOWN_SEND, 262144, 0)
    assert credit.consumed(c, 200_000) == 0
    assert credit.tell(c) == 0
    assert owed(c) == []


def test_a_peer_that_only_reads_no_more_is_told():
    c = established()
    come(c, 200_000)
    control.on_control(c, w.OP_SHUTDOWN, w.SHUTDOWN_RCV, 262144, 0)
    assert credit.consumed(c, 200_000) == w.UPDATE_DUE


def test_who_has_shut_both_ways_may_be_answered_once_all_is_read():
    c = established()
    come(c, 10)
    control.on_control(c, w.OP_SHUTDOWN, BOTH, 262144, 0)
    assert credit.consumed(c, 4) == w.TOLD_BOTH
    assert control.settle(c) == 0
    assert credit.consumed(c, 6) == w.TOLD_BOTH
    assert control.settle(c) & w.EV_CLOSED
    assert owed(c) == [w.OP_RST]


def test_a_closed_socket_tells_nobody_what_it_swallows():
    c = established()
    assert control.close(c) == 0
    assert owed(c) == [w.OP_SHUTDOWN]
    assert control.admit(c, 200_000, 0, 262144, 0) == 0
    assert credit.update_due(c) == 0
    assert credit.tell(c) == 0
    assert owed(c) == []
    assert credit.queued(c) == 0


@pytest.mark.parametrize("start", STARTS)
def test_who_is_about_to_sleep_tells_of_each_byte_once(start):
    c = established(start=start)
    assert credit.tell(c) == 0
    come(c, 3)
    assert credit.tell(c) == 0  # nothing of it was read
    assert credit.consumed(c, 1) == 0
    assert credit.tell(c) == 1
    assert owed(c) == [w.OP_CREDIT_UPDATE]
    assert c[w.FWD_SENT] == (start + 1) & M32
    assert credit.tell(c) == 0


@pytest.mark.parametrize(
    "unread, shut, tells",
    [(0, 0, 1), (1, 0, 0), (0, w.SHUT_LOCAL_RCV, 0), (0, w.SHUT_LOCAL_SEND, 1)],
)
def test_over_the_loopback_only_who_has_read_all_and_reads_on_tells_of_it(unread, shut, tells):
    """A packet that is read in part counts as none, and what shutdown has thrown away neither."""
    c = established()
    c[w.OPTIONS] = w.OPT_LOOPBACK
    come(c, 100)
    credit.count(c, 100 - unread)
    c[w.SHUT] |= shut
    assert credit.tell(c) == tells
    assert c[w.FWD_CNT] == 100 * tells
    assert owed(c) == [w.OP_CREDIT_UPDATE] * tells


@pytest.mark.parametrize(
    "base, read, wider",
    [
        (262144, 1048575, 0),
        (262144, 1048576, 1),
        (262145, 1048576, 0),
        (w.WIDE - 1, 1 << 30, 1),
        (w.WIDE, 1 << 30, 0),
    ],
)
def test_a_window_is_widened_after_four_of_them_and_up_to_a_mebibyte(base, read, wider):
    n = 600_000
    c = established(base, read - n)
    c[w.BUF_ALLOC] = max(base, 700_000)
    c[w.EDGE] = read & M32
    come(c, n)
    c[w.BUF_ALLOC] = base
    assert credit.consumed(c, n) == w.UPDATE_DUE | wider * w.WIDEN


# -- what the peer may send


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("size, knows", [(700, 300), (401, 1), (400, 0), (399, 0), (10, 0)])
def test_a_smaller_window_does_not_take_back_what_the_peer_was_told(size, knows, start):
    c = established(1000, start)
    come(c, 400)
    credit.set_window(c, size)
    assert owed(c) == [w.OP_CREDIT_UPDATE]
    assert credit.peer_knows(c) == knows
    come(c, 600)  # it had sent them before it heard
    assert control.admit(c, 1, 0, 262144, start) == -1
    assert c[w.ERROR] == ENOBUFS


@pytest.mark.parametrize("start", STARTS)
def test_what_the_peer_may_send_moves_with_what_it_was_told(start):
    c = established(1000, start)
    come(c, 1000)
    assert credit.peer_knows(c) == 0
    credit.count(c, 300)
    assert credit.peer_knows(c) == 0  # it has not heard
    assert credit.tell(c) == 1
    assert owed(c) == [w.OP_CREDIT_UPDATE]
    assert credit.peer_knows(c) == 300
    come(c, 300)
    assert control.admit(c, 1, 0, 262144, start) == -1


def test_only_a_connection_grows():
    c = established(1000)
    control.on_control(c, w.OP_RST, 0, 262144, 0)
    credit.grow(c, w.STEP)
    assert (c[w.BUF_ALLOC], owed(c)) == (1000, [])


@pytest.mark.parametrize(
    "held_back, more", [(0, 0), (1, 1), (w.STEP, w.STEP), (w.STEP + 1, w.STEP)]
)
def test_a_stuck_peer_is_told_of_a_step_at_most(held_back, more):
    c = established(start=M32 - 5)
    c[w.READ_CNT] = (M32 - 5 + held_back) & M32
    assert credit.release_reserve(c) == more
    assert c[w.FWD_CNT] == (M32 - 5 + more) & M32


@pytest.mark.parametrize("start", STARTS)
def test_what_a_window_grew_by_is_held_back_to_the_byte(start):
    c = established(1000, start)
    come(c, 1000)
    credit.grow(c, 100)
    assert owed(c) == [w.OP_CREDIT_UPDATE]
    for read, told in (99, 0), (1, 0), (1, 1), (899, 900):
        credit.count(c, read)
        assert c[w.FWD_CNT] == (start + told) & M32


def test_credit_wakes_who_waits_for_it_once():
    c = established()
    assert credit.note(c, 5000, 0) == 0
    c[w.WANTED] = 1
    assert credit.note(c, 5000, 0) == 0  # nothing new
    assert credit.note(c, 6000, 0) == w.EV_WRITE
    assert credit.note(c, 7000, 0) == 0
    c[w.WANTED] = 1
    assert credit.note(c, 7000, 1) == w.EV_WRITE
    assert (c[w.PEER_ALLOC], c[w.PEER_FWD]) == (7000, 1)


# -- what a connection says of itself


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    "lowat, unread, readable", [(1, 0, 0), (1, 1, 1), (5, 4, 0), (5, 5, 1), (5, 6, 1), (0, 0, 0)]
)
def test_a_stream_is_readable_with_so_many_bytes(lowat, unread, readable, start):
    c = established(start=start)
    c[w.LOWAT] = lowat
    come(c, unread + 100)
    credit.count(c, 100)
    assert control.readable(c) == readable


def test_messages_are_readable_once_one_is_whole():
    c = established(kind=SEQPACKET)
    come(c, 10)
    assert control.readable(c) == 0
    come(c, 10, w.SEQ_EOM)
    assert control.readable(c) == 1
    come(c, 10, w.SEQ_EOM)
    assert control.readable(c) == 1


def test_a_message_that_is_not_whole_is_not_readable_however_long():
    c = established(kind=SEQPACKET)
    c[w.LOWAT] = 25
    come(c, 300)
    assert control.readable(c) == 0
    come(c, 0, w.SEQ_EOM)
    assert control.readable(c) == 1


def test_messages_are_readable_with_so_many_bytes_whole_ones_and_begun_ones():
    c = established(kind=SEQPACKET)
    c[w.LOWAT] = 25
    come(c, 10, w.SEQ_EOM)
    assert control.readable(c) == 0
    come(c, 14)
    assert control.readable(c) == 0
    come(c, 1)
    assert control.readable(c) == 1


@pytest.mark.parametrize("flags, readable", [(w.SHUTDOWN_SEND, 1), (w.SHUTDOWN_RCV, 0)])
def test_the_end_of_what_the_peer_sends_is_readable(flags, readable):
    c = established()
    assert control.on_control(c, w.OP_SHUTDOWN, flags, 262144, 0) == w.EV_READ | w.EV_WRITE
    assert control.readable(c) == readable


def test_our_own_end_of_reading_is_readable_and_so_is_what_is_closed():
    c = established()
    assert control.shutdown(c, w.SHUT_LOCAL_SEND) == 0
    assert control.readable(c) == 0
    assert control.shutdown(c, w.SHUT_LOCAL_RCV) == 0
    assert control.readable(c) == 1
    c = established()
    control.on_control(c, w.OP_RST, 0, 262144, 0)
    assert control.readable(c) == 1


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("how, unread", [(1, 300), (2, 0), (3, 300)])
def test_what_is_unread_goes_with_the_end_of_reading(how, unread, start):
    c = established(start=start)
    come(c, 500)
    credit.count(c, 200)
    assert control.shutdown(c, how) == unread
    assert owed(c) == [w.OP_SHUTDOWN]
    assert c[w.FLAGS] == how
    assert c[w.EVENTS] & (w.EV_READ | w.EV_WRITE) == w.EV_READ | w.EV_WRITE
    control.shutdown(c, how)
    assert owed(c) == []  # once


def test_what_is_closed_is_closed_once():
    c = established()
    control.on_control(c, w.OP_RST, 0, 262144, 0)
    before = bytes(c)
    assert control.close(c) == 0  # nobody need be told
    control.fail(c, ENOBUFS)
    assert bytes(c) == before


@pytest.mark.parametrize(
    "flags, options, closed, late",
    [
        (BOTH, w.OPT_LATE_SEND, False, 1),
        (BOTH, 0, False, 0),
        (w.SHUTDOWN_SEND, w.OPT_LATE_SEND, False, 0),
        (w.SHUTDOWN_RCV, w.OPT_LATE_SEND, False, 0),
        (BOTH, w.OPT_LATE_SEND, True, 0),
    ],
)
def test_a_late_sender_is_who_goes_on_after_the_peer_has_shut_both_ways(
    flags, options, closed, late
):
    c = established()
    c[w.OPTIONS] = options
    come(c, 10)  # unread: without the option it stays for that
    control.on_control(c, w.OP_SHUTDOWN, flags, 262144, 0)
    if closed:
        control.close(c)
    assert control.shut_late(c) == late


def test_a_connection_may_ask_for_a_window_again_after_it_was_full_twice():
    c = established(100)
    come(c, 99)
    for _ in range(3):
        assert control.on_control(c, w.OP_CREDIT_REQUEST, 0, 262144, 0) == 0  # not full
    come(c, 1)
    assert control.on_control(c, w.OP_CREDIT_REQUEST, 0, 262144, 0) == 0
    assert control.on_control(c, w.OP_CREDIT_REQUEST, 0, 262144, 0) == w.EV_GROW
    assert owed(c) == [w.OP_CREDIT_UPDATE]


@pytest.mark.parametrize("start", STARTS)
def test_an_end_waits_for_the_bytes_that_the_peer_still_holds(start):
    c = established(start=start)
    control.send(c, 100, 0)
    assert credit.unread(c) == 100
    control.on_control(c, w.OP_SHUTDOWN, BOTH, 262144, start)
    assert control.settle(c) == 0  # no news
    assert owed(c) == [w.OP_CREDIT_REQUEST]
    assert control.on_credit(c, 262144, start + 99 & M32) == 0
    assert c[w.STATE] == w.ESTABLISHED
    wakes = w.EV_READ | w.EV_WRITE | w.EV_CLOSED
    assert control.on_credit(c, 262144, start + 100 & M32) == wakes
    assert (c[w.STATE], owed(c)) == (w.CLOSED, [w.OP_RST])
