# SPDX-License-Identifier: MIT
"""Layouts and numbers of vsock, each once: the packet, and the words that functions share.

Constants only: the build folds them into the modules that use them. What a hot function needs lies
in arrays of 32-bit words, because an object's attribute costs 95 ns under TCG and a word 2. An
address takes two words, its low half first.
"""

from portable import const

POLL_US = const(1000)  # how often a device without MSI-X is looked at

# -- the packet (virtio 1.2, 5.10.6) --------------------------------------------------------------

HEADER_LEN = const(44)
MAX_DATA = const(65536)  # the largest payload that Linux and we put into one packet

# The header as little-endian 32-bit words.
SRC_CID = const(0)  # two words; the high half is 0 (5.10.4)
SRC_CID_HIGH = const(1)
DST_CID = const(2)  # two words
DST_CID_HIGH = const(3)
SRC_PORT = const(4)
DST_PORT = const(5)
LEN = const(6)  # bytes of payload
TYPE_OP = const(7)  # TYPE_* in the low half, OP_* in the high half
FLAGS = const(8)
BUF_ALLOC = const(9)  # bytes; the window that the sender of the packet offers
FWD_CNT = const(10)  # bytes that left the sender's receive queue; wraps
HEADER_WORDS = const(11)

OP_SHIFT = const(16)  # of TYPE_OP
TYPE_MASK = const(0xFFFF)

CID_ANY = const(0xFFFFFFFF)  # VMADDR_CID_*, linux/vm_sockets.h
CID_HYPERVISOR = const(0)
CID_LOCAL = const(1)
CID_HOST = const(2)
PORT_ANY = const(0xFFFFFFFF)

TYPE_STREAM = const(1)
TYPE_SEQPACKET = const(2)
TYPE_DGRAM = const(3)  # not in virtio 1.2: as the series of 2026 for Linux has it

F_STREAM = const(1 << 0)  # feature bits, 5.10.3
F_SEQPACKET = const(1 << 1)
F_DGRAM = const(1 << 3)  # as TYPE_DGRAM

OP_INVALID = const(0)
OP_REQUEST = const(1)
OP_RESPONSE = const(2)
OP_RST = const(3)
OP_SHUTDOWN = const(4)
OP_RW = const(5)
OP_CREDIT_UPDATE = const(6)
OP_CREDIT_REQUEST = const(7)

SHUTDOWN_RCV = const(1)  # flags of OP_SHUTDOWN, 5.10.6.5
SHUTDOWN_SEND = const(2)
SHUTDOWN_BOTH = const(3)
SEQ_EOM = const(1)  # flags of OP_RW on seqpacket, 5.10.6.7: EOM ends a message, EOR a record
SEQ_EOR = const(2)

EVENT_TRANSPORT_RESET = const(0)  # 5.10.6.8
EVENT_BYTES = const(4)

# -- a connection's control block (control.py, credit.py) -----------------------------------------

# It begins with the header of the packets that it sends: SRC_CID is our end's, BUF_ALLOC the
# window that we offer. Set when the connection is made, but for
#   LEN, TYPE_OP's op, FLAGS   set for each packet by `send` and `next_owed`
#   BUF_ALLOC                  bytes; raised by `grow` and `widen`, set by `set_window`
#   FWD_CNT                    bytes read, as far as we say so; raised by `count`, `tell`,
#                              `release_reserve` and `set_window`; wraps
STATE = const(11)  # FRESH to CLOSED; changed by control.enter alone
SHUT = const(12)  # SHUT_* bits: who said what; they add up, nobody clears them
TX_CNT = const(13)  # bytes sent; raised by `send`; wraps
PEER_ALLOC = const(14)  # bytes; the peer's buf_alloc as its last packet had it
PEER_FWD = const(15)  # the peer's fwd_cnt likewise; wraps
RX_CNT = const(16)  # bytes received; raised by `admit`, taken back by `overflow`; wraps
FWD_SENT = const(17)  # FWD_CNT as the peer knows it; set with each packet that goes out; wraps
EDGE = const(18)  # RX_CNT may not pass this: the furthest ever advertised; moves forward; wraps
LOWAT = const(19)  # bytes; SO_RCVLOWAT; set by the socket; 0: recv has to look, it may be ENOMEM
SEND_LIMIT = const(20)  # bytes in flight at most, whatever the peer would take; set by the socket
OWED = const(21)  # OWE_* bits; set by what happens, cleared by `next_owed` as packets go out
EVENTS = const(22)  # EV_* bits since somebody looked; cleared by Stack.after and Receiver
HEAD = const(23)  # first segment of the receive queue, ONES if empty; the Store's to write
TAIL = const(24)  # the last one; meaningless while HEAD is ONES; the Store's to write
LENT = const(25)  # a program's buffers that the device still reads; up and down by Transmitter
ERROR = const(26)  # errno, SO_ERROR; set when the connection ends, cleared by who reads it
OPTIONS = const(27)  # OPT_* bits; set by the socket
HELD = const(28)  # segments in the receive queue; the Store's to write
ONES = const(29)  # 0xFFFFFFFF, the mask of 32-bit arithmetic; never changes
MESSAGES = const(30)  # whole messages in the receive queue; up by `admit`, down by who reads one
READ_CNT = const(31)  # bytes that left our receive queue: RX_CNT - READ_CNT are queued; wraps
BASE = const(32)  # bytes; the window before it grew; raised by `widen`, set by `set_window`
ASKED_READ = const(33)  # if ASKED: READ_CNT at the last CREDIT_REQUEST that found us full
ASKED_FWD = const(34)  # PEER_FWD at that time
WANTED = const(35)  # 1: somebody had not enough room to send; set by who waits, cleared by credit
WATCHED = const(37)  # 1: a Ready wants to hear of events; set and cleared by Connection.hear
BORDERS = const(36)  # flags of OP_RW that count, set when made; 0: bytes without borders (stream)
ASKED = const(38)  # 1: a CREDIT_REQUEST has found us full; set with the first one
PLEDGE = const(39)  # blocks of the store that this connection's window may count on; see budget.py
BLOCK_WORDS = const(40)

# -- a datagram port's block (datagram.py) --------------------------------------------------------

# A control block, of which it uses the header (of the message that it sends), RX_CNT, READ_CNT
# (bytes of messages), MESSAGES, PLEDGE, LENT and what is the Store's. What follows is Port's.
DG_LIMIT = const(40)  # bytes that may be queued, 0 until it is bound; set by `promise`
DG_FILTER = const(41)  # 1: DG_PEER_* alone may send to it; set by Datagrams.only_from
DG_PEER_CID = const(42)
DG_PEER_PORT = const(43)
DG_FULL = const(44)  # messages that found no room; wraps
DG_FIRST = const(45)  # index of the first record
DG_RECORDS = const(46)  # from here on the records of the messages in the queue, a ring of them
DG_MOST = const(256)  # messages in a queue; a power of two
REC_CID = const(0)  # who sent it
REC_PORT = const(1)
REC_LEN = const(2)  # bytes
REC_WORDS = const(3)
DG_WORDS = const(DG_RECORDS + DG_MOST * REC_WORDS)

# STATE
FRESH = const(0)
CONNECTING = const(1)  # REQUEST is under way
ESTABLISHED = const(2)
CLOSING = const(3)  # the program closed it: both directions shut, waiting for the peer's RST
CLOSED = const(4)  # RST came or went; what is queued may still be read

# SHUT
SHUT_LOCAL_RCV = const(1)
SHUT_LOCAL_SEND = const(2)
SHUT_LOCAL = const(3)
SHUT_PEER_RCV = const(4)
SHUT_PEER_SEND = const(8)
SHUT_PEER = const(12)
SHUT_PEER_SHIFT = const(2)  # from flags of OP_SHUTDOWN to SHUT_PEER_*
SHUT_LOST = const(16)  # the device lost the connection
SHUT_UNREAD = const(32)  # as the peer ended both directions there were bytes to read,
SHUT_FULL = const(64)  # and it had no room for ours
SHUT_NO_MORE = const(9)  # SHUT_LOCAL_RCV or SHUT_PEER_SEND: nothing more will be queued

# OWED: control packets, in the order in which they go out but for the RST, which goes first
OWE_RST = const(1)
OWE_REQUEST = const(2)
OWE_RESPONSE = const(4)
OWE_UPDATE = const(8)
OWE_CREDIT_REQUEST = const(16)
OWE_SHUTDOWN = const(32)

# EVENTS
EV_READ = const(1)  # data, the end, or an error: recv would not block
EV_WRITE = const(2)  # credit came that somebody waits for, or an error: send would not block
EV_CLOSED = const(4)  # nothing more will come; the connection leaves the table
EV_GROW = const(8)  # the peer is stuck with us full: a larger window would help
EV_STACK = const(12)  # those that the Stack has to do something about

# OPTIONS
OPT_LATE_SEND = const(1)  # the program wants to send even after the peer's SHUTDOWN(RCV)
OPT_FIXED_WINDOW = const(2)  # the program chose the window: it does not grow by itself
OPT_LOOPBACK = const(8)  # both ends are here: credit is given when Linux gives it, not before
OPT_SHUTDOWN_ONCE = const(4)  # the host hears SHUTDOWN at any time: a second one would be astray

# What credit.news says.
UPDATE_DUE = const(1)  # the peer should hear about it now
TOLD_BOTH = const(2)  # the peer has shut both directions: `settle` may have something to do
WIDEN = const(4)  # much is read: a wider window would keep the peer from waiting for updates
TAKEN = const(8)  # over the loopback: packets may have been read to their ends

STEP = const(262144)  # bytes; a window grows by this at a time
WIDE = const(1 << 20)  # bytes; by itself, without a peer that is stuck, up to here

# -- received bytes (store.py) --------------------------------------------------------------------

LARGE = const(65536)  # bytes of payload in a large segment
# Where a copy's source and destination have the same page number modulo its size, QEMU's soft
# TLB misses on every page; an odd number of pages, plus a bit, keeps buffers apart.
LARGE_STRIDE = const(69632 + 64)
BUFFER_LEN = const(HEADER_LEN + LARGE)  # a receive buffer: header and payload in one piece
HEADER_AT = const(20)  # so far into a buffer the header begins: the payload is aligned to 64
BLOCK = const(4096)  # bytes of a small segment
BLOCK_SHIFT = const(12)
CHUNK_BLOCKS = const(64)  # blocks come in chunks of 256 KiB, one STEP of a growing window
COPYBREAK = const(2048)  # bytes; below, a copy costs less than keeping a buffer from the ring

# A segment.
SEG_NEXT = const(0)  # the following one in a queue or on a free list; 0xFFFFFFFF at the end
SEG_START = const(1)  # first unread byte, as an offset from the address
SEG_END = const(2)  # behind the last byte
SEG_KIND = const(3)  # IS_LARGE, set when made; from SEG_FLAGS_SHIFT up the packet's SEQ_* flags
SEG_ADDR = const(4)  # address of its memory; never changes
SEG_SIZE = const(6)  # bytes; never changes
SEG_USES = const(7)  # parts of it that the device still reads: `lend` raises, `returned` lowers
SEG_WORDS = const(8)
IS_LARGE = const(1)
SEG_FLAGS_SHIFT = const(8)

# The store's own words.
STORE_SEGMENTS = const(0)  # address of the segment table; changes when it grows
STORE_LARGE = const(2)  # first free large segment, 0xFFFFFFFF: none
STORE_BLOCK = const(3)  # first free block
STORE_SPARE = const(4)  # free large segments: those that need not go back to the ring at once
STORE_BLOCKS = const(5)  # free blocks
STORE_TOTAL = const(6)  # blocks that there is memory for; never changes
STORE_MADE = const(7)  # blocks that are in the segment table; `promise` raises it
STORE_PROMISED = const(
    8
)  # blocks that connections count on; raised by `promise`, lowered by Budget
STORE_RESERVED = const(9)  # blocks for the least windows of connections to come; Budget's to write
STORE_WORDS = const(10)

# -- the way out (transmit.py, loopback.py) -------------------------------------------------------

INLINE = const(4096)  # bytes; up to here copying costs less than waiting for the device
RESERVE = const(8)  # slots that data leaves free, so that what is owed to peers finds one: or half

OUT_FREE = const(0)  # packets that fit now; the first word of every way out
OUT_FEW = const(1)  # fewer free slots than this: time to take used ones back; never changes
OUT_RESERVE = const(2)  # slots that data leaves free; never changes
OUT_RING = const(3)  # address of the queue's state; never changes
OUT_BASE = const(5)  # address of slot 0's header; never changes
OUT_HEADS = const(7)  # where the heads begin; never changes
OUT_STACK = const(8)  # from here on the stack of free slots, then for each head its slot, in the
OUT_BUFFER = const(
    1 << 16
)  # upper half with what is to do when the device gives it back: nothing,
OUT_SEGMENT = const(2 << 16)  # let go of a program's buffer, or of the segment of that number
OUT_SLOT_MASK = const(0xFFFF)
OUT_MARK_SHIFT = const(16)

# -- packets that are seen (notes.py) -------------------------------------------------------------

NOTE_PAGE = const(0)  # address of the page that is written to; Notes.turn changes it
NOTE_ROOM = const(2)  # words of a page; never changes
NOTE_END = const(3)  # words that are in it; `note` raises it, Notes.turn clears it
NOTE_KEEP = const(4)  # bytes of payload that are kept of each packet; never changes
NOTE_COUNT = const(5)  # packets noted
NOTE_DROPPED = const(6)  # packets for which there was no room
NOTE_UNTOLD = const(7)  # of those, how many no block tells of yet
NOTE_OURS = const(8)  # ports of a connection that is not noted, if
NOTE_THEIRS = const(9)
NOTE_FORGETS = const(10)  # 1: there is one
NOTE_WAYS = const(11)  # INBOUND | OUTBOUND, those that are noted
NOTE_WORDS = const(12)

# -- the receive road (receive.py, device.py) -----------------------------------------------------

# A Receiver's words; Receiver alone writes them.
RX_HEADER = const(0)  # address of our own copy of the header; never changes
RX_CID = const(2)  # the CIDs that packets may be addressed to here; set with the guest's CID
RX_ALIAS = const(3)
RX_LOCAL = const(4)  # 1: packets come from this guest itself (loopback), 0: from elsewhere
RX_LAST = const(5)  # control block of the connection that the last packet was for, 0: of none
RX_WORDS = const(7)

NO_MEMORY = const(-2)  # of `keep`: there is none for the bytes that came
NOT_WANTED = const(-3)  # of datagram.py's `keep`: this sender may not speak to it

# Why a packet went no further: the index of its count in Receiver.dropped.
DROP_SHORT = const(1)
DROP_INVALID = const(2)
DROP_STRAY = const(3)
DROP_SENDER = const(4)
DROP_LONG = const(5)
DROP_MEMORY = const(6)
DROP_DATAGRAM = const(7)
DROP_UNBOUND = const(8)
DROP_FILTERED = const(9)
DROP_FULL = const(10)
DROPS = const(11)

# An Attention's words (attention.py); it alone writes them.
ATT_STATE = const(0)  # ATT_ARMED, ATT_POLLED or ATT_CLOSED
ATT_TAKEN = const(
    1
)  # packets that programs found since the timer last looked; the timer clears it
ATT_TIMED = const(2)  # 1: the timer is set; it clears this itself
ATT_WORDS = const(3)
ATT_ARMED = const(0)
ATT_POLLED = const(1)
ATT_CLOSED = const(2)

# A Device's words: what its receive loop needs.
DEV_POOL = const(0)  # address of the pool of receive buffers; never changes
DEV_OUT = const(2)  # address of the Transmitter's words; never changes
DEV_BASE = const(4)  # address of the payload of large segment 0; never changes
DEV_ATTENTION = const(6)  # address of the Attention's words; never changes
DEV_RING = const(8)  # address of the receive queue's state; never changes
DEV_RX = const(10)  # address of the Receiver's words; never changes
DEV_SEGMENT = const(12)  # the receive buffer that is just being posted; DEV_NONE: none is
DEV_FEW = const(13)  # with fewer free transmit slots packets wait in the ring; never changes
DEV_NONE = const(0xFFFFFFFF)
DEV_WORDS = const(14)
