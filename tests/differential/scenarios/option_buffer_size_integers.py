# SPDX-License-Identifier: MIT
"""A buffer's size set by integers of every kind: 64 unsigned bits, clamped."""

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

for value in (0, 1, 127, 128, 129, 4096, 65536, 262144, 262145, 1 << 31, 1 << 32, 1 << 40):
    sock = socket.socket(socket.AF_VSOCK)
    tell("set %d" % value, sock.setsockopt, socket.AF_VSOCK, SIZE, value)
    tell("read", sock.getsockopt, socket.AF_VSOCK, SIZE)
    sock.close()
