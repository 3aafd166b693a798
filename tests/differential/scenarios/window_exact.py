# SPDX-License-Identifier: MIT
"""How many bytes a peer takes that does not read: its buffer's size, exactly."""

import errno
import socket
import time


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


caller, accepted = pair(6195)
caller.setblocking(False)
sent = 0
for size in (100000, 100000, 100000, 1000):
    try:
        count = caller.send(bytes(size))
        print(count)
        sent += count
    except OSError as failure:
        print(errno.errorcode[failure.errno or 0])
settle()
print(sent, len(accepted.recv(300000)))
