# SPDX-License-Identifier: MIT
"""connect to addresses that nobody can have; to oneself; while listening."""

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


for address in ((0, 1), (0xFFFFFFFF, 1), (1, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF)):
    sock = socket.socket(socket.AF_VSOCK)
    tell("connect %d %d" % address, sock.connect, address)
    sock.close()
for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    own = socket.socket(socket.AF_VSOCK, kind)
    own.bind((socket.VMADDR_CID_ANY, 6160))
    tell("oneself", own.connect, (1, 6160))
    tell("error", own.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    tell("listen", own.listen, 1)
    tell("listening", own.connect, (1, 6160))
    tell("listening", own.connect, (1, 6161))
    tell("recv", own.recv, 1)
    tell("send", own.send, b"a")
    own.close()
