# SPDX-License-Identifier: MIT
"""What the functions of a vsock test use on both sides, under MicroPython and CPython alike.

Its source goes before theirs; see sides.py.
"""

import socket
import time


def dial(cid, port, kind=socket.SOCK_STREAM, seconds=15):
    """Connect, again and again while nobody listens yet."""
    deadline = time.time() + seconds
    while True:
        sock = socket.socket(socket.AF_VSOCK, kind)
        try:
            sock.connect((cid, port))
            return sock
        except OSError:
            sock.close()
            if time.time() > deadline:
                raise
            time.sleep(0.1)


def listen(port, kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_VSOCK, kind)
    sock.bind((socket.VMADDR_CID_ANY, port))
    sock.listen(8)
    return sock


def accept(port, kind=socket.SOCK_STREAM):
    listener = listen(port, kind)
    listener.settimeout(15)
    sock, _ = listener.accept()
    listener.close()
    sock.settimeout(15)
    return sock


def receive_all(sock):
    """Everything until the peer stops sending."""
    data = b""
    while True:
        chunk = sock.recv(65536)
        if not chunk:
            return data
        data += chunk


def pattern(length):
    """Bytes that show where they belong: every four of them are their own place."""
    return b"".join(n.to_bytes(4, "little") for n in range((length + 3) // 4))[:length]


def errno_of(function, *arguments):
    """The errno that the call fails with; 0 if it does not fail."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0
