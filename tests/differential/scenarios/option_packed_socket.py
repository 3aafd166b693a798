# SPDX-License-Identifier: MIT
"""SOL_SOCKET options as bytes: too short, exact, too long."""

import errno
import socket


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


for name in (2, 9, 13, 18, 20, 21, 66, 67):
    for length in (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17):
        sock = socket.socket(socket.AF_VSOCK)
        value = bytes([1] + 30 * [0])[:length]
        tell("%d %d" % (name, length), set_packed, sock, socket.SOL_SOCKET, name, value)
        tell("  reads", get_packed, sock, socket.SOL_SOCKET, name, 16)
        sock.close()
