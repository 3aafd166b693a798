# SPDX-License-Identifier: MIT
"""Unread data, and what both ends are told, when either closes."""

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
    caller, accepted = pair(6210 + kind, kind)
    accepted.send(b"abc")
    settle()
    accepted.close()
    settle()
    tell("send", caller.send, b"x")
    tell("send again", caller.send, b"x")
    tell("recv", caller.recv, 10)
    tell("end", caller.recv, 10)
    tell("peer", lambda sock=caller: sock.getpeername()[0])
    tell("shutdown", caller.shutdown, 2)
    tell("peer", lambda sock=caller: sock.getpeername()[0])
    tell("recv", caller.recv, 10)
    tell("send", caller.send, b"x")
    tell("error", caller.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
    caller.close()
    caller, accepted = pair(6212 + kind, kind)
    accepted.send(b"abc")
    settle()
    caller.close()
    settle()
    tell("send after close with unread data", accepted.send, b"x")
    tell("recv", accepted.recv, 10)
    print(poll(accepted))
    accepted.close()
    settle()
