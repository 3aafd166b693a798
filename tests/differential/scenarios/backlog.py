# SPDX-License-Identifier: MIT
"""listen(n): n + 1 wait, more are refused; negative and again."""

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


for number, backlog in enumerate((0, 1, 3, -1)):
    listener = socket.socket(socket.AF_VSOCK)
    listener.bind((socket.VMADDR_CID_ANY, 6200 + number))
    tell("listen %d" % backlog, listener.listen, backlog)
    clients = []
    for _ in range(6):
        client = socket.socket(socket.AF_VSOCK)
        tell("  connect", client.connect, (1, 6200 + number))
        clients.append(client)
    tell("again", listener.listen, 5)
    client = socket.socket(socket.AF_VSOCK)
    tell("  connect", client.connect, (1, 6200 + number))
    clients.append(client)
    listener.close()
    settle()
    tell("unaccepted", clients[0].recv, 1)
    for each in clients:
        each.close()
    settle()
