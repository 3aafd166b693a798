# SPDX-License-Identifier: MIT
"""setsockopt and getsockopt: integers, structs, clamping, who inherits, what it changes."""

from mpfw.differential.dialogues import PEER, SOCKET, of_types

VSOCK, SOL = SOCKET.AF_VSOCK, SOCKET.SOL_SOCKET
SIZE = SOCKET.SO_VM_SOCKETS_BUFFER_SIZE
LEAST = SOCKET.SO_VM_SOCKETS_BUFFER_MIN_SIZE
MOST = SOCKET.SO_VM_SOCKETS_BUFFER_MAX_SIZE
SECOND = (1).to_bytes(8, "little")


def _sizes(sock):
    for name in (SIZE, LEAST, MOST):
        sock.getsockopt(VSOCK, name)


@of_types("stream", "seqpacket")
def defaults(one):
    _sizes(one)
    for name in range(0, 10):
        one.getsockopt(VSOCK, name)


def size_is_clamped(one):
    for value in (0, 1, 127, 128, 129, 262144, 262145, 1 << 31, (1 << 32) + 5, -1):
        one.setsockopt(VSOCK, SIZE, value)
        one.getsockopt(VSOCK, SIZE)


def least_and_most_move_the_size(one):
    one.setsockopt(VSOCK, MOST, 1000)
    _sizes(one)
    one.setsockopt(VSOCK, LEAST, 2000)
    _sizes(one)
    one.setsockopt(VSOCK, MOST, 500)
    _sizes(one)
    one.setsockopt(VSOCK, SIZE, 1500)
    _sizes(one)


def listener_s_sizes_are_inherited(listener, caller, second, third):
    listener.setsockopt(VSOCK, MOST, 100000)
    listener.setsockopt(VSOCK, SIZE, 5000)
    second.socket(SOCKET.SOCK_STREAM)
    second.connect(PEER, 0)
    listener.accept(third)
    _sizes(third)
    _sizes(second)
    second.settimeout(0)
    second.send(10000)


def growing_while_connected(caller, accepted):
    caller.settimeout(0)
    accepted.setsockopt(VSOCK, MOST, 600000)
    accepted.setsockopt(VSOCK, SIZE, 500000)
    accepted.getsockopt(VSOCK, SIZE)
    caller.send(600000)
    caller.setsockopt(VSOCK, MOST, 600000)
    caller.setsockopt(VSOCK, SIZE, 600000)
    caller.send(600000)
    caller.poll(0x20FF)


def shrinking_while_connected(caller, accepted):
    caller.settimeout(0)
    caller.send(1000)
    accepted.setsockopt(VSOCK, SIZE, 500)
    accepted.getsockopt(VSOCK, SIZE)
    caller.send(1000)
    accepted.recv(2000)
    caller.send(1000)


def marks(one):
    for value in (0, 1, 100, 262144, 262145, -1, 1 << 31, 1 << 32):
        one.setsockopt(SOL, SOCKET.SO_RCVLOWAT, value)
        one.getsockopt(SOL, SOCKET.SO_RCVLOWAT)
    one.setsockopt(SOL, SOCKET.SO_SNDLOWAT, 5)
    one.getsockopt(SOL, SOCKET.SO_SNDLOWAT)


@of_types("stream", "seqpacket")
def what_it_is(one):
    for name in ("SO_TYPE", "SO_DOMAIN", "SO_PROTOCOL", "SO_ACCEPTCONN", "SO_ERROR"):
        one.getsockopt(SOL, getattr(SOCKET, name))
        one.setsockopt(SOL, getattr(SOCKET, name), 1)
        one.get_bytes(SOL, getattr(SOCKET, name), 4)
        one.get_bytes(SOL, getattr(SOCKET, name), 2)


def is_listening(listener, caller):
    listener.getsockopt(SOL, SOCKET.SO_ACCEPTCONN)
    caller.getsockopt(SOL, SOCKET.SO_ACCEPTCONN)
    listener.close()
    listener.getsockopt(SOL, SOCKET.SO_ACCEPTCONN)


def times(one):
    for name in (SOCKET.SO_RCVTIMEO, SOCKET.SO_SNDTIMEO):
        one.get_bytes(SOL, name, 16)
        for parts in ((1, 0), (0, 999999), (0, 1000000), (0, -1), (-1, 0), (1 << 40, 0)):
            one.set_time(SOL, name, *parts)
            one.get_bytes(SOL, name, 16)
        one.setsockopt(SOL, name, 1)
        one.set_bytes(SOL, name, SECOND)
        one.set_bytes(SOL, name, SECOND + SECOND + SECOND)
        one.get_bytes(SOL, name, 8)
        one.get_bytes(SOL, name, 20)


def connect_time(one):
    name = SOCKET.SO_VM_SOCKETS_CONNECT_TIMEOUT
    one.get_bytes(VSOCK, name, 16)
    for parts in ((1, 0), (0, 1), (0, 999999), (0, 1000000), (0, -1), (-1, 0), (0, 0)):
        one.set_time(VSOCK, name, *parts)
        one.get_bytes(VSOCK, name, 16)
    one.setsockopt(VSOCK, name, 1)
    one.set_bytes(VSOCK, name, SECOND)
    one.get_bytes(VSOCK, name, 8)
    one.set_time(VSOCK, 8, 3, 500)
    one.get_bytes(VSOCK, 8, 16)
    one.get_bytes(VSOCK, 6, 16)


def connect_time_of_late(one):
    one.set_time(VSOCK, 8, 0, 50000)
    one.settimeout(None)
    one.connect(77, 0)
    one.connect_ex(77, 0)


def linger(caller, accepted):
    caller.get_bytes(SOL, SOCKET.SO_LINGER, 8)
    caller.set_bytes(SOL, SOCKET.SO_LINGER, bytes([1, 0, 0, 0, 2, 0, 0, 0]))
    caller.get_bytes(SOL, SOCKET.SO_LINGER, 8)
    caller.set_bytes(SOL, SOCKET.SO_LINGER, bytes(4))
    caller.setsockopt(SOL, SOCKET.SO_LINGER, 1)
    caller.set_bytes(SOL, SOCKET.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    caller.send(10)
    caller.close()
    accepted.recv(20)
    accepted.recv(20)
    accepted.poll(0x20FF)


def buffers_of_the_socket(one):
    for name in (SOCKET.SO_SNDBUF, SOCKET.SO_RCVBUF):
        one.getsockopt(SOL, name)
        for value in (1, 5000, 100000, 1 << 30, -1):
            one.setsockopt(SOL, name, value)
            one.getsockopt(SOL, name)


def switches(one):
    names = "REUSEADDR KEEPALIVE BROADCAST OOBINLINE DONTROUTE DEBUG PRIORITY PASSCRED MARK"
    for each in names.split():
        name = getattr(SOCKET, f"SO_{each}")
        one.setsockopt(SOL, name, 1)
        one.getsockopt(SOL, name)
        one.setsockopt(SOL, name, 7)
        one.getsockopt(SOL, name)
        one.setsockopt(SOL, name, 0)
        one.getsockopt(SOL, name)


def refused_ones(one):
    for name in (15, 42, 60, 999, 0, -1):
        one.setsockopt(SOL, name, 1)
        one.setsockopt(SOL, name, 0)
        one.getsockopt(SOL, name)


def levels(one):
    for level in (0, 6, 40, 41, 270, 287, 999, -1):
        one.getsockopt(level, 0)
        one.setsockopt(level, 0, 1)
        one.getsockopt(level, 4)


def lengths(one):
    one.set_bytes(VSOCK, SIZE, bytes([0, 16, 0, 0]))
    one.set_bytes(VSOCK, SIZE, bytes([0, 16, 0, 0, 0, 0, 0]))
    one.set_bytes(VSOCK, SIZE, bytes([0, 16, 0, 0, 0, 0, 0, 0]))
    one.set_bytes(VSOCK, SIZE, bytes([0, 32, 0, 0, 0, 0, 0, 0, 9, 9]))
    for size in (1, 4, 7, 8, 16):
        one.get_bytes(VSOCK, SIZE, size)
    one.set_bytes(SOL, SOCKET.SO_RCVLOWAT, bytes([3, 0]))
    one.set_bytes(SOL, SOCKET.SO_RCVLOWAT, bytes([3, 0, 0, 0]))
    for size in (1, 2, 4, 8):
        one.get_bytes(SOL, SOCKET.SO_RCVLOWAT, size)


def read_only_ones_of_vsock(caller, accepted):
    for name in (3, 5, 7):
        caller.getsockopt(VSOCK, name)
        caller.setsockopt(VSOCK, name, 1)
        accepted.getsockopt(VSOCK, name)


def peer_credentials(caller, accepted):
    caller.get_bytes(SOL, SOCKET.SO_PEERCRED, 12)
    accepted.get_bytes(SOL, SOCKET.SO_PEERCRED, 12)
    caller.getsockopt(SOL, SOCKET.SO_PEERCRED)


def error_is_told_once(one):
    one.settimeout(0)
    one.connect(PEER, 2)
    one.getsockopt(SOL, SOCKET.SO_ERROR)
    one.getsockopt(SOL, SOCKET.SO_ERROR)
    one.getsockopt(SOL, SOCKET.SO_TYPE)


def time_outs_are_two_things(caller, accepted):
    accepted.set_time(SOL, SOCKET.SO_RCVTIMEO, 0, 50000)
    accepted.gettimeout()
    accepted.recv(10)
    accepted.settimeout(None)
    accepted.recv(10)
    accepted.recv(10, SOCKET.MSG_WAITALL)
    accepted.settimeout(0)
    accepted.recv(10)
    caller.set_time(SOL, SOCKET.SO_SNDTIMEO, 0, 50000)
    caller.settimeout(None)
    caller.send(300000)
    caller.send(10)


def mark_raised_gives_credit(caller, accepted):
    caller.settimeout(0)
    caller.send(262144)
    accepted.recv(10000)
    caller.send(1)
    accepted.setsockopt(SOL, SOCKET.SO_RCVLOWAT, 262144)
    caller.send(1)
