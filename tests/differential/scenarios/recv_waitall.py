# SPDX-License-Identifier: MIT
"""MSG_WAITALL: all of it, what came before the end, or before a time-out."""

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


caller, accepted = pair(6101)
accepted.send(b"abc")
accepted.send(b"def")
tell("all there", caller.recv, 6, socket.MSG_WAITALL)
accepted.send(b"abc")
settle()
tell("dontwait", caller.recv, 6, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
tell("dontwait, nothing", caller.recv, 6, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
accepted.send(b"abc")
settle()
tell("peek", caller.recv, 3, socket.MSG_WAITALL | socket.MSG_PEEK)
tell("again", caller.recv, 3, socket.MSG_WAITALL)
accepted.send(b"abc")
settle()
caller.settimeout(0.3)
tell("time-out, some", caller.recv, 6, socket.MSG_WAITALL)
tell("time-out, nothing", caller.recv, 6, socket.MSG_WAITALL)
caller.settimeout(None)
accepted.send(b"abc")
accepted.shutdown(socket.SHUT_WR)
tell("the end", caller.recv, 6, socket.MSG_WAITALL)
tell("nothing more", caller.recv, 6, socket.MSG_WAITALL)
