# SPDX-License-Identifier: MIT
"""Levels that are neither SOL_SOCKET nor AF_VSOCK."""

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
for level in (0, 2, 6, 17, 39, 41, 255, 276, 287, -1):
    tell("get %d" % level, sock.getsockopt, level, 0)
    tell("get bytes %d" % level, get_packed, sock, level, 0, 8)
    tell("set %d" % level, sock.setsockopt, level, 0, 1)
sock.close()
tell("get closed", sock.getsockopt, socket.SOL_SOCKET, socket.SO_TYPE)
tell("set closed", sock.setsockopt, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
