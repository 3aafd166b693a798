# SPDX-License-Identifier: MIT
"""Data sent with each flag arrive alike."""

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
    caller, accepted = pair(6114 + kind, kind)
    for flags in (0x40, 0x80, 0x4000, 0x8000, 0x4000000, 0x100, 2, 4):
        tell("send %x" % flags, caller.send, b"%x" % flags, flags)
        settle()
        tell("  got", accepted.recv, 100, socket.MSG_DONTWAIT)
