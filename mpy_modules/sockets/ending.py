# SPDX-License-Identifier: MIT
"""Whether the bytes of a connection have arrived: for what must be read, as before power-off."""

from portable import const
from vsock import credit
from vsock.wait import deadline, left

from . import numbers as num

_LITTLE = const(64)  # bytes; a peer that only reads says nothing


def finish(sock, seconds):
    """Close a connected socket, and wait until its peer has read everything and ended too.

    False if that took longer than so many seconds, or if the device broke.
    """
    conn = sock.connection
    stack = conn.stack
    end = deadline(seconds)
    try:
        # Where half-close passes, the peer ends first: Linux's answers a SHUTDOWN of both
        # directions with two RSTs, the later of which may meet the next connection.
        if conn.out is stack.loopback or stack.device is not None and stack.device.seqpacket:
            sock.settimeout(seconds)
            sock.shutdown(num.SHUT_WR)
            while sock.recv(_LITTLE):
                pass
    except OSError:
        pass  # too late, or it has ended already
    finally:
        sock.close()
    while conn.key is not None:  # in the stack's table
        rest = left(end)
        if rest == 0:
            return False
        stack.waiter.wait(rest)
    device = stack.device
    return device is None or device.broken is None


def unread(sock):
    """Bytes that were sent and that the peer has not read, as far as it has said (SIOCOUTQ)."""
    return credit.unread(sock.connection.at)


def ask(sock):
    """Ask the peer how much it has read; its answer is news of the socket."""
    conn = sock.connection
    conn.room()  # who asks hears of credit
    conn.ask_credit()
