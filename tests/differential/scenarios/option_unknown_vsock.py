# SPDX-License-Identifier: MIT
"""AF_VSOCK options that are unknown or cannot be written."""

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
for name in (3, 4, 5, 6, 7, 8, 9, 10, 255, -1):
    tell("set %d" % name, sock.setsockopt, socket.AF_VSOCK, name, 1)
