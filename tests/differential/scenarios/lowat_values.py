# SPDX-License-Identifier: MIT
"""SO_RCVLOWAT takes integers: zero and negative ones, too."""

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


sock = socket.socket(socket.AF_VSOCK)
for value in (1, 0, 10, 262144, 262145, 1 << 30, -1, 1 << 31, (1 << 32) + 3):
    tell("set %d" % value, sock.setsockopt, socket.SOL_SOCKET, socket.SO_RCVLOWAT, value)
    tell("  reads", sock.getsockopt, socket.SOL_SOCKET, socket.SO_RCVLOWAT)
