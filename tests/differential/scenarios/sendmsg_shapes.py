# SPDX-License-Identifier: MIT
"""sendmsg: lists of buffers of every kind, ancillary data, addresses."""

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


caller, accepted = pair(6124)


def sent(what, *arguments):
    tell(what, caller.sendmsg, *arguments)
    settle()
    tell("  got", accepted.recv, 100, socket.MSG_DONTWAIT)


sent("two", [b"ab", b"cd"])
sent("none", [])
sent("empty", [b"", b""])
sent("kinds", [bytearray(b"x"), memoryview(b"abc")[1:], array.array("H", [1, 2])])
sent("tuple", (b"a", b"b"))
sent("generator", (each for each in (b"p", b"q")))
sent("flags", [b"a"], [], socket.MSG_DONTWAIT)
sent("out of band", [b"a"], [], socket.MSG_OOB)
sent("no address", [b"a"], [], 0, None)
sent("address", [b"a"], [], 0, (1, 6124))
sent("text", ["a"])
sent("number", 5)
