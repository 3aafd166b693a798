"""Two connections at once, and a third once one of them has ended: each is by itself."""

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
    one = dial(cid, port + 2)
    two = dial(cid, port + 2)
    print("send", one.send(b"one"), two.send(b"two"))
    one.close()
    meet()
    meet()
    print("two", two.recv(10), polled(two))
    three = dial(cid, port + 2)
    print("send", three.send(b"three"))
    two.close()
    meet()
    print("three", three.recv(10))
    three.close()


def host(cid, port, meet):
    listener = listen(port + 2, backlog=2)
    meet()
    first = accepted(listener)
    second = accepted(listener)
    print("different", first.getpeername() != second.getpeername())
    meet()
    print("first", first.recv(10), first.recv(10))
    print("second", second.recv(10), second.send(b"yours"))
    meet()
    third = accepted(listener)
    print("third", third.recv(10), third.send(b"hers"))
    meet()
    print("second", second.recv(10))
