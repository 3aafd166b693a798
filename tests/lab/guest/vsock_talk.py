# SPDX-License-Identifier: MIT
"""What the guest's half of Linux's vsock_test is made of: the control lines, sockets, looks.

Runs in the guest, as all files of this directory. Some steps of the original are not to be had
here; what stands in their place is said where it stands:

- a buffer that is not there (EFAULT): a script has none. On seqpacket Linux loses the message that
  meets one, so here it is received and thrown away.
- SO_ZEROCOPY: this side has none, so the same bytes go out by ordinary sends, nothing is heard of
  completions, and sends that must fail for want of memory are left out.
- SIGPIPE, and signals that cut a connect off: there are none; EPIPE is looked at.
"""

import errno
import fcntl
import select
import socket
import struct
import time

import micropython
from prelude import errno_of

HOST, PORT = 2, 1234
STREAM, SEQPACKET = socket.SOCK_STREAM, 5
SECONDS = 10  # that a step may take
PAGE = 4096
opened = []  # sockets, for their test


class Control:
    """The lines by which both halves go on together."""

    def __init__(self, sock):
        self.sock = sock
        self.rest = b""

    def say(self, line):
        self.sock.sendall(b"%s\n" % str(line).encode())

    def hear(self):
        while b"\n" not in self.rest:
            piece = self.sock.recv(512)
            assert piece, "the other half has ended"
            self.rest += piece
        line, self.rest = self.rest.split(b"\n", 1)
        return line.decode()

    def expect(self, line):
        heard = self.hear()
        assert heard == line, "heard %r, not %r" % (heard, line)


# -- what many tests do


def ours(sock):
    """Calls on it end after a while, and it ends with the test."""
    opened.append(sock)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, option, struct.pack("<qq", SECONDS, 0))
    return sock


def made(kind=STREAM):
    return ours(socket.socket(socket.AF_VSOCK, kind))


def bound(port, kind=STREAM):
    sock = made(kind)
    sock.bind((socket.VMADDR_CID_ANY, port))
    return sock


def listening():
    listener = bound(PORT)
    listener.listen(1)
    return listener


def dialled(control, kind=STREAM):
    control.expect("LISTENING")
    sock = made(kind)
    sock.connect((HOST, PORT))
    return sock


def accepted(control, kind=STREAM):
    listener = bound(PORT, kind)
    listener.listen(1)
    control.say("LISTENING")
    sock, _ = listener.accept()
    listener.close()
    return ours(sock)


def same(got, wanted):
    assert got == wanted, "%r, not %r" % (got, wanted)


def fails(number, function, *arguments):
    same(errno_of(function, *arguments), number)


def refused(sock):
    fails(errno.ECONNRESET, sock.connect, (HOST, PORT))


def take(sock, length, flags=0):
    """So many bytes, in as many pieces as they come in."""
    data = bytearray(length)
    rest = memoryview(data)
    while rest:
        n = sock.recv_into(rest, 0, flags)
        assert n, "%d bytes are missing" % len(rest)
        rest = rest[n:]
    return data


def take_letter(sock):
    same(bytes(take(sock, 1)), b"A")


def peek(sock, length):
    """So many bytes, once they are all there; none is taken."""
    end = time.time() + SECONDS
    while True:
        data = sock.recv(length, socket.MSG_PEEK)
        if len(data) == length:
            return data
        assert data and time.time() < end, "%d bytes are there" % len(data)
        time.sleep(0.01)


def poll(sock, events, seconds):
    poller = select.poll()
    poller.register(sock, events)
    found = poller.poll(seconds * 1000)
    return found[0][1] if found else 0


def until_closed(sock):
    assert poll(sock, select.POLLRDHUP | select.POLLHUP, SECONDS), "the peer does not close"


def until_asked(sock, request, wanted):
    """Until ioctl answers so."""
    end = time.time() + SECONDS
    while True:
        answer = bytearray(4)
        fcntl.ioctl(sock, request, answer)
        (number,) = struct.unpack("<i", answer)
        if number == wanted:
            return
        assert time.time() < end, "ioctl: %d" % number


def set_option(sock, level, name, value, layout):
    """Set an option, and find it set."""
    packed = struct.pack(layout, value)
    sock.setsockopt(level, name, packed)
    same(sock.getsockopt(level, name, len(packed)), packed)


def set_buffer(sock, size):
    for name in (socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, socket.SO_VM_SOCKETS_BUFFER_SIZE):
        set_option(sock, socket.AF_VSOCK, name, size, "<Q")


def set_lowat(sock, size):
    set_option(sock, socket.SOL_SOCKET, socket.SO_RCVLOWAT, size, "<i")


def set_linger(sock, seconds):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("<ii", 1, seconds))


@micropython.viper
def _hash(data, length: int) -> int:
    p = ptr8(data)
    h = 5381
    i = 0
    while i < length:
        h = (h << 5) + h + p[i]
        i += 1
    return h


def hashed(data):
    """Bernstein's hash of bytes, as 64 bits without a sign: by it both halves compare them."""
    return _hash(data, len(data)) & 0xFFFFFFFFFFFFFFFF


# -- a side that only keeps its connection open


def accept_until(word, kind=STREAM):
    def steps(control):
        sock = accepted(control, kind)
        control.expect(word)
        sock.close()

    return steps


def accept_until_closed(control):
    until_closed(accepted(control))


def dial_and_close(control):
    dialled(control).close()
