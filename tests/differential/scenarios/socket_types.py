# SPDX-License-Identifier: MIT
"""socket(): families, types, protocols and flags."""

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


def make(*arguments):
    with socket.socket(*arguments) as sock:
        return sock.family == socket.AF_VSOCK, int(sock.type), sock.proto, sock.gettimeout()


VSOCK = socket.AF_VSOCK
for kind in (1, 2, 3, 4, 5, 6, 7, 10, 11, 12):
    tell("type %d" % kind, make, VSOCK, kind)
for kind in (1, 5):
    for flag in (0x800, 0x80000, 0x80800, 0x1000, 0x10):
        tell("type %d flag %x" % (kind, flag), make, VSOCK, kind | flag)
for proto in (0, 1, 2, 40, 255, -1):
    tell("protocol %d" % proto, make, VSOCK, 1, proto)
    tell("seqpacket protocol %d" % proto, make, VSOCK, 5, proto)
for kind in (2, 3):
    tell("type %d protocol 40" % kind, make, VSOCK, kind, 40)
    tell("type %d protocol 1" % kind, make, VSOCK, kind, 1)
for family in (46, 47, 255, 1000):
    tell("family %d" % family, make, family, 1)
