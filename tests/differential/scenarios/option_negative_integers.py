# SPDX-License-Identifier: MIT
"""Negative integers at AF_VSOCK level wrap to 64 unsigned bits."""

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


SIZE = socket.SO_VM_SOCKETS_BUFFER_SIZE
MIN = socket.SO_VM_SOCKETS_BUFFER_MIN_SIZE
MAX = socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE

for name in (MAX, SIZE):
    sock = socket.socket(socket.AF_VSOCK)
    for value in (-1, -262144):
        tell("set %d %d" % (name, value), sock.setsockopt, socket.AF_VSOCK, name, value)
        tell("max", sock.getsockopt, socket.AF_VSOCK, MAX)
    sock.close()
