# SPDX-License-Identifier: MIT
"""The life of one connection: its state, its credit both ways, the control packets it owes.

A connection is a block of 32-bit words, so that a viper function reaches all of it through one
pointer (an attribute of an object costs ten times as much) and so that 1,000 idle ones are small.
It begins with the header of the packets that it sends. Functions here only compute: they never
touch a queue, a buffer or a clock, and run under CPython and MicroPython alike. All counters wrap
at 2**32 and nothing that the peer sends is taken for sane.

No function here can be cut in two: MicroPython looks for Ctrl-C and for scheduled handlers in
bytecode only, and what changes a connection is native code.
"""

from array import array

from inline import inline

from .layout import addressof, const

try:
    import micropython
except ImportError:
    from .portable import micropython, ptr32

# Words 0..10 are the header of outgoing packets, packet.py's W_*.
_LEN = const(6)
TYPE_OP = const(7)
_FLAGS = const(8)
BUF_ALLOC = const(9)  # what we advertise
FWD_CNT = const(10)  # bytes that left our receive queue, as far as we say so
STATE = const(11)
SHUT = const(12)  # SHUT_* bits: who said what; they add up and never go away
TX_CNT = const(13)  # bytes sent
PEER_ALLOC = const(14)
PEER_FWD = const(15)
RX_CNT = const(16)  # bytes received
FWD_SENT = const(17)  # FWD_CNT as the peer knows it
EDGE = const(18)  # RX_CNT may not pass this: the furthest that we ever advertised
LOWAT = const(19)  # SO_RCVLOWAT
SEND_LIMIT = const(20)  # at most this much in flight, whatever the peer would take
OWED = const(21)  # OWE_* bits
EVENTS = const(22)  # EV_* since somebody last looked (ready.py)
HEAD = const(23)  # first and last segment of the receive queue (store.py), NONE if empty
TAIL = const(24)
LENT = const(25)  # buffers of the program that the device still reads (transmit.py)
ERROR = const(26)  # SO_ERROR
OPTIONS = const(27)  # OPT_* bits
HELD = const(28)  # segments in the receive queue
_ONES = const(29)  # 0xFFFFFFFF: the mask of 32-bit arithmetic; viper has no such literal
MESSAGES = const(30)  # whole messages in the receive queue (seqpacket)
READ_CNT = const(31)  # bytes that left our receive queue: RX_CNT - READ_CNT are queued
BASE = const(32)  # the window before it grew
_ASKED_READ = const(33)  # READ_CNT and PEER_FWD at the last CREDIT_REQUEST that found us full
_ASKED_FWD = const(34)
WANTED = const(35)  # 1: somebody had not enough room to send and waits for credit
WORDS = const(36)

FRESH = const(0)
CONNECTING = const(1)  # REQUEST is under way
ESTABLISHED = const(2)
CLOSING = const(3)  # the program closed it: both directions shut, waiting for the peer's RST
CLOSED = const(4)  # RST came or went; what is queued may still be read
STATE_NAMES = ("FRESH", "CONNECTING", "ESTABLISHED", "CLOSING", "CLOSED")

SHUT_LOCAL_RCV = const(1)
SHUT_LOCAL_SEND = const(2)
SHUT_PEER_RCV = const(4)
SHUT_PEER_SEND = const(8)
_LOCAL = const(3)
_PEER = const(12)

OWE_RST = const(1)
OWE_REQUEST = const(2)
OWE_RESPONSE = const(4)
OWE_UPDATE = const(8)
OWE_CREDIT_REQUEST = const(16)
OWE_SHUTDOWN = const(32)

EV_READ = const(1)  # data, the end, or an error: recv would not block
EV_WRITE = const(2)  # credit came that somebody waits for, or an error: send would not block
EV_CLOSED = const(4)  # nothing more will come; the connection leaves the table
EV_GROW = const(8)  # the peer is stuck with us full: a larger window would help

STEP = const(262144)  # a window grows by this at a time
_WIDE = const(1 << 20)  # by itself, without a peer that is stuck, up to here

OPT_LATE_SEND = const(1)  # the program wants to send even after the peer's SHUTDOWN(RCV)
OPT_FIXED_WINDOW = const(2)  # the program chose the window: it does not grow by itself
OPT_SHUTDOWN_ONCE = const(4)  # the host hears SHUTDOWN at any time: a second one would be astray

UPDATE_DUE = const(1)  # of `consumed`: the peer should hear about it now
TOLD_BOTH = const(2)  # the peer has shut both directions: `settle` may have something to do
WIDEN = const(4)  # much is read: a wider window would keep the peer from waiting for updates

_RESPONSE = const(2)
_RST = const(3)
_SHUTDOWN = const(4)
_RW = const(5)
_CREDIT_REQUEST = const(7)
_SHUTDOWN_BOTH = const(3)
_EOM = const(1)
_SEQPACKET = const(2)

_PIPE = const(32)  # EPIPE
_PROTO = const(71)  # EPROTO
_RESET = const(104)  # ECONNRESET
_NOBUFS = const(105)  # ENOBUFS

_MAX_PACKET = const(65536)
_NOTHING = const(-1)


@micropython.native
def control_block(local_cid, local_port, peer_cid, peer_port, kind, buf_alloc):
    """A FRESH connection's words. `kind` is TYPE_STREAM or TYPE_SEQPACKET."""
    block = array("I", _TEMPLATE)
    block[0] = local_cid & 0xFFFFFFFF
    block[2] = peer_cid & 0xFFFFFFFF
    block[4] = local_port
    block[5] = peer_port
    block[TYPE_OP] = kind
    block[BUF_ALLOC] = block[BASE] = block[EDGE] = block[SEND_LIMIT] = buf_alloc
    return block


def _template():
    block = array("I", bytes(4 * WORDS))
    block[_ONES] = block[HEAD] = block[TAIL] = 0xFFFFFFFF
    block[_ASKED_READ] = 1  # differs from READ_CNT until somebody asks
    block[LOWAT] = 1
    return bytes(block)


_TEMPLATE = _template()


@micropython.viper
def _enter(at: int, state: int) -> int:
    """The one place where a connection changes its state. Returns the events this causes."""
    c = ptr32(at)
    before = c[STATE]
    c[STATE] = state
    events = 0
    if state == CLOSED:
        # Linux: a reset established connection looks like one that the peer shut both ways.
        c[SHUT] = c[SHUT] | _PEER
        c[OWED] = c[OWED] & OWE_RST
        if before != CLOSED:
            events = EV_READ | EV_WRITE | EV_CLOSED
    elif state == ESTABLISHED:
        events = EV_READ | EV_WRITE
    return events


@micropython.viper
def connect(at: int):
    """Ask the peer for a connection."""
    c = ptr32(at)
    c[OWED] = OWE_REQUEST
    _enter(at, CONNECTING)


@micropython.viper
def accept(at: int, peer_alloc: int, peer_fwd: int):
    """Answer a peer's REQUEST, which carried its credit."""
    c = ptr32(at)
    c[PEER_ALLOC] = peer_alloc
    c[PEER_FWD] = peer_fwd
    c[OWED] = OWE_RESPONSE
    _enter(at, ESTABLISHED)


@micropython.viper
def on_control(at: int, op: int, flags: int, peer_alloc: int, peer_fwd: int) -> int:
    """A packet without data came. Returns EV_* bits; unknown operations change nothing."""
    c = ptr32(at)
    state = c[STATE]
    if state == CLOSED or op == 0:
        return 0
    events = int(on_credit(at, peer_alloc, peer_fwd))
    if op == _RST:
        if state == CONNECTING:
            c[ERROR] = _RESET
        c[OWED] = 0
        return events | int(_enter(at, CLOSED))
    if c[STATE] == CLOSED:
        return events  # the RST waited for the credit that this packet brought
    if state == CONNECTING:
        if op == _RESPONSE:
            return events | int(_enter(at, ESTABLISHED))
        c[ERROR] = _PROTO
        c[OWED] = OWE_RST
        return events | int(_enter(at, CLOSED))
    if op == _SHUTDOWN:
        c[SHUT] = c[SHUT] | ((flags & _SHUTDOWN_BOTH) << 2)
        return events | EV_READ | EV_WRITE | int(settle(at))
    if op == _CREDIT_REQUEST:
        # Always answered, even with nothing to give: vhost-device-vsock wakes up on nothing else.
        c[OWED] = c[OWED] | OWE_UPDATE
        full = (c[RX_CNT] - c[FWD_CNT]) & c[_ONES] >= c[BUF_ALLOC]
        if full and not c[OPTIONS] & OPT_FIXED_WINDOW:
            # Full happens; stuck is when nothing moves either way from one request to the next.
            if c[READ_CNT] == c[_ASKED_READ] and c[PEER_FWD] == c[_ASKED_FWD]:
                events |= EV_GROW
            c[_ASKED_READ] = c[READ_CNT]
            c[_ASKED_FWD] = c[PEER_FWD]
    return events


@micropython.viper
def on_credit(at: int, peer_alloc: int, peer_fwd: int) -> int:
    """Every packet brings the peer's credit (5.10.6.3). Returns EV_* bits."""
    c = ptr32(at)
    if peer_alloc == c[PEER_ALLOC] and peer_fwd == c[PEER_FWD]:
        return 0
    events = int(credit(at, peer_alloc, peer_fwd))
    if peer_fwd != c[TX_CNT] or c[STATE] == CLOSED:
        return events
    # The peer holds no more bytes of ours: an RST may have waited for that.
    events |= int(settle(at))
    if c[STATE] != CLOSED and c[SHUT] & SHUT_LOCAL_SEND:
        # vhost-device-vsock ignores a SHUTDOWN while it still holds some: say it again.
        if c[OPTIONS] & OPT_SHUTDOWN_ONCE == 0:
            c[OWED] = c[OWED] | OWE_SHUTDOWN
    return events


@inline
@micropython.viper
def credit(at: int, peer_alloc: int, peer_fwd: int) -> int:
    """What `on_credit` comes to while no end is in sight: EV_WRITE if somebody waits for it.

    Without that, each update woke the echo for nothing: a twelfth of its throughput.
    """
    c = ptr32(at)
    if peer_alloc == c[PEER_ALLOC] and peer_fwd == c[PEER_FWD]:
        return 0
    c[PEER_ALLOC] = peer_alloc
    c[PEER_FWD] = peer_fwd
    if c[WANTED] == 0:
        return 0
    c[WANTED] = 0
    return EV_WRITE


@micropython.viper
def settle(at: int) -> int:
    """RST once both directions are closed and nothing is unread or unsent. Returns EV_* bits."""
    c = ptr32(at)
    state = c[STATE]
    if c[SHUT] & _PEER != _PEER or (state != ESTABLISHED and state != CLOSING):
        return 0
    if c[PEER_FWD] != c[TX_CNT]:
        # The peer still holds bytes of ours that the RST would destroy. It tells when they are
        # gone; the table sends the RST after a while if it does not (Linux's peers need not).
        c[OWED] = c[OWED] | OWE_CREDIT_REQUEST
        return 0
    if state == ESTABLISHED:
        if c[OPTIONS] & OPT_LATE_SEND or c[RX_CNT] != c[READ_CNT]:
            return 0
    c[OWED] = OWE_RST
    return int(_enter(at, CLOSED))


@inline
@micropython.viper
def admit(at: int, n: int, flags: int, peer_alloc: int, peer_fwd: int) -> int:
    """OP_RW with `n` bytes came. Returns `n` if they are to be queued, 0 if to be dropped.

    -1: the peer broke its credit or the order of things; the connection is closed by an RST.
    Bytes to be queued count as queued; `overflow` takes that back. `flags` are those of a
    seqpacket's packet, 0 on a stream.
    """
    c = ptr32(at)
    state = c[STATE]
    if state == ESTABLISHED and c[SHUT] == 0:
        events = int(credit(at, peer_alloc, peer_fwd))
    else:
        events = int(on_credit(at, peer_alloc, peer_fwd))
    c[EVENTS] = c[EVENTS] | events
    if state == CONNECTING:
        c[ERROR] = _PROTO
        c[OWED] = OWE_RST
        c[EVENTS] = c[EVENTS] | int(_enter(at, CLOSED))
        return _NOTHING
    if (state != ESTABLISHED and state != CLOSING) or c[SHUT] & SHUT_PEER_SEND:
        return 0
    if (c[EDGE] - c[RX_CNT]) & c[_ONES] < n:
        fail(at, _NOBUFS)
        return _NOTHING
    if c[SHUT] & SHUT_LOCAL_RCV:
        _swallow(at, n)
        return 0
    c[RX_CNT] = (c[RX_CNT] + n) & c[_ONES]
    if flags & _EOM:
        c[MESSAGES] = c[MESSAGES] + 1
    c[EVENTS] = c[EVENTS] | EV_READ
    return n


@micropython.viper
def _swallow(at: int, n: int):
    """The program does not want to read any more: bytes count as received and as read."""
    c = ptr32(at)
    c[RX_CNT] = (c[RX_CNT] + n) & c[_ONES]
    consumed(at, n)


@micropython.viper
def overflow(at: int, n: int, flags: int):
    """There is no memory for the `n` bytes just admitted: they do not count, it is the end."""
    c = ptr32(at)
    c[RX_CNT] = (c[RX_CNT] - n) & c[_ONES]
    if flags & _EOM:
        c[MESSAGES] = c[MESSAGES] - 1
    fail(at, _NOBUFS)


@micropython.viper
def fail(at: int, error: int):
    """End the connection from our side: RST, and `error` for whoever asks."""
    c = ptr32(at)
    if c[STATE] != CLOSED:
        c[ERROR] = error
        c[OWED] = OWE_RST
        c[EVENTS] = c[EVENTS] | int(_enter(at, CLOSED))


@micropython.viper
def drop(at: int, error: int):
    """The connection is gone without anybody to tell (time-out, TRANSPORT_RESET)."""
    c = ptr32(at)
    c[ERROR] = error
    c[OWED] = 0
    c[EVENTS] = c[EVENTS] | int(_enter(at, CLOSED))


@inline
@micropython.viper
def consumed(at: int, n: int) -> int:
    """`n` bytes left the receive queue. Returns what `news` does."""
    count(at, n)
    return int(news(at))


@inline
@micropython.viper
def count(at: int, n: int):
    """`n` bytes left the receive queue; `news` says what follows from it."""
    c = ptr32(at)
    read = (c[READ_CNT] + n) & c[_ONES]
    c[READ_CNT] = read
    # What a window grew by is a reserve for the next time that the peer is stuck: it is held
    # back again by saying less than was read. (The window itself must not shrink: the peer's
    # arithmetic may be unsigned.)
    reserve = c[BUF_ALLOC] - c[BASE]
    if (read - c[FWD_CNT]) & c[_ONES] > reserve:
        c[FWD_CNT] = (read - reserve) & c[_ONES]


@inline
@micropython.viper
def news(at: int) -> int:
    """What follows from bytes having been read: UPDATE_DUE, TOLD_BOTH and WIDEN, or none of them.

    Linux tells when free space, as the peer knows it, falls below one largest packet, or when
    what is queued falls below SO_RCVLOWAT. We also tell of each half of the window, so that a fast
    peer never stops, but never of less than a sixteenth: no update for each small packet.
    """
    c = ptr32(at)
    over = 0
    if c[SHUT] & _PEER == _PEER:
        over = TOLD_BOTH
    if c[LOWAT] == 1 and (c[FWD_CNT] - c[FWD_SENT]) & c[_ONES] < c[BUF_ALLOC] >> 4:
        return over  # the common case of update_due, without a call
    if int(update_due(at)) != 0:
        over |= UPDATE_DUE
        if c[BASE] < _WIDE and c[READ_CNT] >> 2 >= c[BASE] and not c[OPTIONS] & OPT_FIXED_WINDOW:
            over |= WIDEN
    return over


@micropython.viper
def release_reserve(at: int) -> int:
    """The peer is stuck: say more of what was read, if less was said. Returns how many bytes."""
    c = ptr32(at)
    more = (c[READ_CNT] - c[FWD_CNT]) & c[_ONES]
    if more > STEP:
        more = STEP
    c[FWD_CNT] = (c[FWD_CNT] + more) & c[_ONES]
    return more


@micropython.viper
def grow(at: int):
    """One STEP more of window; the memory for it is there."""
    c = ptr32(at)
    if c[STATE] == ESTABLISHED:
        c[BUF_ALLOC] = c[BUF_ALLOC] + STEP
        c[OWED] = c[OWED] | OWE_UPDATE


@micropython.viper
def widen(at: int):
    """One STEP more of window for a program that reads a lot; the memory for it is there."""
    c = ptr32(at)
    c[BUF_ALLOC] = c[BUF_ALLOC] + STEP
    c[BASE] = c[BASE] + STEP


@micropython.viper
def update_due(at: int) -> int:
    """1 if a CREDIT_UPDATE is worth its packet; it is then owed."""
    c = ptr32(at)
    untold = (c[FWD_CNT] - c[FWD_SENT]) & c[_ONES]
    if untold == 0 or c[STATE] != ESTABLISHED or c[SHUT] & SHUT_PEER_SEND:
        return 0
    window = c[BUF_ALLOC]
    known = int(peer_knows(at))
    if untold < window >> 1 and (known >= _MAX_PACKET or untold < window >> 4):
        queued = (c[RX_CNT] - c[READ_CNT]) & c[_ONES]
        if c[LOWAT] == 1 or queued >= c[LOWAT]:
            return 0
    c[OWED] = c[OWED] | OWE_UPDATE
    return 1


@micropython.viper
def tell(at: int) -> int:
    """The program wants more than there is: say what it has consumed. 1 if that is owed now.

    A sender with a buffer far smaller than our window would wait for this for ever. Linux tells
    on every recv that empties the queue; we when the program is about to sleep.
    """
    c = ptr32(at)
    c[FWD_CNT] = c[READ_CNT]
    if c[FWD_CNT] == c[FWD_SENT] or c[STATE] != ESTABLISHED or c[SHUT] & SHUT_PEER_SEND:
        return 0
    c[OWED] = c[OWED] | OWE_UPDATE
    return 1


@micropython.viper
def peer_knows(at: int) -> int:
    """Free space that the peer may fill without hearing from us again."""
    c = ptr32(at)
    used = (c[RX_CNT] - c[FWD_SENT]) & c[_ONES]
    if used >= c[BUF_ALLOC]:
        return 0
    return c[BUF_ALLOC] - used


@micropython.viper
def queued(at: int) -> int:
    """Bytes in the receive queue."""
    c = ptr32(at)
    return (c[RX_CNT] - c[READ_CNT]) & c[_ONES]


@micropython.viper
def readable(at: int) -> int:
    """1 if recv would not block: enough queued, the peer's end, our own SHUT_RD, or closed."""
    c = ptr32(at)
    if c[STATE] == CLOSED or c[SHUT] & (SHUT_LOCAL_RCV | SHUT_PEER_SEND):
        return 1
    if c[TYPE_OP] & 0xFFFF == _SEQPACKET:
        return int(c[MESSAGES] != 0)
    n = (c[RX_CNT] - c[READ_CNT]) & c[_ONES]
    return int(n != 0 and n >= c[LOWAT])


@inline
@micropython.viper
def room(at: int) -> int:
    """Bytes that may be sent now, 0 or more; -EPIPE if none ever again."""
    c = ptr32(at)
    state = c[STATE]
    shut = c[SHUT]
    if state != ESTABLISHED or shut & SHUT_LOCAL_SEND:
        return 0 - _PIPE
    if shut & SHUT_PEER_RCV and not c[OPTIONS] & OPT_LATE_SEND:
        return 0 - _PIPE
    limit = c[PEER_ALLOC]
    if limit > c[SEND_LIMIT]:
        limit = c[SEND_LIMIT]
    flying = (c[TX_CNT] - c[PEER_FWD]) & c[_ONES]
    if flying >= limit:  # also a peer that "forwarded" what was never sent
        return 0
    return limit - flying


@inline
@micropython.viper
def _tell(at: int):
    """A header goes out: the peer now knows our credit."""
    c = ptr32(at)
    c[FWD_SENT] = c[FWD_CNT]
    c[OWED] = c[OWED] & (0xFFFF - OWE_UPDATE)
    edge = (c[FWD_CNT] + c[BUF_ALLOC]) & c[_ONES]
    # A shrunk window does not take back what was promised: the edge moves forward only.
    # It may even lie under what has come: no room then, not 2**32 less something.
    used = (c[RX_CNT] - c[FWD_CNT]) & c[_ONES]
    if used < c[BUF_ALLOC] and c[BUF_ALLOC] - used > (c[EDGE] - c[RX_CNT]) & c[_ONES]:
        c[EDGE] = edge


@inline
@micropython.viper
def send(at: int, n: int, flags: int):
    """Make the header one of OP_RW with `n` bytes, at most `room()`, and count them as sent."""
    c = ptr32(at)
    c[_LEN] = n
    c[TYPE_OP] = (c[TYPE_OP] & 0xFFFF) | (_RW << 16)
    c[_FLAGS] = flags
    c[TX_CNT] = (c[TX_CNT] + n) & c[_ONES]
    _tell(at)


@micropython.viper
def next_owed(at: int) -> int:
    """Make the header that of the next control packet owed; returns its op, 0 if none is."""
    c = ptr32(at)
    owed = c[OWED]
    if owed == 0:
        return 0
    bit = 1
    op = _RST
    if owed & OWE_RST == 0:
        bit = owed & (0 - owed)
        if bit == OWE_REQUEST:
            op = 1
        elif bit == OWE_RESPONSE:
            op = _RESPONSE
        elif bit == OWE_UPDATE:
            op = 6
        elif bit == OWE_CREDIT_REQUEST:
            op = _CREDIT_REQUEST
        else:
            op = _SHUTDOWN
    c[_LEN] = 0
    c[TYPE_OP] = (c[TYPE_OP] & 0xFFFF) | (op << 16)
    c[_FLAGS] = 0
    if op == _SHUTDOWN:
        c[_FLAGS] = c[SHUT] & _LOCAL
    c[OWED] = owed - bit
    _tell(at)
    return op


@micropython.viper
def shutdown(at: int, how: int) -> int:
    """The program closes directions: SHUT_LOCAL_* bits. Returns bytes to discard unread."""
    c = ptr32(at)
    if c[SHUT] & how != how:
        c[SHUT] = c[SHUT] | how
        if c[STATE] == ESTABLISHED:
            c[OWED] = c[OWED] | OWE_SHUTDOWN
    c[EVENTS] = c[EVENTS] | EV_READ | EV_WRITE
    if how & SHUT_LOCAL_RCV:
        return (c[RX_CNT] - c[READ_CNT]) & c[_ONES]
    return 0


@micropython.viper
def close(at: int) -> int:
    """The program is done with it. Returns EV_* bits; without EV_CLOSED it still waits for RST."""
    c = ptr32(at)
    state = c[STATE]
    if state == CLOSED:
        return 0
    if state != ESTABLISHED:
        # A REQUEST under way: whatever comes back meets no connection and gets an RST.
        c[OWED] = 0
        return int(_enter(at, CLOSED))
    if c[SHUT] & _LOCAL != _LOCAL:
        c[OWED] = c[OWED] | OWE_SHUTDOWN
    c[SHUT] = c[SHUT] | _LOCAL
    events = int(_enter(at, CLOSING))
    if c[SHUT] & _PEER == _PEER:
        c[OWED] = c[OWED] & (0xFFFF - OWE_SHUTDOWN)
    return events | int(settle(at))


@micropython.viper
def set_window(at: int, size: int):
    """The program's window: advertised from now on, and told at once to a connected peer."""
    c = ptr32(at)
    c[BUF_ALLOC] = size
    c[BASE] = size
    c[FWD_CNT] = c[READ_CNT]
    if c[STATE] == ESTABLISHED:
        c[OWED] = c[OWED] | OWE_UPDATE


def describe(block):
    """A control block in words, for a person at the prompt."""
    return "%s %d:%d > %d:%d shut=%d queued=%d in_flight=%d credit=%d" % (
        STATE_NAMES[block[STATE]],
        block[0],
        block[4],
        block[2],
        block[5],
        block[SHUT],
        (block[RX_CNT] - block[READ_CNT]) & 0xFFFFFFFF,
        (block[TX_CNT] - block[PEER_FWD]) & 0xFFFFFFFF,
        max(0, room(addressof(block))),
    )
