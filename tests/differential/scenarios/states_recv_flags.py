# SPDX-License-Identifier: MIT
"""recv with each flag, on sockets in every state."""

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


PORT = 5200


def sockets(kind):
    """(name, socket) in each state; what keeps them so is kept, too."""
    keep = []

    def connected():
        caller, accepted = pair(PORT + kind, kind)
        keep.append(accepted)
        return caller

    fresh = socket.socket(socket.AF_VSOCK, kind)
    bound = socket.socket(socket.AF_VSOCK, kind)
    bound.bind((socket.VMADDR_CID_ANY, PORT + 10 + kind))
    listening = socket.socket(socket.AF_VSOCK, kind)
    listening.bind((socket.VMADDR_CID_ANY, PORT + 20 + kind))
    listening.listen(1)
    failed = socket.socket(socket.AF_VSOCK, kind)
    failed.setblocking(False)
    try:
        failed.connect((1, PORT + 90))
    except OSError:
        pass
    gone = connected()
    keep.pop().close()
    shut = []
    for how in (0, 1, 2):
        shut.append(connected())
        shut[how].shutdown(how)
    deaf = connected()
    keep[-1].shutdown(0)
    mute = connected()
    keep[-1].shutdown(1)
    closed = socket.socket(socket.AF_VSOCK, kind)
    closed.close()
    settle()
    names = "fresh bound listening failed connected gone rd wr rdwr deaf mute closed".split()
    states = [fresh, bound, listening, failed, connected(), gone] + shut + [deaf, mute, closed]
    for name, sock in zip(names, states):
        if name != "closed":
            sock.setblocking(False)
        yield name, sock


for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
    for name, sock in sockets(kind):
        for flags in [0, 0x4000000, 1 << 30] + [1 << n for n in (0, 1, 5, 6, 7, 8, 13, 14, 15)]:
            tell("%d %s %x" % (kind, name, flags), sock.recv, 10, flags)
