# SPDX-License-Identifier: MIT
"""A connection's credit both ways (virtio 1.2, 5.10.6.3): what may be sent, what the peer is told.

Functions of a control block (words.py), which is found at address `at`; `c` is the pointer to it.
They count and compare and change no state. All counters wrap at 2**32, and nothing that the peer
sends is taken for sane. They run under CPython and MicroPython, at either end of a wire.
"""

import errnos
from inline import inline
from portable import micropython, ptr32

from . import words as w


@inline
@micropython.viper
def note(at: int, peer_alloc: int, peer_fwd: int) -> int:
    """Every packet brings the peer's credit. EV_WRITE if somebody waits for it.

    Without that, each update woke the echo for nothing: a twelfth of its throughput.
    """
    c = ptr32(at)
    if peer_alloc == c[w.PEER_ALLOC] and peer_fwd == c[w.PEER_FWD]:
        return 0
    c[w.PEER_ALLOC] = peer_alloc
    c[w.PEER_FWD] = peer_fwd
    if c[w.WANTED] == 0:
        return 0
    c[w.WANTED] = 0
    return w.EV_WRITE


@micropython.viper
def queued(at: int) -> int:
    """Bytes in the receive queue."""
    c = ptr32(at)
    return (c[w.RX_CNT] - c[w.READ_CNT]) & c[w.ONES]


@micropython.viper
def unread(at: int) -> int:
    """Bytes that were sent and that the peer has not read, as far as it has said."""
    c = ptr32(at)
    return (c[w.TX_CNT] - c[w.PEER_FWD]) & c[w.ONES]


@micropython.viper
def peer_knows(at: int) -> int:
    """Free space that the peer may fill without hearing from us again."""
    c = ptr32(at)
    used = (c[w.RX_CNT] - c[w.FWD_SENT]) & c[w.ONES]
    if used >= c[w.BUF_ALLOC]:
        return 0
    return c[w.BUF_ALLOC] - used


@inline
@micropython.viper
def room(at: int) -> int:
    """Bytes that may be sent now, 0 or more; -EPIPE if none ever again."""
    c = ptr32(at)
    state = c[w.STATE]
    shut = c[w.SHUT]
    if state != w.ESTABLISHED or shut & w.SHUT_LOCAL_SEND:
        return 0 - errnos.EPIPE
    if shut & w.SHUT_PEER_RCV and not c[w.OPTIONS] & w.OPT_LATE_SEND:
        return 0 - errnos.EPIPE
    limit = c[w.PEER_ALLOC]
    if limit > c[w.SEND_LIMIT]:
        limit = c[w.SEND_LIMIT]
    flying = (c[w.TX_CNT] - c[w.PEER_FWD]) & c[w.ONES]
    if flying >= limit:  # also a peer that "forwarded" what was never sent
        return 0
    return limit - flying


@inline
@micropython.viper
def count(at: int, n: int):
    """`n` bytes left the receive queue; `news` says what follows from it."""
    c = ptr32(at)
    read = (c[w.READ_CNT] + n) & c[w.ONES]
    c[w.READ_CNT] = read
    if c[w.OPTIONS] & w.OPT_LOOPBACK:
        return  # it is Loopback.taken that says what of it is forwarded
    # What a window grew by is a reserve for the next time that the peer is stuck: it is held
    # back again by saying less than was read. (The window itself must not shrink: the peer's
    # arithmetic may be unsigned.)
    reserve = c[w.BUF_ALLOC] - c[w.BASE]
    if (read - c[w.FWD_CNT]) & c[w.ONES] > reserve:
        c[w.FWD_CNT] = (read - reserve) & c[w.ONES]


@inline
@micropython.viper
def news(at: int) -> int:
    """What follows from bytes having been read: UPDATE_DUE, TOLD_BOTH, WIDEN and TAKEN, or none.

    Linux tells when free space, as the peer knows it, falls below one largest packet, or when
    what is queued falls below SO_RCVLOWAT. We also tell of each half of the window, so that a fast
    peer never stops, but never of less than a sixteenth: no update for each small packet. A peer
    whose own buffer is small is told as by Linux: it has no more under way than that holds.
    """
    c = ptr32(at)
    over = 0
    if c[w.SHUT] & w.SHUT_PEER == w.SHUT_PEER:
        over = w.TOLD_BOTH
    if c[w.OPTIONS] & w.OPT_LOOPBACK:
        return over | w.TAKEN
    if c[w.LOWAT] == 1 and (c[w.FWD_CNT] - c[w.FWD_SENT]) & c[w.ONES] < c[w.BUF_ALLOC] >> 4:
        if c[w.PEER_ALLOC] >= w.MAX_DATA:
            return over  # the common case of update_due, without a call
    if int(update_due(at)) != 0:
        over |= w.UPDATE_DUE
        if (
            c[w.BASE] < w.WIDE
            and c[w.READ_CNT] >> 2 >= c[w.BASE]
            and not c[w.OPTIONS] & w.OPT_FIXED_WINDOW
        ):
            over |= w.WIDEN
    return over


@micropython.viper
def update_due(at: int) -> int:
    """1 if a CREDIT_UPDATE is worth its packet; it is then owed."""
    c = ptr32(at)
    untold = (c[w.FWD_CNT] - c[w.FWD_SENT]) & c[w.ONES]
    if untold == 0 or c[w.STATE] != w.ESTABLISHED or c[w.SHUT] & w.SHUT_PEER_SEND:
        return 0
    window = c[w.BUF_ALLOC]
    queued = (c[w.RX_CNT] - c[w.READ_CNT]) & c[w.ONES]
    if c[w.OPTIONS] & w.OPT_LOOPBACK:
        if queued >= c[w.LOWAT] and window >= w.MAX_DATA and untold <= window - w.MAX_DATA:
            return 0
        c[w.OWED] = c[w.OWED] | w.OWE_UPDATE
        return 1
    known = int(peer_knows(at))
    if untold < window >> 1 and (known >= w.MAX_DATA or untold < window >> 4):
        if queued >= c[w.LOWAT] or (c[w.LOWAT] == 1 and c[w.PEER_ALLOC] >= w.MAX_DATA):
            return 0
    c[w.OWED] = c[w.OWED] | w.OWE_UPDATE
    return 1


@inline
@micropython.viper
def consumed(at: int, n: int) -> int:
    """`n` bytes left the receive queue. Returns what `news` does."""
    count(at, n)
    return int(news(at))


@micropython.viper
def tell(at: int) -> int:
    """The program wants more than there is: say what it has consumed. 1 if that is owed now.

    A sender with a buffer far smaller than our window would wait for this for ever. Linux tells
    on every recv that empties the queue; we when the program is about to sleep.
    """
    c = ptr32(at)
    if c[w.OPTIONS] & w.OPT_LOOPBACK == 0:
        c[w.FWD_CNT] = c[w.READ_CNT]
    elif c[w.RX_CNT] == c[w.READ_CNT] and c[w.SHUT] & w.SHUT_LOCAL_RCV == 0:
        c[w.FWD_CNT] = c[w.READ_CNT]
    if (
        c[w.FWD_CNT] == c[w.FWD_SENT]
        or c[w.STATE] != w.ESTABLISHED
        or c[w.SHUT] & w.SHUT_PEER_SEND
    ):
        return 0
    c[w.OWED] = c[w.OWED] | w.OWE_UPDATE
    return 1


@inline
@micropython.viper
def told(at: int):
    """A header goes out: the peer now knows our credit."""
    c = ptr32(at)
    c[w.FWD_SENT] = c[w.FWD_CNT]
    c[w.OWED] = c[w.OWED] & (0xFFFF - w.OWE_UPDATE)
    edge = (c[w.FWD_CNT] + c[w.BUF_ALLOC]) & c[w.ONES]
    # A shrunk window does not take back what was promised: the edge moves forward only.
    # It may even lie under what has come: no room then, not 2**32 less something.
    used = (c[w.RX_CNT] - c[w.FWD_CNT]) & c[w.ONES]
    if used < c[w.BUF_ALLOC] and c[w.BUF_ALLOC] - used > (c[w.EDGE] - c[w.RX_CNT]) & c[w.ONES]:
        c[w.EDGE] = edge


@micropython.viper
def release_reserve(at: int) -> int:
    """The peer is stuck: say more of what was read, if less was said. Returns how many bytes."""
    c = ptr32(at)
    more = (c[w.READ_CNT] - c[w.FWD_CNT]) & c[w.ONES]
    if more > w.STEP:
        more = w.STEP
    c[w.FWD_CNT] = (c[w.FWD_CNT] + more) & c[w.ONES]
    return more


@micropython.viper
def grow(at: int, step: int):
    """So many bytes more of window; the memory for them is there."""
    c = ptr32(at)
    if c[w.STATE] == w.ESTABLISHED:
        c[w.BUF_ALLOC] = c[w.BUF_ALLOC] + step
        c[w.OWED] = c[w.OWED] | w.OWE_UPDATE


@micropython.viper
def widen(at: int, step: int):
    """The same for a program that reads a lot."""
    c = ptr32(at)
    c[w.BUF_ALLOC] = c[w.BUF_ALLOC] + step
    c[w.BASE] = c[w.BASE] + step


@micropython.viper
def set_window(at: int, size: int):
    """The program's window: advertised from now on, and told at once to a connected peer."""
    c = ptr32(at)
    c[w.BUF_ALLOC] = size
    c[w.BASE] = size
    if c[w.OPTIONS] & w.OPT_LOOPBACK == 0:
        c[w.FWD_CNT] = c[w.READ_CNT]
    if c[w.STATE] == w.ESTABLISHED:
        c[w.OWED] = c[w.OWED] | w.OWE_UPDATE
