# SPDX-License-Identifier: MIT
"""Seqpacket: short receives cut messages; MSG_TRUNC tells; MSG_EOR travels."""

import errno
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


caller, accepted = pair(6110, socket.SOCK_SEQPACKET)
for flags in (0, socket.MSG_EOR, 0x8000):
    tell("send", accepted.send, b"0123456789", flags)
    settle()
    data, ancillary, got, address = caller.recvmsg(4)
    print(data, ancillary, got & ~0x40000000, address)
    accepted.send(b"abc", flags)
    settle()
    data, ancillary, got, address = caller.recvmsg(100, 0, socket.MSG_PEEK)
    print(data, ancillary, got & ~0x40000000, address)
    data, ancillary, got, address = caller.recvmsg(100, 0, socket.MSG_TRUNC)
    print(data, ancillary, got & ~0x40000000, address)
    tell("send", accepted.send, b"0123456789", flags)
    settle()
    data, ancillary, got, address = caller.recvmsg(4, 0, socket.MSG_PEEK | socket.MSG_TRUNC)
    print(data, ancillary, got & ~0x40000000, address)
    data, ancillary, got, address = caller.recvmsg(0)
    print(data, ancillary, got & ~0x40000000, address)
tell("empty", accepted.send, b"")
settle()
tell("nothing", caller.recv, 10, socket.MSG_DONTWAIT)
