# SPDX-License-Identifier: MIT
"""A blocking connect that failed, then one that works, then once more."""

import errno
import select
import socket
import time


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


def settle():
    """Give packets that are under way the time to arrive."""
    time.sleep(0.2)


NAMES = "IN PRI OUT ERR HUP NVAL RDNORM RDBAND WRNORM WRBAND".split()
EVERYTHING = 0x23FF  # all of them, and POLLRDHUP


def poll(sock, mask=EVERYTHING):
    """The names of the poll bits that a socket has now."""
    poller = select.poll()
    poller.register(sock, mask)
    bits = 0
    for _, event in poller.poll(0):
        bits |= event
    names = [name for number, name in enumerate(NAMES) if bits >> number & 1]
    return " ".join(names + ["RDHUP"] * (bits >> 13 & 1)) or "nothing"


for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    sock = socket.socket(socket.AF_VSOCK, kind)
    tell("refused", sock.connect, (1, 6996))
    tell("error", sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    print(poll(sock))
    tell("refused", sock.connect_ex, (1, 6996))
    tell("bind", sock.bind, (socket.VMADDR_CID_ANY, 6140))
    listener = socket.socket(socket.AF_VSOCK, kind)
    listener.bind((socket.VMADDR_CID_ANY, 6141 + kind))
    listener.listen(1)
    tell("taken", sock.connect, (1, 6141 + kind))
    tell("connected", sock.connect, (1, 6141 + kind))
    tell("connected", sock.connect_ex, (1, 6141 + kind))
    sock.setblocking(False)
    tell("connected", sock.connect, (1, 6141 + kind))
    tell("listen", sock.listen, 1)
    accepted, address = listener.accept()
    print(address[0], address == sock.getsockname(), sock.getpeername())
    accepted.close()
    settle()
    tell("gone", sock.connect, (1, 6141 + kind))
    sock.close()
    listener.close()
