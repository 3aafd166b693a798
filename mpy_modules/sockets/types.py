# SPDX-License-Identifier: MIT
"""Socket types. What distinguishes them is in one object each, which the code asks.

A new one is a packet type (vsock/words.py), a line here and its SOCK_* name in socket.py; one
without connections has a mailbox besides, as datagram.py's.
"""

import errnos
from portable import const
from vsock import words as w

from . import numbers as num

SOCK_STREAM = const(1)  # Linux's numbers
SOCK_DGRAM = const(2)
SOCK_RAW = const(3)
SOCK_RDM = const(4)
SOCK_SEQPACKET = const(5)
SOCK_NONBLOCK = const(0x800)
SOCK_CLOEXEC = const(0x80000)
_NUMBER_MASK = const(0xF)  # the rest are flags
_TYPES_END = const(11)  # Linux knows no type from here on


class SocketType:
    """A type of socket.

    `number` is its SOCK_*, `packet_type` its TYPE_* on the wire, `feature` the bit that a device
    must offer for it, or 0. `borders` are the flags of OP_RW that mean something: with any, data
    are messages that end with SEQ_EOM; with none, bytes. One that never `connects` to a
    peer has messages all the same: a datagram.Mailbox sends and takes them.
    """

    def __init__(self, number, packet_type, feature, borders, connects=True):
        self.number = number
        self.packet_type = packet_type
        self.feature = feature
        self.borders = borders
        self.connects = connects


STREAM = SocketType(SOCK_STREAM, w.TYPE_STREAM, 0, 0)
SEQPACKET = SocketType(SOCK_SEQPACKET, w.TYPE_SEQPACKET, w.F_SEQPACKET, w.SEQ_EOM | w.SEQ_EOR)
DGRAM = SocketType(SOCK_DGRAM, w.TYPE_DGRAM, w.F_DGRAM, 0, connects=False)
_TYPES = {each.number: each for each in (STREAM, SEQPACKET, DGRAM)}


def of(number, proto):
    """The SocketType of a SOCK_* number, which may have flags. Raises what Linux does."""
    if number & ~(_NUMBER_MASK | SOCK_NONBLOCK | SOCK_CLOEXEC):
        raise OSError(errnos.EINVAL)
    number &= _NUMBER_MASK
    if number >= _TYPES_END:
        raise OSError(errnos.EINVAL)
    if proto not in (0, num.AF_VSOCK):
        raise OSError(errnos.EPROTONOSUPPORT)
    if number not in _TYPES:
        raise OSError(errnos.ESOCKTNOSUPPORT)
    return _TYPES[number]
