"""A blocking connect that nobody waits for, again, and what the socket says then."""

import errno
import select
import socket


def said(function, *arguments):
    try:
        return function(*arguments)
    except socket.timeout:
        return "timeout"
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
print("connect", said(s.connect, (1, 4321)))
print("again", said(s.connect, (1, 4321)))
print("getpeername", said(s.getpeername))
print("SO_ERROR", said(s.getsockopt, socket.SOL_SOCKET, socket.SO_ERROR))
poller = select.poll()
poller.register(s, select.POLLIN | select.POLLOUT)
print("poll", [events for _, events in poller.poll(0)])
s.close()
print("closed", said(s.connect, (1, 4321)))
