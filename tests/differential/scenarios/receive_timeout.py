# SPDX-License-Identifier: MIT
"""SO_RCVTIMEO ends recv, recv_into and accept with EAGAIN; poll and settimeout go before."""

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


def get_packed(sock, level, name, length):
    """getsockopt as bytes, which CPython refuses on AF_VSOCK, too."""
    try:
        return sock.getsockopt(level, name, length)
    except OSError as failure:
        if failure.errno is not None:
            raise
    other = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, sock.fileno())
    try:
        return other.getsockopt(level, name, length)
    finally:
        other.detach()


caller, accepted = pair(5101)
set_packed(caller, socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("<qq", 0, 100000))
tell("recv", caller.recv, 10)
tell("recv_into", caller.recv_into, bytearray(10))
accepted.send(b"abc")
tell("waitall", caller.recv, 10, socket.MSG_WAITALL)
tell("recv", caller.recv, 10)
caller.settimeout(0.3)
tell("both", caller.recv, 10)
caller.settimeout(None)

listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, 5102))
listener.listen(1)
set_packed(listener, socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("<qq", 0, 100000))
tell("accept", listener.accept)
client = socket.socket(socket.AF_VSOCK)
client.connect((1, 5102))
child = listener.accept()[0]
tell("inherited", get_packed, child, socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
