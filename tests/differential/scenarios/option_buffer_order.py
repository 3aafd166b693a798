# SPDX-License-Identifier: MIT
"""Minimum and maximum of a buffer's size, set in every order."""

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
NAMES = {SIZE: "size", MIN: "min", MAX: "max"}

for steps in (
    ((MIN, 500000),),
    ((MAX, 1000),),
    ((MAX, 64),),
    ((MIN, 500000), (MAX, 1000)),
    ((MAX, 1000), (MIN, 500000)),
    ((MAX, 1 << 20), (SIZE, 1 << 19)),
    ((SIZE, 1 << 19), (MAX, 1 << 20)),
    ((MIN, 0), (SIZE, 0)),
    ((MIN, 500000), (SIZE, 300000)),
    ((MAX, 0),),
):
    sock = socket.socket(socket.AF_VSOCK)
    for name, value in steps:
        tell("%s %d" % (NAMES[name], value), sock.setsockopt, socket.AF_VSOCK, name, value)
        for each in (SIZE, MIN, MAX):
            tell("  " + NAMES[each], sock.getsockopt, socket.AF_VSOCK, each)
    sock.close()
