# SPDX-License-Identifier: MIT
"""select.select: which of three lists a socket comes up in."""

import select
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


def ready(sock):
    """Whether a socket is readable, writable, exceptional."""
    lists = select.select([sock], [sock], [sock], 0)
    return [len(each) for each in lists]


fresh = socket.socket(socket.AF_VSOCK)
print("fresh", ready(fresh))
fresh.bind((socket.VMADDR_CID_ANY, 5160))
fresh.listen(1)
print("listening", ready(fresh))
client = socket.socket(socket.AF_VSOCK)
client.connect((1, 5160))
print("pending", ready(fresh))
caller, accepted = pair(5161)
print("idle", ready(caller))
accepted.send(b"abc")
settle()
print("data", ready(caller))
accepted.close()
settle()
print("closed", ready(caller))
caller.shutdown(2)
print("shut", ready(caller))
failed = socket.socket(socket.AF_VSOCK)
failed.setblocking(False)
try:
    failed.connect((1, 5998))
except OSError:
    pass
settle()
print("failed", ready(failed))
