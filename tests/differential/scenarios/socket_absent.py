# SPDX-License-Identifier: MIT
"""What a vsock socket cannot do: share, another platform's calls."""

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


sock = socket.socket(socket.AF_VSOCK)
for name in "share ioctl_windows".split():
    print(name, hasattr(sock, name))
for name in "fromshare SIO_RCVALL WSAStartup".split():
    print(name, hasattr(socket, name))
tell("detach", lambda: sock.detach() >= 0)
print(sock.fileno())
tell("closed", sock.recv, 1)
tell("twice", sock.detach)
tell("close", sock.close)
