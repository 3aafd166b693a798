# SPDX-License-Identifier: MIT
"""getsockopt at AF_VSOCK level with every length of buffer."""

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
for name in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, -1):
    tell("%d integer" % name, sock.getsockopt, socket.AF_VSOCK, name)
    for length in (1, 4, 7, 8, 9, 16, 17, 1024):
        tell("%d %d" % (name, length), get_packed, sock, socket.AF_VSOCK, name, length)
