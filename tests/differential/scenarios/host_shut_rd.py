"""The guest shuts its reading side: what the host may still send."""

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
    meet()
    sock.shutdown(socket.SHUT_RD)
    meet()
    meet()
    print("recv", said(sock.recv, 10))
    print("poll", polled(sock))
    print("send", said(sock.send, b"still"))
    meet()
    sock.close()
    meet()


def host(cid, port, meet):
    listener = listen(port + 2)
    meet()
    sock = accepted(listener)
    print("send", sock.send(b"unread"))
    meet()
    meet()
    print("poll", polled(sock))
    print("send", said(sock.send, b"late"))
    meet()
    meet()
    print("recv", said(sock.recv, 10))
    meet()
    print("recv", said(sock.recv, 10))
    sock.close()
