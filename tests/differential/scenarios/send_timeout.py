# SPDX-License-Identifier: MIT
"""SO_SNDTIMEO ends send with what went out, then with EAGAIN."""

import errno
import socket
import struct


def tell(what, call, *arguments):
    """Print what a call returned, or how it failed."""
    try:
        result = str(call(*arguments))
    except TimeoutError:
        result = "timed out"
    except OSError as failure:
        result = errno.errorcode.get(failure.errno or 0, str(failure))
        result = "EOPNOTSUPP" if result == "ENOTSUP" else result  # one number, two names
    except Exception as failure:
        result = type(failure).__name__
    print(what, result)


def pair(port, kind=socket.SOCK_STREAM):
    """Two connected sockets: the one that called, the one that was accepted."""
    listener = socket.socket(socket.AF_VSOCK, kind)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(1)
    caller = socket.socket(socket.AF_VSOCK, kind)
    caller.connect((1, port))
    accepted = listener.accept()[0]
    listener.close()
    return caller, accepted


def set_packed(sock, level, name, value):
    """setsockopt of bytes, which CPython refuses on AF_VSOCK: there through another family."""
    try:
        sock.setsockopt(level, name, value)
    except TypeError:
        other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, sock.fileno())
        try:
            other.setsockopt(level, name, value)
        finally:
            other.detach()


caller, accepted = pair(5103)
set_packed(caller, socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("<qq", 0, 200000))
sent = 0
try:
    while True:
        count = caller.send(bytes(100000))
        print("sent", count)
        sent += count
except OSError as failure:
    print(errno.errorcode[failure.errno or 0])
print("in all", sent)
tell("sendall", caller.sendall, bytes(10))
tell("dontwait", caller.send, bytes(10), socket.MSG_DONTWAIT)
