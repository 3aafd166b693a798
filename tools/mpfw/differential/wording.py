# SPDX-License-Identifier: MIT
"""What the scenarios of a group are written in; goes before each, on both sides alike.

tell() prints what a call returned or how it failed. Blocking calls have a time-out, so that a
scenario ends whatever happens, and settle() lets arrive what is under way.
"""

import errno
import select
import socket
import struct
import time

STREAM, SEQPACKET = socket.SOCK_STREAM, socket.SOCK_SEQPACKET
KINDS = (("stream", STREAM), ("seqpacket", SEQPACKET))
ANY = 0xFFFFFFFF
EVENTS = 0x20FF  # IN PRI OUT ERR HUP NVAL RDNORM RDBAND and RDHUP
SECONDS = 5
_kept = []  # sockets that stay open until the scenario ends


def told(call, *arguments):
    """What a call returned, as text, or the errno's name or the exception's."""
    try:
        return str(call(*arguments))
    except TimeoutError as failure:
        name = errno.errorcode.get(failure.args[0]) if failure.args else None
        return "timed out" if name is None else name
    except OSError as failure:
        number = failure.args[0] if failure.args else None
        name = errno.errorcode.get(number, str(number))
        return "EOPNOTSUPP" if name == "ENOTSUP" else name  # one number, two names
    except Exception as failure:
        return type(failure).__name__


def tell(what, call, *arguments):
    """Print that."""
    print(f"{what}: {told(call, *arguments)}")


def settle():
    """Give what is under way the time to arrive."""
    time.sleep(0.1)


def keep(sock):
    """The same socket; it is not closed as garbage."""
    _kept.append(sock)
    return sock


def made(kind=STREAM, timeout=SECONDS):
    """A new socket."""
    sock = socket.socket(socket.AF_VSOCK, kind)
    sock.settimeout(timeout)
    return sock


def listening(port, kind=STREAM, backlog=4):
    """One that listens."""
    sock = made(kind)
    sock.bind((ANY, port))
    sock.listen(backlog)
    return sock


def dialled(cid, port, kind=STREAM):
    """One that is connected."""
    sock = made(kind)
    sock.connect((cid, port))
    return sock


def accepted(listener):
    """Who waits there."""
    sock, _ = listener.accept()
    sock.settimeout(SECONDS)
    return sock


def pair(port, kind=STREAM):
    """Both ends of a connection over the loopback: who called, who was accepted."""
    listener = listening(port, kind)
    caller = dialled(1, port, kind)
    end = accepted(listener)
    listener.close()
    return caller, end


def polled(sock, events=EVENTS):
    """What poll() says at once, as a number in hexadecimal; "-" if it says nothing."""
    poller = select.poll()
    poller.register(sock, events)
    found = [said for _, said in poller.poll(0)]
    return hex(found[0]) if found else "-"


def timeval(seconds, micros=0):
    """A struct timeval."""
    return struct.pack("<qq", seconds, micros)


def filled(sock, block=bytes(65536)):
    """How many bytes go out until there is no more room."""
    sock.setblocking(False)
    total = 0
    try:
        while True:
            total += sock.send(block)
    except OSError as failure:
        if failure.args[0] != errno.EAGAIN:
            raise
    sock.settimeout(SECONDS)
    return total


def drained(sock, count):
    """How many bytes came of so many that are awaited."""
    got = 0
    while got < count:
        piece = sock.recv(65536)
        if not piece:
            break
        got += len(piece)
    return got
