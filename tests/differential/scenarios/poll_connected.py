# SPDX-License-Identifier: MIT
"""Poll bits of a connection, as it fills, empties and ends."""

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


def pair(port, kind=socket.SOCK_STREAM):
    """Two connected sockets: the one that called, the one that was accepted."""
    listener = socket.socket(socket.AF_VSOCK, kind)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(1)
    caller = socket.socket(socket.AF_VSOCK, kind)
    caller.connect((1, port))
    accepted = listener.accept()[0]
    listener.close()
    return caller, accepted


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
    caller, accepted = pair(5140 + kind, kind)
    print("idle", poll(caller), "|", poll(accepted))
    accepted.send(b"abc")
    settle()
    print("data", poll(caller))
    for mask in (1, 4, 0x40, 0x80, 0x100, 0x200, 2, 0x2000, 0):
        print("asked for", mask, poll(caller, mask))
    caller.recv(10)
    print("read", poll(caller))
    accepted.setblocking(False)
    try:
        while True:
            accepted.send(bytes(32768))
    except OSError as failure:
        print(errno.errorcode[failure.errno or 0])
    settle()
    print("full", poll(accepted), "|", poll(caller))
    accepted.close()
    settle()
    print("closed, unread", poll(caller))
    while caller.recv(100000):
        pass
    print("closed, read", poll(caller))
