# SPDX-License-Identifier: MIT
"""A non-blocking connect that works: EINPROGRESS, EALREADY, EISCONN."""

import errno
import select
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


def settle():
    """Give packets that are under way the time to arrive."""
    time.sleep(0.2)


NAMES = "IN PRI OUT ERR HUP NVAL RDNORM RDBAND WRNORM WRBAND".split()
EVERYTHING = 0x23FF  # all of them, and POLLRDHUP


def poll(sock, mask=EVERYTHING):
    """The names of the poll bits that a socket has now."""
    poller = select.poll()
    poller.register(sock, mask)
    bits = 0
    for _, event in poller.poll(0):
        bits |= event
    names = [name for number, name in enumerate(NAMES) if bits >> number & 1]
    return " ".join(names + ["RDHUP"] * (bits >> 13 & 1)) or "nothing"


listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, 6150))
listener.listen(1)
sock = socket.socket(socket.AF_VSOCK)
sock.setblocking(False)
tell("connect", sock.connect, (1, 6150))
settle()
print(poll(sock))
tell("error", sock.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR)
tell("again", sock.connect, (1, 6150))
tell("again", sock.connect_ex, (1, 6150))
tell("send", sock.send, b"abc")
accepted = listener.accept()[0]
tell("got", accepted.recv, 10)
sock.settimeout(1)
other = socket.socket(socket.AF_VSOCK)
other.settimeout(1)
tell("time-out", other.connect, (1, 6150))
tell("refused", socket.socket(socket.AF_VSOCK).connect, (1, 6995))
third = socket.socket(socket.AF_VSOCK)
third.settimeout(1)
tell("refused", third.connect, (1, 6995))
tell("refused again", third.connect, (1, 6995))
tell("and works", third.connect, (1, 6150))
