# SPDX-License-Identifier: MIT
"""send and sendall: buffers of every kind, slices, and what is refused."""

import array
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


caller, accepted = pair(6128)


def sent(what, data):
    for call in (caller.send, caller.sendall):
        tell(what, call, data)
        settle()
        tell("  got", accepted.recv, 100, socket.MSG_DONTWAIT)


sent("bytes", b"abc")
sent("bytearray", bytearray(b"abc"))
sent("array", array.array("H", [1, 2, 3]))
sent("slice", memoryview(b"abcdef")[2:4])
sent("text", "abc")
sent("number", 5)
sent("None", None)
sent("list", [1, 2])
