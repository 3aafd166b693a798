# SPDX-License-Identifier: MIT
"""Who is at the other end: conversations as an honest peer would have them, and what lies make.

A conversation is what a peer knows of one connection. Packets are made of it as the protocol wants
them; then, at times, some of their words are changed.
"""

import struct
from binascii import hexlify

from vsock import words as w

PORTS = (1234, 1235, 1236, 5000, 5001, 0, 0xFFFFFFFF)  # of ours; some have listeners
MAIL = (700, 701, 702)  # of datagrams, ours and theirs
_ASKED = (1234, 1234, 1234, 1235, 1235, 1236, 5000)
PEERS = (2, 2, 2, 2, 3, 77)  # CIDs that may speak
WRONG = (0, 1, 33, 34, 0xFFFFFFFF, 0x80000021)  # CIDs that may not, or are not ours
_MOST = 24  # conversations
_ALLOCS = (262144, 262144, 65536, 4096, 1, 0, 0xFFFFFFFF, 0x80000000)
PATTERN = bytes([i * 7 & 0xFF for i in range(256)]) * 260  # payloads are parts of it

# A conversation: the other end's CID and port, our port, type, then what either side has said.
CID, PORT, LOCAL, TYPE, ALLOC, FWD, THEIR_ALLOC, THEIR_FWD, SENT, OPEN = range(10)


class Peers:
    """Everybody whom one device of the guest may talk to; `cid` is the guest's own."""

    def __init__(self, source, cid):
        self._source = source
        self.cid = cid
        self.all = []
        self._next = 40000  # the next peer's port
        self._noise = 0
        self._wrote = MAIL[0]  # our port that the last datagram came from

    def hear(self, header):
        """The guest sent a packet with this header: who hears it knows more now."""
        if header[w.TYPE_OP] & w.TYPE_MASK == w.TYPE_DGRAM:
            self._wrote = header[w.SRC_PORT]
            return
        op = header[w.TYPE_OP] >> w.OP_SHIFT
        found = None
        for each in self.all:
            if (
                each[PORT] == header[w.DST_PORT]
                and each[LOCAL] == header[w.SRC_PORT]
                and each[CID] == header[w.DST_CID]
            ):
                found = each
                break
        if found is None:
            if op != w.OP_REQUEST:
                return
            found = self._new(header[w.DST_CID], header[w.DST_PORT], header[w.SRC_PORT])
            found[TYPE] = header[w.TYPE_OP] & w.TYPE_MASK
        if op == w.OP_RST:
            self.all.remove(found)
            return
        if op == w.OP_REQUEST or op == w.OP_RESPONSE:
            found[OPEN] = int(op == w.OP_RESPONSE)
        found[THEIR_ALLOC] = header[w.BUF_ALLOC]
        found[THEIR_FWD] = header[w.FWD_CNT]
        found[FWD] = (found[FWD] + header[w.LEN]) & 0xFFFFFFFF

    def _new(self, cid, port, local):
        if len(self.all) >= _MOST:
            self.all.pop(0)
        alloc = self._source.pick(_ALLOCS)
        made = [cid, port, local, w.TYPE_STREAM, alloc, 0, 0, 0, 0, 0]
        self.all.append(made)
        return made

    # -- packets: a header of words, a payload, the length that the device tells

    def packet(self):
        """Any packet, likely one that means something."""
        source = self._source
        kind = source.byte()
        if kind < 24 or not self.all:
            words, payload = self._request()
        elif kind < 44:
            words, payload = self._letter()
        elif kind > 200 and not self.all[-1][OPEN]:
            words, payload = self._talk(self.all[-1])
        else:
            words, payload = self._talk(self.all[source.below(len(self.all))])
        used = w.HEADER_LEN + len(payload)
        twist = source.byte()
        if twist < 28:
            if twist < 6:
                words = [source.word() for _ in range(w.HEADER_WORDS)]
            else:
                for _ in range(1 + source.below(3)):
                    self._twist(words)
            if twist < 14:
                used = source.pick((0, 1, 43, 44, 45, used, used - 1, used + 1, w.BUFFER_LEN))
                used = max(0, min(used, w.BUFFER_LEN))
                payload = self._bytes(max(0, used - w.HEADER_LEN))
        return struct.pack("<11I", *words), payload, used

    def _letter(self):
        """A datagram, whether or not the device offers any."""
        source = self._source
        payload = self._bytes(source.size())
        port = self._wrote if source.chance(60) else source.pick(MAIL)
        return self.letter(source.pick(PEERS), source.pick(MAIL), port, len(payload)), payload

    def letter(self, cid, port, local, n):
        """The words of a datagram of `n` bytes."""
        kind = w.TYPE_DGRAM | w.OP_RW << w.OP_SHIFT
        return [cid, 0, self.cid, 0, port, local, n, kind, 0, 0, 0]

    def credit(self):
        """A header: some peer has taken all and says so. None: there is nobody."""
        if not self.all:
            return None
        each = self.all[self._source.below(len(self.all))]
        each[ALLOC] = 262144
        return struct.pack("<11I", *self.header(each, w.OP_CREDIT_UPDATE))

    def _twist(self, words):
        source = self._source
        where = source.below(w.HEADER_WORDS)
        if where in (w.SRC_CID, w.DST_CID):
            words[where] = source.pick(WRONG)
        elif where == w.TYPE_OP:
            words[where] = source.below(4) | source.below(10) << w.OP_SHIFT
        elif where in (w.SRC_PORT, w.DST_PORT):
            words[where] = source.pick(PORTS)
        else:
            words[where] = source.word()

    def _request(self):
        source = self._source
        self._next += 1
        port = self._next if source.chance(230) else 40001 + source.below(8)
        each = self._new(source.pick(PEERS), port, source.pick(_ASKED))
        if each[LOCAL] == 1235:
            each[TYPE] = w.TYPE_SEQPACKET
        if source.chance(12):
            each[TYPE] = 3 - each[TYPE]
        return self.header(each, w.OP_REQUEST), b""

    def _talk(self, each):
        source = self._source
        kind = source.byte()
        if not each[OPEN] and kind < 128:
            each[OPEN] = 1
            return self.header(each, w.OP_RESPONSE), b""
        if kind < 130:
            return self._data(each)
        if kind < 180:
            if source.chance(64):
                each[ALLOC] = source.pick(_ALLOCS)
            return self.header(each, w.OP_CREDIT_UPDATE), b""
        if kind < 215:
            return self.header(each, w.OP_CREDIT_REQUEST), b""
        if kind < 230:
            words = self.header(each, w.OP_SHUTDOWN)
            words[w.FLAGS] = source.below(5)
            return words, b""
        if kind < 236:
            self.all.remove(each)
            return self.header(each, w.OP_RST), b""
        if kind < 243:
            return self.header(each, w.OP_REQUEST), b""
        if kind < 250:
            return self.header(each, w.OP_RESPONSE), b""
        words, payload = self._data(each, beyond=True)
        return words, payload

    def _data(self, each, beyond=False):
        source = self._source
        n = source.size()
        room = each[THEIR_ALLOC] - ((each[SENT] - each[THEIR_FWD]) & 0xFFFFFFFF)
        if not beyond:
            n = max(0, min(n, room))
        each[SENT] = (each[SENT] + n) & 0xFFFFFFFF
        words = self.header(each, w.OP_RW)
        words[w.LEN] = n
        if each[TYPE] == w.TYPE_SEQPACKET:
            words[w.FLAGS] = source.pick((0, 1, 1, 1, 3, 2))
        return words, self._bytes(n)

    def _bytes(self, n):
        self._noise = (self._noise + 31) & 0xFF
        return PATTERN[self._noise : self._noise + n]

    def header(self, each, op):
        """The words of a packet without data."""
        kind = each[TYPE] | op << w.OP_SHIFT
        return [each[0], 0, self.cid, 0, each[1], each[2], 0, kind, 0, each[ALLOC], each[FWD]]


def digest(data):
    """Some bytes of a buffer, as text."""
    if data is None:
        return "none"
    n = len(data)
    return "%d %s" % (n, str(hexlify(bytes(data[:12]) + bytes(data[max(0, n - 12) :])), "ascii"))
