# SPDX-License-Identifier: MIT
"""Socket types. What distinguishes them is in one object each, which the code asks.

A new one is a packet type (vsock/words.py), a line here and its SOCK_* name in socket.py.
"""

import errnos
from portable import const
from vsock import words as w

SOCK_STREAM = const(1)  # Linux's numbers
SOCK_DGRAM = const(2)
SOCK_SEQPACKET = const(5)
SOCK_NONBLOCK = const(0x800)
SOCK_CLOEXEC = const(0x80000)


class SocketType:
    """A type of socket.

    `number` is its SOCK_*, `packet_type` its TYPE_* on the wire, `feature` the bit that a device
    must offer for it, or 0. `borders` are the flags of OP_RW that mean something: with any, data
    are messages that end with SEQ_EOM; with none, bytes. `sendto` is what that call fails with.
    """

    def __init__(self, number, packet_type, feature, borders, sendto):
        self.number = number
        self.packet_type = packet_type
        self.feature = feature
        self.borders = borders
        self.sendto = sendto


STREAM = SocketType(SOCK_STREAM, w.TYPE_STREAM, 0, 0, errnos.EISCONN)
SEQPACKET = SocketType(
    SOCK_SEQPACKET, w.TYPE_SEQPACKET, w.F_SEQPACKET, w.SEQ_EOM | w.SEQ_EOR, errnos.EOPNOTSUPP
)
_TYPES = {each.number: each for each in (STREAM, SEQPACKET)}


def of(number):
    """The SocketType of a SOCK_* number without flags. Raises what Linux raises for others."""
    if number == SOCK_DGRAM:
        raise OSError(errnos.ENODEV)  # virtio has no datagrams, and Linux says so this way
    if number not in _TYPES:
        raise OSError(errnos.ESOCKTNOSUPPORT)
    return _TYPES[number]
