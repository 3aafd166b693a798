# SPDX-License-Identifier: MIT
"""SO_RCVTIMEO is not settimeout: neither changes the other."""

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


sock = socket.socket(socket.AF_VSOCK)
sock.settimeout(7)
tell("fresh", get_packed, sock, socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
set_packed(sock, socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("<qq", 2, 0))
print(sock.gettimeout())
sock.settimeout(None)
tell("kept", get_packed, sock, socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
tell("the other", get_packed, sock, socket.SOL_SOCKET, socket.SO_SNDTIMEO, 16)
sock.setblocking(False)
tell("kept", get_packed, sock, socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)
