# SPDX-License-Identifier: MIT
"""Every SOL_SOCKET option of a fresh socket, as an integer and as bytes."""

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
    (13, "LINGER"),
    (15, "REUSEPORT"),
    (16, "PASSCRED"),
    (18, "RCVLOWAT"),
    (19, "SNDLOWAT"),
    (20, "RCVTIMEO"),
    (21, "SNDTIMEO"),
    (25, "BINDTODEVICE"),
    (29, "TIMESTAMP"),
    (30, "ACCEPTCONN"),
    (34, "PASSSEC"),
    (36, "MARK"),
    (38, "PROTOCOL"),
    (39, "DOMAIN"),
    (40, "RXQ_OVFL"),
    (41, "WIFI_STATUS"),
    (42, "PEEK_OFF"),
    (43, "NOFCS"),
    (44, "LOCK_FILTER"),
    (45, "SELECT_ERR_QUEUE"),
    (46, "BUSY_POLL"),
    (47, "MAX_PACING_RATE"),
    (60, "ZEROCOPY"),
    (66, "RCVTIMEO_NEW"),
    (67, "SNDTIMEO_NEW"),
    (999, "unknown"),
)
sock = socket.socket(socket.AF_VSOCK)
for number, name in NAMES:
    tell(name, sock.getsockopt, socket.SOL_SOCKET, number)
    for length in (1, 4, 8, 16, 20):
        tell("  %d" % length, get_packed, sock, socket.SOL_SOCKET, number, length)
