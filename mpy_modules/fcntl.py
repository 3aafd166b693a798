# SPDX-License-Identifier: MIT
"""CPython's `fcntl`, as far as sockets go: calls take a socket or its number.

`ioctl(sock, SIOCOUTQ, buffer)` is how many sent bytes the device has not taken yet, SIOCINQ how
many received ones wait; IOCTL_VM_SOCKETS_GET_LOCAL_CID, which on Linux /dev/vsock answers, is the
CID.
"""

import socket
import struct

import errnos
from portable import const
from sockets import descriptors
from vsock import credit

SIOCINQ = FIONREAD = TIOCINQ = const(0x541B)
SIOCOUTQ = TIOCOUTQ = const(0x5411)
_ENOTTY = const(25)


def ioctl(sock, request, arg=0, mutate_flag=True):
    """Ask about a socket. Raises EOPNOTSUPP if it has no connection, ENOTTY for other requests,
    ValueError if it is closed.

    A writable buffer of 4 bytes gets the answer, an int in the machine's order, and the call
    returns 0; bytes are answered with bytes.
    """
    answer = struct.pack("<I", _answer(sock, request))
    if isinstance(arg, (bytes, str)) or not mutate_flag:
        return answer
    memoryview(arg)[:4] = answer
    return 0


def _answer(sock, request):
    if isinstance(sock, int):
        sock = descriptors.find(sock)
        if sock is None:
            raise OSError(errnos.EBADF)
    if sock.is_closed():
        raise ValueError("file descriptor cannot be a negative integer (-1)")
    if request == socket.IOCTL_VM_SOCKETS_GET_LOCAL_CID:
        return socket.get_local_cid()
    if request not in (SIOCINQ, SIOCOUTQ):
        raise OSError(_ENOTTY)
    conn = sock.connection
    if conn is None:
        raise OSError(errnos.EOPNOTSUPP)
    return credit.queued(conn.at) if request == SIOCINQ else _untaken(conn)


def _untaken(conn):
    """Bytes on their way to the device; as many as the peer has not read, at most."""
    device = conn.stack.device
    if conn.out is conn.stack.loopback or device is None:
        return 0
    device.reap()
    return 0 if conn.out.idle() else credit.unread(conn.at)
