# SPDX-License-Identifier: MIT
"""SO_ERROR is told once; SO_TYPE, SO_DOMAIN, SO_PROTOCOL and SO_ACCEPTCONN."""

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


def facts(sock):
    return [
        sock.getsockopt(socket.SOL_SOCKET, name)
        for name in (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL, socket.SO_ACCEPTCONN)
    ]


for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    sock = socket.socket(socket.AF_VSOCK, kind)
    print("fresh", facts(sock), sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    sock.bind((socket.VMADDR_CID_ANY, 5108 + kind))
    print("bound", facts(sock))
    sock.listen(1)
    print("listening", facts(sock))
    sock.close()
sock = socket.socket(socket.AF_VSOCK)
sock.setblocking(False)
tell("connect", sock.connect, (1, 5999))
settle()
print(poll(sock))
print(errno.errorcode[sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)])
print(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
print(poll(sock))
