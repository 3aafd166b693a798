"""A backlog of one: how many connects of the host succeed before the guest accepts."""

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
    listener = listen(port + 2, backlog=1)
    meet()
    meet()
    for _ in range(2):
        sock = accepted(listener)
        print("from", sock.getpeername()[0] == cid, sock.recv(10))
        sock.close()
    listener.settimeout(0.2)
    try:
        listener.accept()
        print("a third")
    except OSError:
        print("no third")
    meet()


def host(cid, port, meet):
    meet()
    socks = []
    for number in range(3):
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        sock.settimeout(5)
        result = said(sock.connect, (cid, port + 2))
        print("connect", number, result)
        if result is None:
            sock.send(b"n%d" % number)
        socks.append(sock)
    meet()
    meet()
    for sock in socks:
        sock.close()
