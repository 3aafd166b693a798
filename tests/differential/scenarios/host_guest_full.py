"""The host sends until there is no more room in the guest, then the guest reads all."""

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
    listener = listen(port + 2)
    listener.setsockopt(
        socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, (8192).to_bytes(8, "little")
    )
    meet()
    sock = accepted(listener)
    meet()
    meet()
    got = 0
    while got < 8192:
        got += len(sock.recv(4096))
    print("got", got)
    meet()
    meet()
    sock.close()
    meet()


def host(cid, port, meet):
    meet()
    sock = dial(cid, port + 2)
    meet()
    sock.setblocking(False)
    sent = 0
    while True:
        more = said(sock.send, bytes(4096))
        if not isinstance(more, int):
            break
        sent += more
    print("sent", sent, more, polled(sock))
    meet()
    meet()
    print("poll", polled(sock))
    meet()
    meet()
    print("send", said(sock.send, b"late"))
