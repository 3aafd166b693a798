# SPDX-License-Identifier: MIT
"""A non-blocking connect that failed: again, SO_ERROR, and what works then."""

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
    sock.setblocking(False)
    tell("first", sock.connect, (1, 6997))
    settle()
    print(poll(sock))
    tell("second", sock.connect, (1, 6997))
    tell("recv", sock.recv, 1)
    tell("send", sock.send, b"a")
    tell("peer", sock.getpeername)
    tell("shutdown", sock.shutdown, 2)
    tell("error", sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    print(poll(sock))
    tell("third", sock.connect, (1, 6997))
    tell("error", sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    listener = socket.socket(socket.AF_VSOCK, kind)
    listener.bind((socket.VMADDR_CID_ANY, 6130 + kind))
    listener.listen(1)
    tell("fourth", sock.connect, (1, 6130 + kind))
    settle()
    print(poll(sock))
    tell("error", sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    sock.setblocking(True)
    tell("blocking", sock.connect, (1, 6130 + kind))
    tell("blocking again", sock.connect, (1, 6130 + kind))
    print(poll(sock))
