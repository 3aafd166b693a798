# SPDX-License-Identifier: MIT
"""Every call on a closed socket."""

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
sock.close()
tell("close", sock.close)
for name, arguments in (
    ("accept", ()),
    ("bind", ((1, 1),)),
    ("connect", ((1, 1),)),
    ("connect_ex", ((1, 1),)),
    ("getpeername", ()),
    ("getsockname", ()),
    ("getsockopt", (1, 3)),
    ("listen", ()),
    ("recv", (1,)),
    ("recv_into", (bytearray(1),)),
    ("recvfrom", (1,)),
    ("recvfrom_into", (bytearray(1),)),
    ("recvmsg", (1,)),
    ("recvmsg_into", ([bytearray(1)],)),
    ("send", (b"a",)),
    ("sendall", (b"a",)),
    ("sendmsg", ([b"a"],)),
    ("sendto", (b"a", (1, 1))),
    ("setsockopt", (1, 2, 1)),
    ("shutdown", (2,)),
    ("fileno", ()),
    ("detach", ()),
    ("gettimeout", ()),
    ("getblocking", ()),
    ("setblocking", (False,)),
    ("settimeout", (1,)),
):
    tell(name, getattr(sock, name), *arguments)
