# SPDX-License-Identifier: MIT
"""Options of a connection that is there: size grows, shrinks, is clamped."""

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
MAX = socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE


def fill(sock):
    """Bytes that go out until the peer's window is full."""
    sock.setblocking(False)
    sent = 0
    idle = 0
    while idle < 3:
        try:
            sent += sock.send(bytes(5000))
            idle = 0
        except OSError:
            idle += 1
            settle()
    return sent


for size in (128, 1000, 4096, 65536, 100000, 262144):
    caller, accepted = pair(5122)
    tell("set", accepted.setsockopt, socket.AF_VSOCK, SIZE, size)
    tell("size", accepted.getsockopt, socket.AF_VSOCK, SIZE)
    settle()
    print("fits", fill(caller))
    caller.close()
    accepted.close()
    settle()
caller, accepted = pair(5123)
tell("set", caller.setsockopt, socket.AF_VSOCK, SIZE, 1000)
settle()
print("own limit", fill(caller))
