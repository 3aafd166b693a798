# SPDX-License-Identifier: MIT
"""MSG_PEEK never consumes; with MSG_TRUNC, MSG_DONTWAIT, MSG_WAITALL."""

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


for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    caller, accepted = pair(6105 + kind, kind)
    tell("nothing", caller.recv, 5, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    accepted.send(b"abcdef")
    accepted.send(b"ghi")
    settle()
    peek = socket.MSG_PEEK
    tell("peek", caller.recv, 3, peek)
    tell("peek 0", caller.recv, 0, peek)
    tell("peek all", caller.recv, 100, peek)
    tell("peek waitall", caller.recv, 6, peek | socket.MSG_WAITALL)
    tell("peek trunc", caller.recv_into, bytearray(2), 2, peek | socket.MSG_TRUNC)
    tell("trunc", caller.recv_into, bytearray(2), 2, socket.MSG_TRUNC)
    tell("rest", caller.recv, 100, socket.MSG_DONTWAIT)
    accepted.close()
    settle()
    tell("last", caller.recv, 100, peek)
    tell("last", caller.recv, 100)
    tell("end", caller.recv, 100, peek)
