# SPDX-License-Identifier: MIT
"""The port of a connection that its caller bound, after either end closed."""

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


def settle():
    """Give packets that are under way the time to arrive."""
    time.sleep(0.2)


def connected(port, own):
    listener = socket.socket(socket.AF_VSOCK)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(1)
    caller = socket.socket(socket.AF_VSOCK)
    caller.bind((socket.VMADDR_CID_ANY, own))
    caller.connect((1, port))
    accepted = listener.accept()[0]
    listener.close()
    return caller, accepted


def rebind(port):
    with socket.socket(socket.AF_VSOCK) as sock:
        sock.bind((socket.VMADDR_CID_ANY, port))


for first in (0, 1):
    ends = connected(6180, 6181)
    ends[first].close()
    settle()
    tell("caller's port", rebind, 6181)
    tell("listener's port", rebind, 6180)
    ends[1 - first].close()
    settle()
    tell("caller's port", rebind, 6181)
    tell("listener's port", rebind, 6180)
