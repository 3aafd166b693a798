# SPDX-License-Identifier: MIT
"""The virtio-vsock packet (virtio 1.2, 5.10.6): a 44-byte header and, for OP_RW, data.

`Packet` reads packets from descriptor chains and lays them into chains, from the driver's and from
the device's side. It trusts nothing that it reads: each malformed shape is an error with a name.
It knows neither hardware nor connections and runs under CPython and MicroPython alike.
"""

import struct

from . import words as w

OP_NAMES = (
    "INVALID",
    "REQUEST",
    "RESPONSE",
    "RST",
    "SHUTDOWN",
    "RW",
    "CREDIT_UPDATE",
    "CREDIT_REQUEST",
)


class PacketError(ValueError):
    """A packet or a chain that cannot be what the specification describes."""


class ChainTooShort(PacketError):
    """The chain's buffers together hold less than a header."""


class UnreadableDescriptor(PacketError):
    """A TX chain has a buffer that the device may write: it may only read those."""


class UnwritableDescriptor(PacketError):
    """An RX chain has a buffer that the device may only read: it has nowhere to write."""


class UsedTooShort(PacketError):
    """The device says that it wrote less than a header."""


class UsedTooLong(PacketError):
    """The device says that it wrote more than the chain holds."""


class DataTooShort(PacketError):
    """The header's `len` claims more data than came with it."""


class DataTooLong(PacketError):
    """More data than one packet may carry, or than the chain has room for."""


class UnexpectedData(PacketError):
    """An operation other than OP_RW claims to carry data."""


class UnknownType(PacketError):
    """The socket type is neither stream nor seqpacket nor datagram."""


class NotADatagram(PacketError):
    """A datagram with another operation than OP_RW, or with flags."""


class UnknownOp(PacketError):
    """The operation is none that the specification defines."""


class FieldRange(PacketError):
    """A value does not fit its header field."""


def _field(form, offset, bits, what):
    def get(self):
        return struct.unpack_from(form, self.header, offset)[0]

    def put(self, value):
        if not 0 <= value < 1 << bits:
            raise FieldRange("%s takes %d bits, unsigned" % (what, bits))
        struct.pack_into(form, self.header, offset, value)

    return property(get, put)


class Packet:
    """One packet: `header`, 44 bytes of its own, and `data`, a list of memoryviews in order.

    All header fields are properties. `data` borrows from the chain that the packet was read from;
    `payload()` copies it out.
    """

    src_cid = _field("<Q", 4 * w.SRC_CID, 64, "src_cid")
    dst_cid = _field("<Q", 4 * w.DST_CID, 64, "dst_cid")
    src_port = _field("<I", 4 * w.SRC_PORT, 32, "src_port")
    dst_port = _field("<I", 4 * w.DST_PORT, 32, "dst_port")
    len = _field("<I", 4 * w.LEN, 32, "len")
    type = _field("<H", 4 * w.TYPE_OP, 16, "type")
    op = _field("<H", 4 * w.TYPE_OP + 2, 16, "op")
    flags = _field("<I", 4 * w.FLAGS, 32, "flags")
    buf_alloc = _field("<I", 4 * w.BUF_ALLOC, 32, "buf_alloc")
    fwd_cnt = _field("<I", 4 * w.FWD_CNT, 32, "fwd_cnt")

    def __init__(self, data=b"", **fields):
        """A packet of `data` (one buffer), `len` set to match; `fields` are header fields."""
        self.header = bytearray(w.HEADER_LEN)
        self.data = [memoryview(data)] if len(data) else []
        self.len = len(data)
        self.type = w.TYPE_STREAM
        for name, value in fields.items():
            setattr(self, name, value)

    def __repr__(self):
        op = self.op
        return "<Packet %s %d:%d > %d:%d len=%d flags=%d buf_alloc=%d fwd_cnt=%d>" % (
            OP_NAMES[op] if op < len(OP_NAMES) else "op %d" % op,
            self.src_cid,
            self.src_port,
            self.dst_cid,
            self.dst_port,
            self.len,
            self.flags,
            self.buf_alloc,
            self.fwd_cnt,
        )

    def payload(self):
        """The data as one bytes object."""
        return b"".join([bytes(view) for view in self.data])

    def check(self):
        """Raise the error that names what is wrong with the header's own fields; return self."""
        if self.type == w.TYPE_DGRAM and (self.op != w.OP_RW or self.flags):
            raise NotADatagram("op %d, flags %d" % (self.op, self.flags))
        if self.type not in (w.TYPE_STREAM, w.TYPE_SEQPACKET, w.TYPE_DGRAM):
            raise UnknownType("type %d" % self.type)
        if not w.OP_REQUEST <= self.op <= w.OP_CREDIT_REQUEST:
            raise UnknownOp("op %d" % self.op)
        if self.len and self.op != w.OP_RW:
            raise UnexpectedData("%s with len %d" % (OP_NAMES[self.op], self.len))
        return self

    @classmethod
    def from_tx_chain(cls, chain, max_data=w.MAX_DATA):
        """The device's view of a TX chain. Raises the errors above.

        `chain` is a list of `(buffer, device_writes)` descriptors; header and data may be cut
        anywhere, the header itself too. Buffers beyond header and `len` are left alone.
        """
        views = _views(chain, False)
        return cls._read(views, _total(views), max_data)

    @classmethod
    def from_used_rx_chain(cls, chain, used, max_data=w.MAX_DATA):
        """The driver's view of a completed RX chain of which the device wrote `used` bytes."""
        views = _views(chain, True)
        if used > _total(views):
            raise UsedTooLong("used %d of %d" % (used, _total(views)))
        if used < w.HEADER_LEN:
            raise UsedTooShort("used %d" % used)
        return cls._read(views, used, max_data)

    @classmethod
    def _read(cls, views, available, max_data):
        packet = cls()
        if available < w.HEADER_LEN:
            raise ChainTooShort("%d bytes" % available)
        rest = _gather(
            views, packet.header
        )  # the one read of the header: device memory may change
        if packet.len > max_data:
            raise DataTooLong("len %d, at most %d" % (packet.len, max_data))
        if packet.len > available - w.HEADER_LEN:
            raise DataTooShort("len %d, came %d" % (packet.len, available - w.HEADER_LEN))
        packet.data = _cut(rest, packet.len)
        return packet

    def to_rx_chain(self, chain):
        """The device's part: write header and data into an RX chain; returns the used length."""
        return self._lay(_views(chain, True))

    def to_tx_chain(self, chain):
        """The driver's part: write header and data into TX buffers; returns the length."""
        return self._lay(_views(chain, False))

    def _lay(self, views):
        total = w.HEADER_LEN + sum([len(view) for view in self.data])
        if _total(views) < w.HEADER_LEN:
            raise ChainTooShort("%d bytes" % _total(views))
        if total > _total(views):
            raise DataTooLong("%d bytes into %d" % (total, _total(views)))
        rest = _scatter(views, memoryview(self.header))
        for view in self.data:
            rest = _scatter(rest, view)
        return total


def rx_room(chain):
    """Bytes of data that a packet in this RX chain can carry. Raises as Packet does."""
    room = _total(_views(chain, True)) - w.HEADER_LEN
    if room < 0:
        raise ChainTooShort("%d bytes" % (room + w.HEADER_LEN))
    return room


def _views(chain, device_writes):
    views = []
    for buffer, writes in chain:
        if writes and not device_writes:
            raise UnreadableDescriptor("descriptor %d" % len(views))
        if device_writes and not writes:
            raise UnwritableDescriptor("descriptor %d" % len(views))
        views.append(memoryview(buffer))
    return views


def _total(views):
    return sum([len(view) for view in views])


def _gather(views, into):
    """Fill `into` from the front of `views`; returns the views of what is left."""
    at = 0
    for i, view in enumerate(views):
        n = min(len(view), len(into) - at)
        into[at : at + n] = view[:n]
        at += n
        if at == len(into):
            return [view[n:]] + views[i + 1 :]
    return []


def _scatter(views, data):
    """Write `data` over the front of `views`; returns the views of what is left."""
    at = 0
    for i, view in enumerate(views):
        n = min(len(view), len(data) - at)
        view[:n] = data[at : at + n]
        at += n
        if at == len(data):
            return [view[n:]] + views[i + 1 :]
    return []


def _cut(views, length):
    """The first `length` bytes of `views`, without empty pieces."""
    cut = []
    for view in views:
        n = min(len(view), length)
        if n:
            cut.append(view[:n])
        length -= n
    return cut
