# SPDX-License-Identifier: MIT
"""recv_into: buffers of every kind, lengths, and what is refused."""

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


caller, accepted = pair(6126)
accepted.send(bytes(range(65, 91)))
settle()
buffer = bytearray(8)
tell("all", caller.recv_into, buffer)
print(buffer)
tell("two", caller.recv_into, buffer, 2)
print(buffer)
tell("slice", caller.recv_into, memoryview(buffer)[6:])
print(buffer)
words = array.array("H", [0, 0])
tell("words", caller.recv_into, words)
print(list(words))
tell("one word", caller.recv_into, words, 1)
print(list(words))
tell("nothing", caller.recv_into, bytearray(0))
tell("bytes", caller.recv_into, b"abc")
tell("number", caller.recv_into, 5)
tell("negative", caller.recv_into, buffer, -1)
tell("beyond", caller.recv_into, buffer, 9)
tell("recv negative", caller.recv, -1)
tell("recvfrom", caller.recvfrom, 2)
tell("recvfrom_into", caller.recvfrom_into, buffer, 2)
tell("rest", caller.recv, 100, socket.MSG_DONTWAIT)
