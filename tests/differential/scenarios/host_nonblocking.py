"""A non-blocking connect from the guest that is taken, and one that is not."""

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


def polled(sock):
    poller = select.poll()
    poller.register(sock, select.POLLIN | select.POLLOUT | 0x2000)
    return [events for _, events in poller.poll(0)]


def dial(cid, port, kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_VSOCK, kind)
    sock.settimeout(5)
    sock.connect((cid, port))
    return sock


def listen(port, kind=socket.SOCK_STREAM, backlog=4):
    listener = socket.socket(socket.AF_VSOCK, kind)
    listener.bind((socket.VMADDR_CID_ANY, port))
    listener.listen(backlog)
    listener.settimeout(5)
    return listener


def accepted(listener):
    sock, _ = listener.accept()
    sock.settimeout(5)
    return sock


def guest(cid, port, meet):
    meet()
    for target in (port + 2, port):
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        sock.setblocking(False)
        print("connect", said(sock.connect, (cid, target)))
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        print("poll", [events for _, events in poller.poll(5000)])
        print("SO_ERROR", sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
        print("again", said(sock.connect, (cid, target)))
        print("recv", said(sock.recv, 10))
        sock.close()
    meet()


def host(cid, port, meet):
    listener = listen(port + 2)
    meet()
    sock = accepted(listener)
    print("end", sock.recv(10))
    meet()
