# SPDX-License-Identifier: MIT
"""What an accepted socket has from its listener."""

import errno
import socket


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


SIZE = socket.SO_VM_SOCKETS_BUFFER_SIZE
MIN = socket.SO_VM_SOCKETS_BUFFER_MIN_SIZE
MAX = socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE

listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, 5121))
listener.setsockopt(socket.AF_VSOCK, MAX, 1 << 20)
listener.setsockopt(socket.AF_VSOCK, MIN, 1 << 12)
listener.setsockopt(socket.AF_VSOCK, SIZE, 1 << 19)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 7)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
listener.settimeout(5)
listener.listen(1)
caller = socket.socket(socket.AF_VSOCK)
caller.connect((1, 5121))
accepted = listener.accept()[0]
for name in (SIZE, MIN, MAX):
    print(name, accepted.getsockopt(socket.AF_VSOCK, name))
for name in (socket.SO_RCVLOWAT, socket.SO_REUSEADDR, socket.SO_KEEPALIVE):
    print(name, accepted.getsockopt(socket.SOL_SOCKET, name))
print(accepted.gettimeout(), accepted.getblocking())
