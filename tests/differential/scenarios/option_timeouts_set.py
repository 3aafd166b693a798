# SPDX-License-Identifier: MIT
"""SO_RCVTIMEO and SO_SNDTIMEO: what can be set, what is read."""

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


def timeval(seconds, micros):
    return struct.pack("<qq", seconds, micros)


for name in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
    sock = socket.socket(socket.AF_VSOCK)
    tell("fresh", get_packed, sock, socket.SOL_SOCKET, name, 16)
    times = [(1, 0), (0, 500000), (0, 1000000), (0, -1), (-1, 0), (3, 4000), (0, 0)]
    for seconds, micros in times:
        tell(
            "set %d %d" % (seconds, micros),
            set_packed,
            sock,
            socket.SOL_SOCKET,
            name,
            timeval(seconds, micros),
        )
        tell("  reads", get_packed, sock, socket.SOL_SOCKET, name, 16)
    tell("integer", sock.setsockopt, socket.SOL_SOCKET, name, 1)
    print("time-out", sock.gettimeout())
