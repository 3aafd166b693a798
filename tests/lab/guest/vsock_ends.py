# SPDX-License-Identifier: MIT
"""Linux's vsock_test, the guest's half: how connections begin and end."""

import errno
import fcntl
import socket
import time

from prelude import errno_of
from vsock_talk import (
    HOST,
    PORT,
    SECONDS,
    accept_until_closed,
    accepted,
    bound,
    dialled,
    fails,
    listening,
    made,
    opened,
    ours,
    refused,
    same,
    set_linger,
    set_lowat,
    take_letter,
    until_asked,
    until_closed,
)

SO_ZEROCOPY = 60


def reset_client(control):
    refused(made())


def bind_only_client(control):
    control.expect("BIND")
    refused(made())
    control.say("DONE")


def bind_only_server(control):
    bound(PORT)
    control.say("BIND")
    control.expect("DONE")


def send_and_close(begun):
    def steps(control):
        sock = begun(control)
        sock.send(b"A")
        sock.close()

    return steps


def see_it_closed(begun):
    def steps(control):
        sock = begun(control)
        until_closed(sock)
        fails(errno.EPIPE, sock.send, b"A")
        take_letter(sock)
        same(sock.recv(1), b"")

    return steps


def many(begun, sends):
    """A hundred connections; every other one sends, the rest receive."""

    def steps(control):
        for place, sock in enumerate([begun(control) for _ in range(100)]):
            if place % 2 == sends:
                sock.send(b"A")
            else:
                take_letter(sock)

    return steps


def double_bind_client(control):
    for _ in range(2):
        control.expect("LISTENING")
        sock = bound(PORT + 1)
        sock.connect((HOST, PORT))
        sock.close()


def double_bind_server(control):
    listener = listening()
    for _ in range(2):
        control.say("LISTENING")
        until_closed(ours(listener.accept()[0]))


def retry_client(control):
    sock = made()
    refused(sock)
    control.say("LISTEN")
    control.expect("LISTENING")
    sock.connect((HOST, PORT))


def retry_server(control):
    control.expect("LISTEN")
    accept_until_closed(control)


def connect_for_two_seconds(control, connect):
    end = time.time() + 2
    while time.time() < end:
        connect()
    control.say(0)


def leak_client(control):
    def connect():
        control.say(1)
        control.expect("LISTENING")
        sock = made()
        errno_of(sock.connect, (HOST, PORT))  # the listener closes meanwhile
        opened.remove(sock)
        sock.close()

    connect_for_two_seconds(control, connect)


def leak_server(control):
    while control.hear() == "1":
        listener = listening()
        control.say("LISTENING")
        opened.remove(listener)
        listener.close()


def transport_client(control):
    """No signals cut the connects off; the second one is to an address nobody can have."""
    control.expect("LISTENING")

    def connect():
        sock = made()
        set_linger(sock, 1)
        first = errno_of(sock.connect, (HOST, PORT))
        assert first in (0, errno.ECONNRESET), first
        assert errno_of(sock.connect, (0, PORT))
        opened.remove(sock)
        sock.close()
        control.say(1)

    connect_for_two_seconds(control, connect)


def transport_server(control):
    listener = listening()
    listener.setblocking(False)
    control.say("LISTENING")
    while control.hear() == "1":
        while True:
            try:
                sock, _ = listener.accept()
            except BlockingIOError:
                break
            sock.close()


def unbound_client(control):
    """A socket whose connects fail, to one machine after the other, while the ports behind an
    automatic one are taken."""
    for cid in (0, 1, HOST, HOST + 1):
        first = made()
        if errno_of(first.bind, (cid, socket.VMADDR_PORT_ANY)):
            continue
        port = first.getsockname()[1]
        for place in range(24):
            made().bind((cid, port + 1 + place))
        first.close()
        sock = made()
        sock.setblocking(False)
        for other in (cid, 0, 1, HOST, HOST + 1):
            assert errno_of(sock.connect, (other, port + 24))


def linger_client(control):
    set_linger(dialled(control), 1)


def no_linger_client(control):
    sock = dialled(control)
    set_linger(sock, SECONDS // 2)
    sock.send(b"A")  # which nobody reads
    until_asked(sock, fcntl.SIOCOUTQ, 0)
    start = time.ticks_ms()
    sock.close()
    took = time.ticks_diff(time.ticks_ms(), start)
    assert took <= 1000 * (SECONDS // 2 - 1), took
    control.say("DONE")


def options_server(control):
    """An accepted socket's options are its own. (SO_ZEROCOPY is no option here.)"""
    sock = accepted(control)
    set_lowat(sock, 2)
    fails(errno.EOPNOTSUPP, sock.setsockopt, socket.SOL_SOCKET, SO_ZEROCOPY, 1)
