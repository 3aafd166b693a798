# SPDX-License-Identifier: MIT
"""AF_VSOCK options as bytes: too short, exact, too long."""

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


for name in range(10):
    for length in (0, 1, 4, 7, 8, 9, 15, 16, 17, 32):
        sock = socket.socket(socket.AF_VSOCK)
        value = bytes([0, 2] + 30 * [0])[:length]
        tell("%d %d" % (name, length), set_packed, sock, socket.AF_VSOCK, name, value)
        if name < 3:
            tell("  reads", sock.getsockopt, socket.AF_VSOCK, name)
        sock.close()
