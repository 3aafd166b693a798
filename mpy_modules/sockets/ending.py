# SPDX-License-Identifier: MIT
"""Whether the bytes of a connection have arrived: for what must be read, as before power-off."""

from vsock import credit
from vsock.wait import deadline, left


def finish(sock, seconds):
    """Close a connected socket, and wait until its peer has read everything and ended too.

    False if that took longer than so many seconds, or if the device broke.
    """
    conn = sock.connection
    stack = conn.stack
    sock.close()
    end = deadline(seconds)
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
