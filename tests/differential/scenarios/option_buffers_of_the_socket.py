# SPDX-License-Identifier: MIT
"""SO_SNDBUF and SO_RCVBUF: set, doubled, kept above a least."""

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


for name in (socket.SO_SNDBUF, socket.SO_RCVBUF):
    sock = socket.socket(socket.AF_VSOCK)
    tell("fresh", sock.getsockopt, socket.SOL_SOCKET, name)
    for value in (0, 1, 3000, 65536, 100000, 106496, 1 << 20, -1, 1 << 31):
        tell("set %d" % value, sock.setsockopt, socket.SOL_SOCKET, name, value)
        tell("  reads", sock.getsockopt, socket.SOL_SOCKET, name)
    sock.close()
