# SPDX-License-Identifier: MIT
"""Linux's vsock_test, the guest's half: streams and messages, whole, peeked at and cut."""

import errno
import os
import socket
import struct
import time

from prelude import errno_of
from vsock_talk import (
    PAGE,
    SECONDS,
    SEQPACKET,
    STREAM,
    accepted,
    dialled,
    fails,
    hashed,
    peek,
    same,
    set_buffer,
    set_option,
    take,
)


def peek_client(kind):
    def steps(control):
        sock = dialled(control, kind)
        control.expect("SRVREADY")
        same(sock.send(os.urandom(64)), 64)

    return steps


def peek_server(kind):
    def steps(control):
        sock = accepted(control, kind)
        fails(errno.EAGAIN, sock.recv, 64, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        control.say("SRVREADY")
        half = peek(sock, 32)
        whole = peek(sock, 64)
        same(half, whole[:32])
        if kind == SEQPACKET:
            flags = socket.MSG_PEEK | socket.MSG_TRUNC
            same(sock.recv_into(bytearray(32), 0, flags), 64)
        same(bytes(take(sock, 64)), whole)

    return steps


def peek_behind_server(control):
    sock = accepted(control)
    control.say("SRVREADY")
    take(sock, 1)
    rest = peek_up_to(sock, 64, 63)
    same(bytes(take(sock, 63)), rest)


def peek_up_to(sock, length, wanted):
    """What a buffer of that length sees, once `wanted` bytes are there."""
    peek(sock, wanted)
    data = sock.recv(length, socket.MSG_PEEK)
    same(len(data), wanted)
    return data


def bounds_client(control):
    sock = dialled(control, SEQPACKET)
    set_buffer(sock, 2 << 20)
    control.expect("SRVREADY")
    total = 0
    for number, noise in enumerate(os.urandom(128)):
        length = PAGE + noise * 47 if number & 1 else 1 + noise * 16
        message = bytes([noise]) * length
        ends = number == 64 or noise & 1
        same(sock.send(message, socket.MSG_EOR if ends else 0), length)
        total += hashed(message) + bool(ends)
    control.say("SENDDONE")
    control.say(total & 0xFFFFFFFFFFFFFFFF)


def bounds_server(control):
    sock = accepted(control, SEQPACKET)
    set_buffer(sock, 2 << 20)
    control.say("SRVREADY")
    control.expect("SENDDONE")
    total = 0
    while True:
        message, _, flags, _ = sock.recvmsg(4 * PAGE)
        if not message:
            break
        total += hashed(message) + bool(flags & socket.MSG_EOR)
    same(int(control.hear()), total & 0xFFFFFFFFFFFFFFFF)


def trunc_client(control):
    dialled(control, SEQPACKET).send(bytes(32))
    control.say("SENDDONE")


def trunc_server(control):
    sock = accepted(control, SEQPACKET)
    control.expect("SENDDONE")
    n, _, flags, _ = sock.recvmsg_into([bytearray(16)], 0, socket.MSG_TRUNC)
    same((n, flags & socket.MSG_TRUNC), (32, socket.MSG_TRUNC))


def timeout_client(control):
    sock = dialled(control, SEQPACKET)
    set_option(sock, socket.SOL_SOCKET, socket.SO_RCVTIMEO, 1, "<qxxxxxxxx")
    start = time.ticks_ms()
    fails(errno.EAGAIN, sock.recv, 1)
    took = time.ticks_diff(time.ticks_ms(), start)
    assert 1000 <= took < 1250, took
    control.say("WAITDONE")


def big_client(control):
    sock = dialled(control, SEQPACKET)
    packed = sock.getsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, 8)
    fails(errno.EMSGSIZE, sock.send, bytes(struct.unpack("<Q", packed)[0] + 1))
    control.say("CLISENT")


def holed_client(control):
    sock = dialled(control, SEQPACKET)
    for letter in (b"a", b"b"):
        same(sock.send(letter * 3 * PAGE), 3 * PAGE)


def holed_server(control):
    sock = accepted(control, SEQPACKET)
    sock.recv(1)  # into a buffer with a hole: that message is lost
    same(sock.recv(3 * PAGE), b"b" * 3 * PAGE)


def no_buffer_client(kind):
    def steps(control):
        sock = dialled(control, kind)
        control.expect("SENDDONE")
        if kind == STREAM:  # no buffer: nothing is lost
            same(bytes(take(sock, 512, socket.MSG_DONTWAIT)), bytes(512))
        else:
            sock.recv(1)  # the message is
            fails(errno.EAGAIN, sock.recv, 512, socket.MSG_DONTWAIT)
        control.say("DONE")

    return steps


def no_buffer_server(kind):
    def steps(control):
        same(accepted(control, kind).send(bytes(512)), 512)
        control.say("SENDDONE")
        control.expect("DONE")

    return steps


def merge_client(control):
    sock = dialled(control)
    for number, word in enumerate((b"HELLO", b"WORLD")):
        sock.send(word)
        control.say("SEND%d" % number)
        control.expect("REPLY%d" % number)


def merge_server(control):
    sock = accepted(control)
    control.expect("SEND0")
    first = take(sock, 2)
    control.say("REPLY0")
    control.expect("SEND1")
    same(bytes(first + take(sock, 8)), b"HELLOWORLD")
    fails(errno.EAGAIN, sock.recv, 54, socket.MSG_DONTWAIT)
    control.say("REPLY1")


def send_until_refused(sock, flags):
    end = time.time() + SECONDS
    while True:
        number = errno_of(sock.send, b"A", flags)
        if number:
            return same(number, errno.EPIPE)
        assert time.time() < end, "sends go on"
        time.sleep(0.01)


def no_pipe(sock):
    send_until_refused(sock, 0)
    send_until_refused(sock, socket.MSG_NOSIGNAL)


def shut_write_client(control):
    sock = dialled(control)
    sock.shutdown(socket.SHUT_WR)
    no_pipe(sock)
    control.say("CLIENTDONE")


def shut_read_client(control):
    sock = dialled(control)
    control.expect("SHUTRDDONE")
    no_pipe(sock)
    control.say("CLIENTDONE")


def shut_read_server(control):
    sock = accepted(control)
    sock.shutdown(socket.SHUT_RD)
    control.say("SHUTRDDONE")
    control.expect("CLIENTDONE")
