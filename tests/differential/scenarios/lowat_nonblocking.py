# SPDX-License-Identifier: MIT
"""A non-blocking recv below SO_RCVLOWAT."""

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


caller, accepted = pair(5105)
caller.setblocking(False)
caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 10)
accepted.send(b"abc")
settle()
tell("recv", caller.recv, 100)
accepted.send(b"abc")
settle()
tell("peek", caller.recv, 100, socket.MSG_PEEK)
tell("recv 2", caller.recv, 2)
tell("waitall", caller.recv, 100, socket.MSG_WAITALL)
tell("again", caller.recv, 100)
