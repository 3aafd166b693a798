"""The guest sends until there is no more room, the host reads all, the guest goes on."""

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
    sock.setblocking(False)
    sent = 0
    block = bytes(65536)
    while True:
        more = said(sock.send, block)
        if not isinstance(more, int):
            break
        sent += more
    print("sent", sent, more, polled(sock))
    meet()
    meet()
    print("poll", polled(sock))
    sock.settimeout(5)
    print("send", sock.send(b"last"))
    sock.close()
    meet()


def host(cid, port, meet):
    listener = listen(port + 2)
    meet()
    sock = accepted(listener)
    meet()
    got = 0
    while got < 262144:
        got += len(sock.recv(65536))
    print("got", got)
    meet()
    meet()
    print("last", sock.recv(100), sock.recv(100))
