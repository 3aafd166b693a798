# SPDX-License-Identifier: MIT
"""The state of one connection: how it begins and ends, and the control packets that it owes.

A connection is a block of 32-bit words (words.py), so that a viper function reaches all of it
through one pointer and so that 1,000 idle ones are small. Functions take the block's address,
`at`; `c` is the pointer to it. They only compute: they touch no queue, no buffer and no
clock, and run under CPython and MicroPython alike, at either end of a wire. Nothing that the peer
sends is taken for sane.

No function here can be cut in two: MicroPython looks for Ctrl-C and for scheduled handlers in
bytecode only, and what changes a connection is native code.

    FRESH ---connect---> CONNECTING --RESPONSE--> ESTABLISHED --close--> CLOSING
      |                      |                         |                    |
      +------accept----------|------> ESTABLISHED      |                    |
                             +-- RST, fail, drop ------+--- RST, settle ----+--> CLOSED
"""

from array import array

import errnos
from inline import inline
from portable import addressof, micropython, ptr32

from . import credit
from . import words as w

STATE_NAMES = ("FRESH", "CONNECTING", "ESTABLISHED", "CLOSING", "CLOSED")


@micropython.native
def control_block(local_cid, local_port, peer_cid, peer_port, kind, buf_alloc):
    """A FRESH connection's words. `kind` is its socket type: its packet_type and its borders."""
    block = array("I", _TEMPLATE)
    block[w.SRC_CID] = local_cid & w.CID_ANY
    block[w.DST_CID] = peer_cid & w.CID_ANY
    block[w.SRC_PORT] = local_port
    block[w.DST_PORT] = peer_port
    block[w.TYPE_OP] = kind.packet_type
    block[w.BORDERS] = kind.borders
    block[w.BUF_ALLOC] = block[w.BASE] = block[w.EDGE] = block[w.SEND_LIMIT] = buf_alloc
    return block


def _template():
    block = array("I", bytes(4 * w.BLOCK_WORDS))
    block[w.ONES] = block[w.HEAD] = block[w.TAIL] = 0xFFFFFFFF
    block[w.LOWAT] = 1
    return bytes(block)


_TEMPLATE = _template()


@micropython.viper
def enter(at: int, state: int) -> int:
    """The one place where a connection changes its state. Returns the events this causes."""
    c = ptr32(at)
    before = c[w.STATE]
    c[w.STATE] = state
    events = 0
    if state == w.CLOSED:
        # Linux: a reset established connection looks like one that the peer shut both ways.
        _peer_ends(at, w.SHUT_PEER)
        c[w.OWED] = c[w.OWED] & w.OWE_RST
        if before != w.CLOSED:
            events = w.EV_READ | w.EV_WRITE | w.EV_CLOSED
    elif state == w.ESTABLISHED:
        events = w.EV_READ | w.EV_WRITE
    return events


@micropython.viper
def _peer_ends(at: int, how: int):
    """The peer ends directions, SHUT_PEER_* bits.

    Over unread bytes Linux's socket stays connected for ever, and hears of no credit any more.
    """
    c = ptr32(at)
    before = c[w.SHUT]
    if before & w.SHUT_PEER != w.SHUT_PEER and c[w.RX_CNT] != c[w.READ_CNT]:
        if (before | how) & w.SHUT_PEER == w.SHUT_PEER and not before & w.SHUT_LOST:
            how |= w.SHUT_UNREAD
            flying = int(credit.unread(at))
            if flying >= c[w.PEER_ALLOC] or flying >= c[w.SEND_LIMIT]:
                how |= w.SHUT_FULL
    c[w.SHUT] = before | how


@micropython.viper
def stays(at: int) -> int:
    """1 if Linux's socket would still be connected: ours may be while the peer has our bytes."""
    c = ptr32(at)
    if c[w.SHUT] & w.SHUT_PEER == w.SHUT_PEER:
        return int(c[w.SHUT] & w.SHUT_UNREAD != 0)
    return int(c[w.STATE] == w.ESTABLISHED)


@micropython.viper
def connect(at: int):
    """Ask the peer for a connection."""
    c = ptr32(at)
    c[w.OWED] = w.OWE_REQUEST
    enter(at, w.CONNECTING)


@micropython.viper
def accept(at: int, peer_alloc: int, peer_fwd: int):
    """Answer a peer's REQUEST, which carried its credit."""
    c = ptr32(at)
    c[w.PEER_ALLOC] = peer_alloc
    c[w.PEER_FWD] = peer_fwd
    c[w.OWED] = w.OWE_RESPONSE
    enter(at, w.ESTABLISHED)


@micropython.viper
def on_control(at: int, op: int, flags: int, peer_alloc: int, peer_fwd: int) -> int:
    """A packet without data came. Returns EV_* bits; unknown operations change nothing."""
    c = ptr32(at)
    state = c[w.STATE]
    if state == w.CLOSED or op == w.OP_INVALID:
        return 0
    events = int(on_credit(at, peer_alloc, peer_fwd))
    if op == w.OP_RST:
        if state == w.CONNECTING:
            c[w.ERROR] = errnos.ECONNRESET
        c[w.OWED] = 0
        return events | int(enter(at, w.CLOSED))
    if c[w.STATE] == w.CLOSED:
        return events  # the RST waited for the credit that this packet brought
    if state == w.CONNECTING:
        if op == w.OP_RESPONSE:
            return events | int(enter(at, w.ESTABLISHED))
        c[w.ERROR] = errnos.EPROTO
        c[w.OWED] = w.OWE_RST
        return events | int(enter(at, w.CLOSED))
    if op == w.OP_SHUTDOWN:
        _peer_ends(at, (flags & w.SHUTDOWN_BOTH) << w.SHUT_PEER_SHIFT)
        return events | w.EV_READ | w.EV_WRITE | int(settle(at))
    if op == w.OP_CREDIT_REQUEST:
        # Always answered, even with nothing to give: vhost-device-vsock wakes up on nothing else.
        c[w.OWED] = c[w.OWED] | w.OWE_UPDATE
        full = (c[w.RX_CNT] - c[w.FWD_CNT]) & c[w.ONES] >= c[w.BUF_ALLOC]
        if full and not c[w.OPTIONS] & w.OPT_FIXED_WINDOW:
            # Full happens; stuck is when nothing moves either way from one request to the next.
            still = c[w.READ_CNT] == c[w.ASKED_READ] and c[w.PEER_FWD] == c[w.ASKED_FWD]
            if c[w.ASKED] and still:
                events |= w.EV_GROW
            c[w.ASKED] = 1
            c[w.ASKED_READ] = c[w.READ_CNT]
            c[w.ASKED_FWD] = c[w.PEER_FWD]
    return events


@micropython.viper
def on_credit(at: int, peer_alloc: int, peer_fwd: int) -> int:
    """Every packet brings the peer's credit (5.10.6.3). Returns EV_* bits."""
    c = ptr32(at)
    if peer_alloc == c[w.PEER_ALLOC] and peer_fwd == c[w.PEER_FWD]:
        return 0
    events = int(credit.note(at, peer_alloc, peer_fwd))
    if peer_fwd != c[w.TX_CNT] or c[w.STATE] == w.CLOSED:
        return events
    # The peer holds no more bytes of ours: an RST may have waited for that.
    events |= int(settle(at))
    if c[w.STATE] != w.CLOSED and c[w.SHUT] & w.SHUT_LOCAL_SEND:
        # vhost-device-vsock ignores a SHUTDOWN while it still holds some: say it again.
        if c[w.OPTIONS] & w.OPT_SHUTDOWN_ONCE == 0:
            c[w.OWED] = c[w.OWED] | w.OWE_SHUTDOWN
    return events


@micropython.viper
def settle(at: int) -> int:
    """RST once both directions are closed and nothing is unread or unsent. Returns EV_* bits."""
    c = ptr32(at)
    state = c[w.STATE]
    if c[w.SHUT] & w.SHUT_PEER != w.SHUT_PEER or (state != w.ESTABLISHED and state != w.CLOSING):
        return 0
    if c[w.PEER_FWD] != c[w.TX_CNT]:
        # The peer still holds bytes of ours that the RST would destroy. It tells when they are
        # gone; the table sends the RST after a while if it does not (Linux's peers need not).
        c[w.OWED] = c[w.OWED] | w.OWE_CREDIT_REQUEST
        return 0
    if state == w.ESTABLISHED:
        if c[w.OPTIONS] & w.OPT_LATE_SEND or c[w.RX_CNT] != c[w.READ_CNT]:
            return 0
    c[w.OWED] = w.OWE_RST
    return int(enter(at, w.CLOSED))


@inline
@micropython.viper
def admit(at: int, n: int, flags: int, peer_alloc: int, peer_fwd: int) -> int:
    """OP_RW with `n` bytes came. Returns `n` if they are to be queued, 0 if to be dropped.

    -1: the peer broke its credit or the order of things; the connection is closed by an RST.
    Bytes to be queued count as queued; `overflow` takes that back. `flags` are those of the packet
    that count (BORDERS).
    """
    c = ptr32(at)
    state = c[w.STATE]
    if state == w.ESTABLISHED and c[w.SHUT] == 0:
        events = int(credit.note(at, peer_alloc, peer_fwd))
    else:
        events = int(on_credit(at, peer_alloc, peer_fwd))
    c[w.EVENTS] = c[w.EVENTS] | events
    if state == w.CONNECTING:
        c[w.ERROR] = errnos.EPROTO
        c[w.OWED] = w.OWE_RST
        c[w.EVENTS] = c[w.EVENTS] | int(enter(at, w.CLOSED))
        return -1
    if (state != w.ESTABLISHED and state != w.CLOSING) or c[w.SHUT] & w.SHUT_PEER_SEND:
        return 0
    if (c[w.EDGE] - c[w.RX_CNT]) & c[w.ONES] < n:
        fail(at, errnos.ENOBUFS)
        return -1
    if c[w.SHUT] & w.SHUT_LOCAL_RCV:
        _swallow(at, n)
        return 0
    c[w.RX_CNT] = (c[w.RX_CNT] + n) & c[w.ONES]
    if flags & w.SEQ_EOM:
        c[w.MESSAGES] = c[w.MESSAGES] + 1
    c[w.EVENTS] = c[w.EVENTS] | w.EV_READ
    return n


@micropython.viper
def _swallow(at: int, n: int):
    """The program does not want to read any more: bytes count as received and as read."""
    c = ptr32(at)
    c[w.RX_CNT] = (c[w.RX_CNT] + n) & c[w.ONES]
    credit.count(at, n)
    credit.update_due(at)


@micropython.viper
def overflow(at: int, n: int, flags: int):
    """There is no memory for the `n` bytes just admitted: they do not count, it is the end."""
    c = ptr32(at)
    c[w.RX_CNT] = (c[w.RX_CNT] - n) & c[w.ONES]
    if flags & w.SEQ_EOM:
        c[w.MESSAGES] = c[w.MESSAGES] - 1
    fail(at, errnos.ENOBUFS)


@micropython.viper
def fail(at: int, error: int):
    """End the connection from our side: RST, and `error` for whoever asks."""
    c = ptr32(at)
    if c[w.STATE] != w.CLOSED:
        c[w.ERROR] = error
        c[w.OWED] = w.OWE_RST
        c[w.EVENTS] = c[w.EVENTS] | int(enter(at, w.CLOSED))


@micropython.viper
def drop(at: int, error: int):
    """The connection is gone without anybody to tell (time-out, TRANSPORT_RESET)."""
    c = ptr32(at)
    c[w.ERROR] = error
    c[w.OWED] = 0
    c[w.EVENTS] = c[w.EVENTS] | int(enter(at, w.CLOSED))


@micropython.viper
def lose(at: int, error: int):
    """The device lost the connection: one call of the program tells it `error`."""
    c = ptr32(at)
    c[w.SHUT] = c[w.SHUT] | w.SHUT_LOST
    drop(at, error)


@micropython.viper
def readable(at: int) -> int:
    """1 if it polls readable: enough queued, the peer's end, our own SHUT_RD, or closed."""
    c = ptr32(at)
    if c[w.STATE] == w.CLOSED or c[w.SHUT] & (w.SHUT_LOCAL_RCV | w.SHUT_PEER_SEND):
        return 1
    if c[w.BORDERS] != 0 and (c[w.MESSAGES] == 0 or c[w.LOWAT] == 1):
        return int(c[w.MESSAGES] != 0)
    n = (c[w.RX_CNT] - c[w.READ_CNT]) & c[w.ONES]
    return int(n != 0 and n >= c[w.LOWAT])


@inline
@micropython.viper
def send(at: int, n: int, flags: int):
    """Make the header one of OP_RW with `n` bytes, at most `room`, and count them as sent."""
    c = ptr32(at)
    c[w.LEN] = n
    c[w.TYPE_OP] = (c[w.TYPE_OP] & w.TYPE_MASK) | (w.OP_RW << w.OP_SHIFT)
    c[w.FLAGS] = flags
    c[w.TX_CNT] = (c[w.TX_CNT] + n) & c[w.ONES]
    credit.told(at)


@micropython.viper
def next_owed(at: int) -> int:
    """Make the header that of the next control packet owed; returns its op, 0 if none is."""
    c = ptr32(at)
    owed = c[w.OWED]
    if owed == 0:
        return 0
    bit = 1
    op = w.OP_RST
    if owed & w.OWE_RST == 0:
        bit = owed & (0 - owed)
        if bit == w.OWE_REQUEST:
            op = w.OP_REQUEST
        elif bit == w.OWE_RESPONSE:
            op = w.OP_RESPONSE
        elif bit == w.OWE_UPDATE:
            op = w.OP_CREDIT_UPDATE
        elif bit == w.OWE_CREDIT_REQUEST:
            op = w.OP_CREDIT_REQUEST
        else:
            op = w.OP_SHUTDOWN
    c[w.LEN] = 0
    c[w.TYPE_OP] = (c[w.TYPE_OP] & w.TYPE_MASK) | (op << w.OP_SHIFT)
    c[w.FLAGS] = 0
    if op == w.OP_SHUTDOWN:
        c[w.FLAGS] = c[w.SHUT] & w.SHUT_LOCAL
    c[w.OWED] = owed - bit
    credit.told(at)
    return op


@micropython.viper
def shutdown(at: int, how: int) -> int:
    """The program closes directions: SHUT_LOCAL_* bits. Returns bytes to discard unread."""
    c = ptr32(at)
    if c[w.SHUT] & how != how:
        c[w.SHUT] = c[w.SHUT] | how
        if c[w.STATE] == w.ESTABLISHED:
            c[w.OWED] = c[w.OWED] | w.OWE_SHUTDOWN
    c[w.EVENTS] = c[w.EVENTS] | w.EV_READ | w.EV_WRITE
    if how & w.SHUT_LOCAL_RCV:
        return (c[w.RX_CNT] - c[w.READ_CNT]) & c[w.ONES]
    return 0


@micropython.viper
def close(at: int) -> int:
    """The program is done with it. Returns EV_* bits; without EV_CLOSED it still waits for RST."""
    c = ptr32(at)
    state = c[w.STATE]
    if state == w.CLOSED:
        return 0
    if state != w.ESTABLISHED:
        # A REQUEST under way: whatever comes back meets no connection and gets an RST.
        c[w.OWED] = 0
        return int(enter(at, w.CLOSED))
    if c[w.SHUT] & w.SHUT_LOCAL != w.SHUT_LOCAL:
        c[w.OWED] = c[w.OWED] | w.OWE_SHUTDOWN
    c[w.SHUT] = c[w.SHUT] | w.SHUT_LOCAL
    events = int(enter(at, w.CLOSING))
    if c[w.SHUT] & w.SHUT_PEER == w.SHUT_PEER:
        c[w.OWED] = c[w.OWED] & (0xFFFF - w.OWE_SHUTDOWN)
    return events | int(settle(at))


@micropython.viper
def shut_late(at: int) -> int:
    """1 if the peer has shut both directions and the program goes on sending."""
    c = ptr32(at)
    both = c[w.SHUT] & w.SHUT_PEER == w.SHUT_PEER
    return int(both and c[w.STATE] == w.ESTABLISHED and c[w.OPTIONS] & w.OPT_LATE_SEND != 0)


def describe(block):
    """A control block in words, for a person at the prompt."""
    return "%s %d:%d > %d:%d shut=%d queued=%d in_flight=%d credit=%d" % (
        STATE_NAMES[block[w.STATE]],
        block[w.SRC_CID],
        block[w.SRC_PORT],
        block[w.DST_CID],
        block[w.DST_PORT],
        block[w.SHUT],
        (block[w.RX_CNT] - block[w.READ_CNT]) & 0xFFFFFFFF,
        (block[w.TX_CNT] - block[w.PEER_FWD]) & 0xFFFFFFFF,
        max(0, credit.room(addressof(block))),
    )
