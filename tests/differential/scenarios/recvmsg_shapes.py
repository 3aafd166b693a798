# SPDX-License-Identifier: MIT
"""recvmsg and recvmsg_into: results, several buffers, lengths of ancillary data."""

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


caller, accepted = pair(6122)
accepted.send(b"0123456789abcdef")
settle()
tell("peek", caller.recvmsg, 4, 0, socket.MSG_PEEK)
tell("plain", caller.recvmsg, 4)
tell("ancillary", caller.recvmsg, 3, 100)
first, second = bytearray(2), bytearray(3)
tell("into", caller.recvmsg_into, [first, second])
print(first, second)
tell("into nothing", caller.recvmsg_into, [])
tell("into views", caller.recvmsg_into, [memoryview(first)[1:]])
print(first)
tell("negative", caller.recvmsg, -1)
tell("negative ancillary", caller.recvmsg, 1, -1)
tell("no buffers", caller.recvmsg_into, 5)
tell("rest", caller.recvmsg, 100)
accepted.close()
settle()
tell("end", caller.recvmsg, 100)
tell("end into", caller.recvmsg_into, [first])
