# SPDX-License-Identifier: MIT
"""SO_ZEROCOPY and MSG_ZEROCOPY, and an error queue with nothing in it."""

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


caller, accepted = pair(6120)
tell("get", caller.getsockopt, socket.SOL_SOCKET, 60)
tell("send", caller.send, b"abc", 0x4000000)
settle()
tell("got", accepted.recv, 10, socket.MSG_DONTWAIT)
tell("error queue", caller.recv, 10, 0x2000 | socket.MSG_DONTWAIT)
tell("error queue's message", caller.recvmsg, 10, 100, 0x2000 | socket.MSG_DONTWAIT)
