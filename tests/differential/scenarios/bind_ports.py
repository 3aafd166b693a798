# SPDX-License-Identifier: MIT
"""Ports: taken, again, other types, 0, both wildcards."""

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


ANY = socket.VMADDR_CID_ANY
first = socket.socket(socket.AF_VSOCK)
tell("first", first.bind, (ANY, 6170))
tell("twice", first.bind, (ANY, 6171))
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    for cid in (ANY, 1):
        other = socket.socket(socket.AF_VSOCK, kind)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tell("taken %d" % cid, other.bind, (cid, 6170))
        tell("free %d" % cid, other.bind, (cid, 6172))
        print(other.getsockname())
        other.close()
first.close()
again = socket.socket(socket.AF_VSOCK)
tell("again", again.bind, (ANY, 6170))
specific = socket.socket(socket.AF_VSOCK)
tell("specific", specific.bind, (1, 6173))
tell("wildcard", socket.socket(socket.AF_VSOCK).bind, (ANY, 6173))
tell("other's", socket.socket(socket.AF_VSOCK).bind, (77, 6174))
tell("hypervisor's", socket.socket(socket.AF_VSOCK).bind, (0, 6174))
tell("port 0", socket.socket(socket.AF_VSOCK).bind, (ANY, 0))
tell("port 1", socket.socket(socket.AF_VSOCK).bind, (ANY, 1))
automatic = socket.socket(socket.AF_VSOCK)
tell("automatic", automatic.bind, (ANY, socket.VMADDR_PORT_ANY))
print(automatic.getsockname()[0] == ANY, automatic.getsockname()[1] >= 1024)
