# SPDX-License-Identifier: MIT
"""MSG_WAITALL for more than the window holds."""

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


caller, accepted = pair(6103)
accepted.setblocking(False)
caller.setblocking(False)
sent = 0
data = bytes(range(256)) * 400
got = b""
while sent < len(data) * 4:
    try:
        sent += accepted.send(data)
    except OSError as failure:
        if failure.errno != errno.EAGAIN:
            raise
        got += caller.recv(200000, socket.MSG_WAITALL)
accepted.close()
settle()
while True:
    part = caller.recv(200000, socket.MSG_WAITALL)
    if not part:
        break
    got += part
print(sent == len(got), got[:300] == (data + data)[:300])
