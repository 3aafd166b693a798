# SPDX-License-Identifier: MIT
"""Linux's vsock_test, the guest's half: credit, low-water marks, counts, sends without a copy."""

import errno
import fcntl
import os
import select
import socket

from vsock_talk import (
    PAGE,
    SECONDS,
    STREAM,
    accepted,
    dialled,
    fails,
    hashed,
    peek,
    poll,
    same,
    set_buffer,
    set_lowat,
    set_option,
    take,
    take_letter,
    until_asked,
    until_closed,
)

IN = select.POLLIN | select.POLLRDNORM
MOST = 65536  # bytes of a packet of Linux's
SIZES = (  # what is sent at once without a copy; None: a send that fails, of three pages
    (PAGE, PAGE, 200),
    (PAGE, PAGE * 2, PAGE * 3),
    (PAGE * 16, PAGE * 16, PAGE * 16),
    (PAGE, 100, PAGE),
    None,
    (PAGE,),
    (PAGE * 100,),  # on streams only
)


def lowat_client(control):
    sock = dialled(control)
    set_lowat(sock, 128)
    control.expect("SRVSENT")
    same(poll(sock, IN, 1), 0)
    control.say("CLNSENT")
    same(poll(sock, IN, SECONDS), IN)
    same(len(sock.recv(128, socket.MSG_DONTWAIT)), 128)
    control.say("POLLDONE")


def lowat_server(control):
    sock = accepted(control)
    sock.send(b"A")
    control.say("SRVSENT")
    control.expect("CLNSENT")
    for _ in range(127):
        sock.send(b"A")
    control.expect("POLLDONE")


def credit_client(control):
    sock = dialled(control)
    take_letter(sock)
    same(sock.send(bytes(2 * MOST + 1)), 2 * MOST + 1)


def credit_server(mark_first):
    """Of two packets of the largest size and a byte, which has to come once one was taken."""

    def steps(control):
        sock = accepted(control)
        set_option(sock, socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, 2 * MOST, "<Q")
        if mark_first:
            set_lowat(sock, MOST + 1)
        sock.send(b"A")
        peek(sock, 2 * MOST)
        take(sock, MOST)
        if not mark_first:
            set_lowat(sock, MOST + 1)
        found = poll(sock, IN | select.POLLERR | select.POLLRDHUP | select.POLLHUP, SECONDS)
        assert found & IN and not found & select.POLLERR, found
        same(len(sock.recv(MOST + 1, socket.MSG_DONTWAIT)), MOST + 1)

    return steps


def unsent_client(kind):
    def steps(control):
        sock = dialled(control, kind)
        sock.send(os.urandom(64))
        control.expect("RECEIVED")
        until_asked(sock, fcntl.SIOCOUTQ, 0)

    return steps


def unsent_server(kind):
    def steps(control):
        take(accepted(control, kind), 64)
        control.say("RECEIVED")

    return steps


def unread_client(kind):
    def steps(control):
        sock = dialled(control, kind)
        control.expect("SENT")
        until_asked(sock, fcntl.SIOCINQ, 64)
        take(sock, 64)
        until_asked(sock, fcntl.SIOCINQ, 0)

    return steps


def unread_server(kind):
    def steps(control):
        accepted(control, kind).send(os.urandom(64))
        control.say("SENT")

    return steps


def bounds_client(control):
    """No more is under way than this side's own buffer holds."""
    sock = dialled(control)
    set_buffer(sock, MOST)
    sock.setblocking(False)
    control.expect("SRVREADY")
    total = 0
    while True:
        try:
            total += sock.send(b"A" * PAGE)
        except BlockingIOError:
            break
    control.say("CLIDONE")
    assert total <= MOST, total


def bounds_server(control):
    sock = accepted(control)
    set_buffer(sock, 2 << 20)
    control.say("SRVREADY")
    control.expect("CLIDONE")


def small_client(control):
    """Two mebibytes in pieces of 129 to 512 bytes."""
    data = memoryview(os.urandom(4096) * 512)
    sock = dialled(control)
    done = 0
    for noise in os.urandom(2 << 14):
        piece = data[done : done + 129 + noise * 3 // 2]
        if not piece:
            break
        sock.sendall(piece)
        done += len(piece)
    control.say(hashed(data))


def small_server(control):
    data = take(accepted(control), 2 << 20)
    same(int(control.hear()), hashed(data))


# -- MSG_ZEROCOPY


def uncopied_client(kind):
    def steps(control):
        for sizes in SIZES if kind == STREAM else SIZES[:-1]:
            sock = dialled(control, kind)
            pieces = [os.urandom(size) for size in sizes or ()]
            if pieces:
                same(sock.sendmsg(pieces), sum(sizes))
            control.say(hashed(b"".join(pieces)) if pieces else 0)
            control.say("DONE")
            sock.close()

    return steps


def uncopied_server(kind):
    def steps(control):
        for sizes in SIZES if kind == STREAM else SIZES[:-1]:
            sock = accepted(control, kind)
            if sizes is None:
                same(sock.recv(3 * PAGE), b"")
                wanted = 0
            else:
                wanted = hashed(take(sock, sum(sizes)))
            same(int(control.hear()), wanted)
            control.expect("DONE")
            sock.close()

    return steps


def no_errors_client(control):
    sock = dialled(control)
    fails(errno.EAGAIN, sock.recvmsg, 1, 0, socket.MSG_ERRQUEUE)
    control.say("DONE")


def leak_client(control):
    dialled(control).send(b"A")


def leak_server(control):
    sock = accepted(control)
    take_letter(sock)
    until_closed(sock)


def mangle_client(control):
    sock = dialled(control)
    sock.send(b"x" * (PAGE + 1))
    data = os.urandom(128)
    sock.send(data)
    control.say(hashed(data))


def mangle_server(control):
    sock = accepted(control)
    until_asked(sock, fcntl.SIOCINQ, PAGE + 1 + 128)
    take(sock, PAGE + 1)
    data = take(sock, 128)
    same(int(control.hear()), hashed(data))
