# SPDX-License-Identifier: MIT
"""recvmsg and sendmsg: several buffers at once, and what Linux tells of a message.

Ancillary data does not exist on these sockets: none comes, and none can be sent.
"""

from portable import addressof, const
from portable import nbytes as bytes_in
from vsock import words as w

from . import numbers as num
from .arguments import checked_address
from .types import SOCK_STREAM

_PIECE = const(65536)  # bytes of a file that are read at a time


def receive(sock, buffer, flags):
    """Receive into one buffer: (bytes copied, what Linux says how many, MSG_* that it tells, a
    datagram's sender). With MSG_TRUNC Linux says how long a message was that did not fit.

    Other than recv a call for no bytes looks at the socket, as Linux does, and takes no message.
    """
    if sock.mailbox is not None:
        return sock.mailbox.receive(buffer, flags)
    n = bytes_in(buffer, True)
    if not n:
        receive_nothing(sock, flags)
        return 0, 0, 0, None
    conn = sock._receiver(flags)
    if not conn.block[w.BORDERS]:
        n = sock._receive(addressof(buffer), n, flags)
        return n, n, 0, None
    copied, length, marks = sock._receive_message(conn, addressof(buffer), n, flags)
    told = num.MSG_TRUNC if length > copied else 0
    if marks & w.SEQ_EOR:
        told |= num.MSG_EOR
    return copied, length if flags & num.MSG_TRUNC else copied, told, None


def receive_nothing(sock, flags):
    """Linux looks at the socket, takes nothing and says nothing of what it has."""
    sock._open()
    if not flags & num.MSG_ERRQUEUE:
        sock._poll_first(num.POLL_READ)
    sock._receiver(flags)


def receive_into(sock, buffers, flags):
    """The same into several buffers, which one after the other are filled: (what Linux says how
    many, MSG_*, sender)."""
    buffers = [memoryview(buffer) for buffer in buffers]
    if len(buffers) == 1:
        return receive(sock, buffers[0], flags)[1:]
    whole = bytearray(sum(bytes_in(buffer, True) for buffer in buffers))
    n, length, told, sender = receive(sock, whole, flags)
    done = 0
    for buffer in buffers:
        part = min(bytes_in(buffer), n - done)
        buffer[:part] = whole[done : done + part]
        done += part
    return length, told, sender


def send(sock, buffers, flags, address):
    """Send what `buffers` have as one piece; returns how many bytes."""
    whole = b"".join([_piece(buffer) for buffer in buffers])
    sock._open()
    if flags & num.MSG_OOB:
        sock._sender(flags)
    if address is not None:
        if sock.mailbox is not None:
            return sock.mailbox.send(whole, flags, checked_address(address))
        sock._refuse_address()
    return sock._send(whole, flags, False)


def _piece(buffer):
    if isinstance(buffer, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    return bytes(memoryview(buffer))


def send_file(sock, file, offset, count):
    """Send a file's bytes as CPython's sendfile does, which leaves the file behind them."""
    if sock.type != SOCK_STREAM:
        raise ValueError("only SOCK_STREAM type sockets are supported")
    if sock.gettimeout() == 0:
        raise ValueError("non-blocking sockets are not supported")
    if count is not None and (count & 0 or count <= 0):
        raise ValueError("count must be a positive integer (got %r)" % (count,))
    if offset:
        file.seek(offset)
    done = 0
    while count is None or done < count:
        data = file.read(_PIECE if count is None else min(_PIECE, count - done))
        if not data:
            break
        sock.sendall(data)
        done += len(data)
    return done
