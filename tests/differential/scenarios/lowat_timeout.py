# SPDX-License-Identifier: MIT
"""A recv with a time-out below SO_RCVLOWAT."""

import errno
import socket
import struct
import time


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


def settle():
    """Give packets that are under way the time to arrive."""
    time.sleep(0.2)


caller, accepted = pair(5106)
caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 10)
accepted.send(b"abc")
settle()
caller.settimeout(0.2)
tell("recv", caller.recv, 100)
caller.settimeout(None)
set_packed(caller, socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("<qq", 0, 100000))
tell("recv", caller.recv, 100)
tell("rest", caller.recv, 100, socket.MSG_DONTWAIT)
