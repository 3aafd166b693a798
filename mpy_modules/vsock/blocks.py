# SPDX-License-Identifier: MIT
"""The blocks of a capture file (pcapng.py has their numbers), whoever writes it: this guest, a
device, a test. Runs under CPython and MicroPython alike.
"""

import struct

from . import pcapng as p
from . import words as w

_PAD = b"\0\0\0"


def begin(keep, program, place):
    """What a file begins with: a section by `program` with one interface, called `place`.

    Of each packet `keep` bytes of payload are in the file, and all of its header.
    """
    section = struct.pack("<IHHq", p.BYTE_ORDER, 1, 0, -1)
    section += _option(p.SECTION_PROGRAM, program.encode()) + _END
    longest = p.MONITOR_LEN + w.HEADER_LEN + keep
    interface = struct.pack("<HHI", p.LINK_VSOCK, 0, longest)
    interface += _option(p.INTERFACE_NAME, place.encode())
    interface += _option(p.INTERFACE_RESOLUTION, bytes([p.NANOSECONDS])) + _END
    return _block(p.SECTION, section) + _block(p.INTERFACE, interface)


def record(when_ns, way, head, kept, whole, dropped=0):
    """The block of a record as it is: it begins with `head`, then come `kept` bytes of `whole`.

    Gives what is (before, behind) those. `way` is INBOUND or OUTBOUND, 0: nobody knows.
    """
    kept += len(head)
    behind = _PAD[: -kept & 3]
    if way:
        behind += _option(p.PACKET_FLAGS, struct.pack("<I", way))
    if dropped:
        behind += _option(p.PACKET_DROPPED, struct.pack("<Q", dropped))
    behind += _END
    size = 4 * p.P_RECORD + kept + len(behind) + 4
    time = when_ns >> 32, when_ns & 0xFFFFFFFF
    before = struct.pack("<7I", p.PACKET, size, 0, time[0], time[1], kept, len(head) + whole)
    return before + head, behind + struct.pack("<I", size)


def packet(when_ns, inbound, header, payload, length, dropped):
    """A packet's block but for `payload`, which goes between the two parts: (before, behind).

    `header` is the packet's, as long as it is; `payload` the first bytes of what follows, `length`
    how many there are of those. `dropped` packets were lost before it. `when_ns`: since 1970.
    """
    way = p.INBOUND if inbound else p.OUTBOUND
    head = monitor_header(header) + bytes(header)
    return record(when_ns, way, head, len(payload), length, dropped)


def end(when_ns, received, dropped):
    """The last block: so many packets are in the file or were `dropped`."""
    counts = struct.pack("<III", 0, when_ns >> 32, when_ns & 0xFFFFFFFF)
    counts += _option(p.STATISTICS_RECEIVED, struct.pack("<Q", received))
    counts += _option(p.STATISTICS_DROPPED, struct.pack("<Q", dropped)) + _END
    return _block(p.STATISTICS, counts)


def monitor_header(header):
    """What stands before a packet's header; of a packet that is none, as far as it goes."""
    whole = header
    if len(header) < w.HEADER_LEN:
        whole = bytes(header) + bytes(w.HEADER_LEN - len(header))
    op = struct.unpack_from("<H", whole, 4 * w.TYPE_OP + 2)[0]
    rest = struct.pack("<HHHxx", kind(op), p.TRANSPORT_VIRTIO, len(header))
    return bytes(whole[: p.MONITOR_SAME]) + rest


def kind(op):
    """How the monitor's header calls an operation."""
    if op > w.OP_CREDIT_REQUEST:
        return p.MON_UNKNOWN
    return p.MON_OF_OP >> p.MON_SHIFT * op & (1 << p.MON_SHIFT) - 1


def _option(code, value):
    return struct.pack("<HH", code, len(value)) + value + _PAD[: -len(value) & 3]


_END = struct.pack("<HH", p.OPT_END, 0)


def _block(kind_, content):
    size = len(content) + p.AROUND
    return struct.pack("<II", kind_, size) + content + struct.pack("<I", size)
