# SPDX-License-Identifier: MIT
"""Poll bits of sockets without a connection."""

import errno
import select
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
    print("fresh", poll(sock))
    sock.bind((socket.VMADDR_CID_ANY, 5130 + kind))
    print("bound", poll(sock))
    sock.listen(2)
    print("listening", poll(sock))
    client = socket.socket(socket.AF_VSOCK, kind)
    client.connect((1, 5130 + kind))
    print("pending", poll(sock))
    print("only asked for output", poll(sock, select.POLLOUT))
    client.close()
    print("pending, gone", poll(sock))
    child, _ = sock.accept()
    print("accepted, gone", poll(child))
    print("nobody", poll(sock))
