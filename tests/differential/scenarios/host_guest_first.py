"""The guest connects, both talk, the guest closes first."""

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
    sock = dial(cid, port + 2)
    print("peer", sock.getpeername() == (cid, port + 2))
    print("poll", polled(sock))
    print("send", sock.send(b"question"))
    meet()
    meet()
    print("recv", sock.recv(100))
    sock.close()
    meet()
    meet()


def host(cid, port, meet):
    listener = listen(port + 2)
    meet()
    sock = accepted(listener)
    print("peer", sock.getpeername()[0] == cid)
    meet()
    print("recv", sock.recv(100))
    print("send", sock.send(b"answer"))
    meet()
    meet()
    print("end", sock.recv(100))
    print("poll", polled(sock))
    print("send", said(sock.send, b"late"))
    print("getpeername", said(sock.getpeername) == sock.getpeername())
    sock.close()
    meet()
