# SPDX-License-Identifier: MIT
"""The device's end of a vsock device's queues, and what it may do with them, true or not."""

import struct
from binascii import hexlify

from bench_machine import span
from vsock import words as w

RX, TX, EVENT, CONFIG = 0, 1, 2, 3
_SHOWN = 16  # bytes of a payload's beginning and of its end that go into the transcript
_LOCAL = 1  # the CID that no packet to a device is for; to 0 and VMADDR_CID_ANY Linux sends, too
_HELD = 24  # packets that it keeps at most before it gives some back


class Far:
    """A device on a bench's transport. `say(text)` tells what it got."""

    def __init__(self, transport, say):
        self.transport = transport
        self._say = say
        self._rx = None
        self._lied = False  # since the driver made its queues: what it has is not known for sure
        self.posted = []  # receive buffers that it has: [head, address]
        self.held = []  # what was sent and not given back: [head, chain, bytes]
        self.heard = []  # headers of what was sent since somebody looked, as tuples of words

    def ring(self, index):
        """The device's end of a queue, None while the driver has none."""
        return self.transport.rings.get(index)

    def refresh(self):
        """Take the receive buffers that were posted."""
        ring = self.ring(RX)
        if ring is not self._rx:
            self._rx = ring
            self.posted.clear()
            self.held.clear()
            self._lied = False
        if ring is None:
            return
        while True:
            taken = ring.take()
            if taken is None:
                return
            head, chain = taken
            if len(chain) != 1 or not chain[0][2] or chain[0][1] != w.BUFFER_LEN:
                raise AssertionError("a receive buffer of %r" % chain)
            for each in self.posted:
                if each[0] == head:
                    if not self._lied:
                        raise AssertionError("buffer %d was posted twice" % head)
                    self.posted.remove(each)
                    break
            self.posted.append([head, chain[0][0]])

    def write(self, which, header, payload, used):
        """Put a packet into a posted buffer and complete it, unseen until `show`."""
        head, address = self.posted.pop(which)
        if header is not None:
            span(address, w.HEADER_LEN)[:] = header
        n = len(payload)
        if n:
            span(address + w.HEADER_LEN, n)[:] = payload
        self.ring(RX).put(head, used, False)

    def show(self):
        """Let the driver see what was written."""
        ring = self.ring(RX)
        ring.set_used_idx(ring.done)

    def collect(self, give_back=True):
        """Take what the guest has sent; how many packets. All goes back at once if it may."""
        self.refresh()
        ring = self.ring(TX)
        found = 0
        while ring is not None:
            taken = ring.take()
            if taken is None:
                break
            found += 1
            head, chain = taken
            data = self._read(chain)
            self._tell(data, chain)
            if give_back:
                ring.put(head, 0)
            else:
                self.held.append([head, chain, data])
        if len(self.held) > _HELD:
            self.give_back(_HELD)
        return found

    def _read(self, chain):
        parts = []
        for address, n, writable in chain:
            if writable:
                raise AssertionError("a writable buffer in the transmit queue")
            parts.append(bytes(span(address, n)))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _tell(self, data, chain):
        n = len(data) - w.HEADER_LEN
        if n < 0:
            raise AssertionError("sent %d bytes" % len(data))
        header = struct.unpack_from("<11I", data, 0)
        if header[w.LEN] != n:
            raise AssertionError("a packet says %d bytes and has %d" % (header[w.LEN], n))
        if header[w.DST_CID] == _LOCAL:
            raise AssertionError("a packet to CID %d" % header[w.DST_CID])
        if header[w.TYPE_OP] & w.TYPE_MASK == w.TYPE_DGRAM:
            self._check_datagram(header)
        self.heard.append(header)
        text = "> %s" % str(hexlify(data[: w.HEADER_LEN + _SHOWN]), "ascii")
        if n > _SHOWN:
            text += " .. %s" % str(hexlify(data[-_SHOWN:]), "ascii")
        self._say(text)

    def _check_datagram(self, header):
        """Where they were agreed on it is one, else the answer to a type that nobody knows."""
        known = self.transport.offered & w.F_DGRAM
        rest = header[w.FLAGS] | header[w.BUF_ALLOC] | header[w.FWD_CNT]
        if header[w.TYPE_OP] >> w.OP_SHIFT != (w.OP_RW if known else w.OP_RST) or rest:
            raise AssertionError("a datagram with the words %r" % (header,))

    def give_back(self, n):
        """Give back the first `n` packets that it holds: they must be as they were."""
        ring = self.ring(TX)
        for _ in range(min(n, len(self.held))):
            head, chain, data = self.held.pop(0)
            if self._read(chain) != data:
                raise AssertionError("a packet changed while the device had it")
            ring.put(head, 0)

    def event(self, number, length):
        """Complete an event buffer; False if there is none."""
        ring = self.ring(EVENT)
        taken = None if ring is None else ring.take()
        if taken is None:
            return False
        head, chain = taken
        struct.pack_into("<I", span(chain[0][0], w.EVENT_BYTES), 0, number)
        ring.put(head, length)
        return True

    def kick(self):
        """Interrupt for what has news, as the driver asked."""
        for index in (RX, TX, EVENT):
            ring = self.ring(index)
            if ring is not None and ring.wants_interrupt():
                self.fire(index)

    def fire(self, index):
        """Interrupt for a queue, or for the configuration, wanted or not."""
        wires = self.transport.wires
        if index not in wires:
            if not wires:
                return
            index = max(wires)
        wires[index].fire()

    def lie(self, source):
        """Put something into a used ring that no device may; what, as text."""
        index = source.pick((RX, RX, TX, EVENT))
        ring = self.ring(index)
        if ring is None:
            return "no ring"
        self._lied = True
        kind = source.below(6)
        head = source.pick(
            (0, 1, 2, 15, 16, 31, 127, 128, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)
        )
        if kind == 0:
            ring.put(head, source.word())
        elif kind == 1:
            ring.set_used_idx(source.word())
        elif kind == 2:
            ring.put(source.below(256), source.word())
        elif kind == 3 and index == RX and self.posted:
            ring.put(self.posted.pop(source.below(len(self.posted)))[0], source.word())
        elif kind == 4 and index == RX and self.posted:
            head = self.posted.pop(source.below(len(self.posted)))[0]
            ring.put(head, 0)
            ring.put(head, 0)
        else:
            self._rewrite(ring, source)
        return "lie %d on queue %d" % (kind, index)

    def _rewrite(self, ring, source):
        """What is the driver's to write, and what it may not read back."""
        what = source.below(3)
        if what == 0:
            if ring is self.ring(RX):
                for head, _ in self.posted:
                    ring.overwrite(head)
        elif what == 1:
            ring.ask_after(source.below(256))
        else:
            ring.set_no_notify(source.word() & 0xFFFF)
