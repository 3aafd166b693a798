# SPDX-License-Identifier: MIT
"""Packets that were seen, as blocks of a capture file, until somebody takes them.

Native code writes, allocates nothing and never waits: what finds no room is counted, and the next
packet's block tells how many those were. Bytecode takes a page at a time.
"""

from array import array

from inline import inline
from portable import addressof, copy, micropython, octets_of, ptr32, put_address

from . import pcapng as p
from . import words as w


class Notes:
    """Two pages: one is written to, the other one is read.

    `at` is the address of its words, for `note`.
    """

    def __init__(self, room, keep):
        """A page has `room` bytes, at least a packet's; of payload `keep` bytes are kept."""
        least = p.P_RECORD + p.MONITOR_WORDS + w.HEADER_WORDS + p.B_MORE + p.B_LOST_WORDS
        least += p.B_END_WORDS + (keep + 3) // 4
        room = max(room // 4, least)
        self._pages = [array("I", bytes(4 * room)) for _ in range(2)]
        self._words = words = array("I", bytes(4 * w.NOTE_WORDS))
        words[w.NOTE_ROOM] = room
        words[w.NOTE_KEEP] = keep
        words[w.NOTE_WAYS] = p.INBOUND | p.OUTBOUND
        put_address(words, w.NOTE_PAGE, addressof(self._pages[0]))
        self.at = addressof(words)

    @property
    def waiting(self):
        """Words in the page that is written to."""
        return self._words[w.NOTE_END]

    @property
    def half(self):
        """Words: with so many in it a page should be read."""
        return self._words[w.NOTE_ROOM] // 2

    @property
    def count(self):
        """Packets that were noted."""
        return self._words[w.NOTE_COUNT]

    @property
    def dropped(self):
        """Packets for which there was no room."""
        return self._words[w.NOTE_DROPPED]

    def only_inbound(self):
        """Packets that are sent are not noted."""
        self._words[w.NOTE_WAYS] = p.INBOUND

    def forget(self, port, peer_port):
        """Packets between these two ports are not noted: they carry the notes."""
        self._words[w.NOTE_OURS] = port
        self._words[w.NOTE_THEIRS] = peer_port
        self._words[w.NOTE_FORGETS] = 1

    @micropython.native
    def turn(self):
        """What was noted, bytes that are the caller's until the next call."""
        words = self._words
        page, other = self._pages
        self._pages[0] = other
        self._pages[1] = page
        end = words[w.NOTE_END]
        words[w.NOTE_END] = 0
        put_address(words, w.NOTE_PAGE, addressof(other))
        return octets_of(page, 4 * end)


@micropython.viper
def note(state: int, header: int, head: int, data: int, n: int, way: int, when: int) -> int:
    """Note a packet: `head` bytes of the header at `header`, then `n` bytes at `data`.

    `way` is INBOUND or OUTBOUND, `when` nanoseconds since 1970. Returns how many words the page
    has now; 0: there was no room, or it is not to be noted.
    """
    s = ptr32(state)
    h = ptr32(header)
    if s[w.NOTE_WAYS] & way == 0 or (s[w.NOTE_FORGETS] != 0 and int(_carries(s, h))):
        return 0
    keep = n
    if keep > s[w.NOTE_KEEP]:
        keep = s[w.NOTE_KEEP]
    words = (head + keep + 3) >> 2
    at = s[w.NOTE_END]
    size = p.P_RECORD + p.MONITOR_WORDS + words + p.B_MORE + p.B_END_WORDS
    if s[w.NOTE_UNTOLD] != 0:
        size += p.B_LOST_WORDS
    if at + size > s[w.NOTE_ROOM]:
        s[w.NOTE_DROPPED] = s[w.NOTE_DROPPED] + 1
        s[w.NOTE_UNTOLD] = s[w.NOTE_UNTOLD] + 1
        return 0
    place = s[w.NOTE_PAGE] | (s[w.NOTE_PAGE + 1] << 32)
    b = ptr32(place)
    b[at + p.P_TYPE] = p.PACKET
    b[at + p.P_LENGTH] = 4 * size
    b[at + p.P_INTERFACE] = 0
    high = when >> 32
    b[at + p.P_HIGH] = high
    b[at + p.P_LOW] = when - (high << 32)
    b[at + p.P_KEPT] = p.MONITOR_LEN + head + keep
    b[at + p.P_WHOLE] = p.MONITOR_LEN + head + n
    record = at + p.P_RECORD
    _monitor(b, record, h, head)
    record += p.MONITOR_WORDS
    behind = record + words
    if words != 0:
        last = behind - 1
        b[last] = 0  # what fills it up
    copy(place, 4 * record, header, 0, head)
    if keep != 0:
        copy(place, 4 * record + head, data, 0, keep)
    b[behind + p.B_FLAGS] = p.FLAGS_WORD
    b[behind + p.B_WAY] = way
    behind += p.B_MORE
    if s[w.NOTE_UNTOLD] != 0:
        b[behind + p.B_DROPPED] = p.DROPPED_WORD
        b[behind + p.B_COUNT] = s[w.NOTE_UNTOLD]
        b[behind + p.B_COUNT + 1] = 0
        s[w.NOTE_UNTOLD] = 0
        behind += p.B_LOST_WORDS
    b[behind + p.B_END] = 0
    b[behind + p.B_LENGTH] = 4 * size
    at += size
    s[w.NOTE_END] = at
    s[w.NOTE_COUNT] = s[w.NOTE_COUNT] + 1
    return at


@inline
@micropython.viper
def _carries(s: ptr32, h: ptr32) -> int:
    """1: it is a packet of the connection that carries the notes."""
    ours = s[w.NOTE_OURS]
    theirs = s[w.NOTE_THEIRS]
    if h[w.SRC_PORT] == ours and h[w.DST_PORT] == theirs:
        return 1
    return int(h[w.SRC_PORT] == theirs and h[w.DST_PORT] == ours)


@inline
@micropython.viper
def _monitor(b: ptr32, at: int, h: ptr32, head: int):
    """Write the monitor's header for a packet."""
    b[at + w.SRC_CID] = h[w.SRC_CID]
    b[at + w.SRC_CID_HIGH] = h[w.SRC_CID_HIGH]
    b[at + w.DST_CID] = h[w.DST_CID]
    b[at + w.DST_CID_HIGH] = h[w.DST_CID_HIGH]
    b[at + w.SRC_PORT] = h[w.SRC_PORT]
    b[at + w.DST_PORT] = h[w.DST_PORT]
    kind = 0
    op = h[w.TYPE_OP] >> w.OP_SHIFT
    if op <= w.OP_CREDIT_REQUEST:
        kind = (p.MON_OF_OP >> (op * p.MON_SHIFT)) & p.MON_MASK
    b[at + p.M_OP_TRANSPORT] = kind | (p.TRANSPORT_VIRTIO << p.TRANSPORT_SHIFT)
    b[at + p.M_LENGTH] = head
