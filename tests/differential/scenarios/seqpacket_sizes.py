# SPDX-License-Identifier: MIT
"""Seqpacket: messages up to the buffer go as a whole, larger ones are EMSGSIZE."""

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


caller, accepted = pair(6112, socket.SOCK_SEQPACKET)
for size in (1, 4096, 65536, 65537, 262143, 262144, 262145, 300000):
    tell("send %d" % size, caller.send, bytes(size))
    settle()
    tell("  got", lambda: len(accepted.recv(400000, socket.MSG_DONTWAIT)))
    settle()
caller.setblocking(False)
caller.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, 1000)
tell("at one's own limit", caller.send, bytes(1000))
tell("beyond it", caller.send, bytes(1001))
