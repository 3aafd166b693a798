"""A port that both sides use again at once, after either side has closed first."""

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
    for round in range(3):
        sock = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        print("bind", said(sock.bind, (socket.VMADDR_CID_ANY, port)))
        sock.settimeout(5)
        meet()
        print("connect", said(sock.connect, (cid, port + 2)))
        print("send", said(sock.send, b"%d" % round))
        if round == 1:
            print("end", said(sock.recv, 10))
        sock.close()
        meet()


def host(cid, port, meet):
    listener = listen(port + 2)
    for round in range(3):
        meet()
        sock = accepted(listener)
        print("from", sock.getpeername() == (cid, port), sock.recv(10))
        if round != 1:
            print("end", sock.recv(10))
        sock.close()
        meet()
