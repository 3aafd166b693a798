# SPDX-License-Identifier: MIT
"""settimeout: values, what they read, and how calls end with them."""

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


sock = socket.socket(socket.AF_VSOCK)
print(sock.gettimeout(), sock.getblocking(), sock.timeout)
for value in (0, 0.5, 3, None, True):
    tell("set", sock.settimeout, value)
    print(sock.gettimeout(), sock.getblocking())
for refused in (-1, -0.1, "1"):
    tell("refused", sock.settimeout, refused)
for blocking in (True, False):
    sock.setblocking(blocking)
    print(sock.gettimeout(), sock.getblocking())
caller, accepted = pair(6190)
caller.settimeout(0.1)
tell("recv", caller.recv, 1)
tell("recv_into", caller.recv_into, bytearray(1))
tell("peek", caller.recv, 1, socket.MSG_PEEK)
tell("dontwait", caller.recv, 1, socket.MSG_DONTWAIT)
listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, 6191))
listener.listen(1)
listener.settimeout(0.1)
tell("accept", listener.accept)
listener.settimeout(0)
tell("accept", listener.accept)
sent = 0
try:
    while True:
        sent += caller.send(bytes(100000))
except TimeoutError:
    print("timed out", sent)
tell("sendall", caller.sendall, bytes(10))
tell("dontwait", caller.send, bytes(10), socket.MSG_DONTWAIT)
