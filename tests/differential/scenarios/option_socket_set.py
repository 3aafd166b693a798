# SPDX-License-Identifier: MIT
"""SOL_SOCKET options that are set to integers, and what they then read."""

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


NAMES = (
    (1, "DEBUG"),
    (2, "REUSEADDR"),
    (3, "TYPE"),
    (4, "ERROR"),
    (5, "DONTROUTE"),
    (6, "BROADCAST"),
    (9, "KEEPALIVE"),
    (10, "OOBINLINE"),
    (11, "NO_CHECK"),
    (12, "PRIORITY"),
    (15, "REUSEPORT"),
    (16, "PASSCRED"),
    (18, "RCVLOWAT"),
    (19, "SNDLOWAT"),
    (29, "TIMESTAMP"),
    (30, "ACCEPTCONN"),
    (38, "PROTOCOL"),
    (39, "DOMAIN"),
    (40, "RXQ_OVFL"),
    (42, "PEEK_OFF"),
    (45, "SELECT_ERR_QUEUE"),
    (60, "ZEROCOPY"),
    (999, "unknown"),
)
for number, name in NAMES:
    for value in (1, 0, 5, -1):
        sock = socket.socket(socket.AF_VSOCK)
        tell("%s = %d" % (name, value), sock.setsockopt, socket.SOL_SOCKET, number, value)
        tell("  reads", sock.getsockopt, socket.SOL_SOCKET, number)
        sock.close()
