# SPDX-License-Identifier: MIT
"""The end of a connection whose bytes must have arrived, as before power-off."""

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
