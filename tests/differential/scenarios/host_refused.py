"""Connects that nobody takes: no listener, bound only, another type; from either side."""

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


def attempt(cid, port, kind=socket.SOCK_STREAM):
    sock = socket.socket(socket.AF_VSOCK, kind)
    sock.settimeout(5)
    result = said(sock.connect, (cid, port))
    result = (result, said(sock.getpeername) in ("ENOTCONN", (cid, port)), polled(sock))
    sock.close()
    return result


def refused(cid, port, meet):
    print("nobody", attempt(cid, port + 2))
    bound = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    bound.bind((socket.VMADDR_CID_ANY, port + 2))
    meet()
    print("bound", attempt(cid, port + 2))
    meet()
    bound.listen(1)
    meet()
    print("seqpacket", attempt(cid, port + 2, socket.SOCK_SEQPACKET))
    print("stream", attempt(cid, port + 2))
    meet()
    bound.close()


def guest(cid, port, meet):
    refused(cid, port, meet)


def host(cid, port, meet):
    refused(cid, port, meet)
