# SPDX-License-Identifier: MIT
"""A client that runs unchanged under CPython on Linux and in the firmware.

client.py CID PORT [KIB] talks to an echo server there: lines, a time-out, a message of so many
KiB, many small connections. Prints what it did, the same lines wherever it runs.
"""

import errno
import select
import socket
import sys
from array import array

LINES = (b"first line\n", b"second line\n", "третья\n".encode())


def connect(cid, port):
    sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    sock.settimeout(20)
    sock.connect((cid, port))
    return sock


def lines(cid, port):
    with connect(cid, port) as sock:
        for line in LINES:
            sock.sendall(line)
            answer = b""
            while not answer.endswith(b"\n"):
                answer += sock.recv(100)
            assert answer == line
    return f"{len(LINES)} lines"


def files(cid, port):
    with connect(cid, port) as sock:
        file = sock.makefile("rwb")
        for line in LINES:
            file.write(line)
            file.flush()
            assert file.readline() == line
        file.close()
    return f"{len(LINES)} lines through a file"


def pattern(size):
    return bytes(array("I", range(size // 4)))


def bulk(cid, port, size):
    """Send and receive at once, in one thread: poll says which."""
    data = pattern(size)
    view = memoryview(data)
    received = bytearray()
    sent = 0
    with connect(cid, port) as sock:
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLIN | select.POLLOUT)
        while len(received) < size:
            assert poll.poll(20000), "nothing moves"
            try:
                received += sock.recv(65536)
            except OSError as error:
                assert error.errno == errno.EAGAIN
            try:
                sent += sock.send(view[sent : sent + 65536])
            except OSError as error:
                assert error.errno == errno.EAGAIN
            if sent == size:
                poll.modify(sock, select.POLLIN)
    assert bytes(received) == data
    return f"{size} bytes there and back"


def many(cid, port, count):
    for number in range(count):
        with connect(cid, port) as sock:
            word = b"%d" % number
            sock.sendall(word)
            assert sock.recv(20) == word
    return f"{count} connections"


def peer_name(cid, port):
    with connect(cid, port) as sock:
        assert sock.getpeername() == (cid, port)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    return f"peer {cid}:{port}"


def silence(cid, port):
    """A server that has nothing to say: recv gives up after the time-out, then goes on."""
    with connect(cid, port) as sock:
        sock.settimeout(0.2)
        try:
            sock.recv(1)
            return "an answer to nothing"
        except OSError:
            pass
        sock.settimeout(20)
        sock.sendall(b"x")
        assert sock.recv(1) == b"x"
    return "a time-out, and on"


def main(cid, port, kib=1024):
    for step in (lines, files, peer_name, silence):
        print("client:", step(cid, port))
    print("client:", bulk(cid, port, kib << 10))
    print("client:", many(cid, port, 50))
    print("client: done")


if __name__ == "__main__":
    main(*[int(word) for word in sys.argv[1:]])
