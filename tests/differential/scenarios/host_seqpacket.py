"""Messages of a seqpacket connection keep their borders; a short read drops the rest."""

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
    sock = dial(cid, port + 2, socket.SOCK_SEQPACKET)
    for message in (b"one", b"", b"three", bytes(70000)):
        print("send", said(sock.send, message))
    print("send", said(sock.send, bytes(300000)))
    meet()
    meet()
    print("poll", polled(sock))
    print("recv", sock.recv(2))
    print("peek", sock.recv(2, socket.MSG_PEEK))
    print("recv", sock.recv(100))
    print("end", sock.recv(100))
    print("send", said(sock.send, b"late"))
    sock.close()


def host(cid, port, meet):
    listener = listen(port + 2, socket.SOCK_SEQPACKET)
    meet()
    sock = accepted(listener)
    meet()
    print("recv", sock.recv(100), sock.recv(100), len(sock.recv(100000)))
    print("send", sock.send(b"first"), sock.send(b"second"))
    sock.close()
    meet()
