# SPDX-License-Identifier: MIT
"""MSG_WAITALL and SO_RCVLOWAT for as much as a buffer holds, or more: ENOMEM."""

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


SIZE = socket.SO_VM_SOCKETS_BUFFER_SIZE

caller, accepted = pair(6198)
tell("shrunk", caller.setsockopt, socket.AF_VSOCK, SIZE, 100000)
accepted.send(b"abc")
settle()
for size in (99999, 100000, 100001):
    for flags in (socket.MSG_WAITALL, socket.MSG_WAITALL | socket.MSG_PEEK):
        flags |= socket.MSG_DONTWAIT
        tell("%d %x" % (size, flags), caller.recv, size, flags)
    accepted.send(b"abc")
    settle()
tell("mark", caller.setsockopt, socket.SOL_SOCKET, socket.SO_RCVLOWAT, 100000)
tell("below", caller.recv, 99999, socket.MSG_DONTWAIT)
tell("there", caller.recv, 100000, socket.MSG_DONTWAIT)
tell("grown", caller.setsockopt, socket.AF_VSOCK, SIZE, 200000)
tell("there", caller.recv, 100000, socket.MSG_DONTWAIT)
accepted.close()
settle()
tell("end", caller.recv, 200000, socket.MSG_WAITALL)
caller.shutdown(socket.SHUT_RD)
tell("end", caller.recv, 200000, socket.MSG_WAITALL)
