# SPDX-License-Identifier: MIT
"""send and its relatives: flags, addresses, windows, those who do not take it."""

from mpfw.differential.dialogues import ANY, PEER, SOCKET, of_types

EVENTS = 0x20FF
DONTWAIT, NOSIGNAL, MORE = SOCKET.MSG_DONTWAIT, SOCKET.MSG_NOSIGNAL, SOCKET.MSG_MORE
EOR, OOB = SOCKET.MSG_EOR, SOCKET.MSG_OOB


@of_types("stream", "seqpacket")
def flags(caller, accepted):
    for flag in (NOSIGNAL, MORE, EOR, DONTWAIT, OOB, SOCKET.MSG_DONTROUTE, SOCKET.MSG_CONFIRM):
        caller.send(3, flag)
        accepted.recv(10)


@of_types("stream", "seqpacket")
def to_an_address(caller, accepted):
    caller.sendto(3, PEER, 0)
    caller.sendto(3, ANY, 1)
    accepted.recv(10)
    accepted.close()
    caller.sendto(3, PEER, 0)


@of_types("stream", "seqpacket")
def in_pieces(caller, accepted):
    caller.sendmsg(3, 0, 4, 100)
    accepted.recv(200)
    caller.sendmsg()
    caller.sendmsg(0, 0)
    caller.send(1)
    accepted.recv(10)


def more_than_the_window(caller, accepted):
    caller.settimeout(0)
    caller.send(300000)
    caller.send(1)
    caller.poll(EVENTS)
    accepted.recv(100000)
    accepted.recv(100000)
    caller.poll(EVENTS)
    accepted.recv(100000)
    caller.poll(EVENTS)
    caller.send(10)


def all_of_more_than_the_window(caller, accepted):
    caller.sendall(300000)
    accepted.recv(65536)
    caller.close()
    accepted.recv(300000, SOCKET.MSG_WAITALL)


def the_window_exactly(caller, accepted):
    caller.settimeout(0)
    caller.send(262144)
    caller.send(1)
    caller.poll(EVENTS)
    accepted.recv(262144, SOCKET.MSG_WAITALL)
    caller.poll(EVENTS)


def a_byte_less_than_the_window(caller, accepted):
    caller.settimeout(0)
    caller.send(262143)
    caller.poll(EVENTS)
    caller.send(2)
    caller.poll(EVENTS)
    accepted.recv(10)


def blocking_with_a_time(caller, accepted):
    caller.send_within(300000)
    caller.send_within(10)
    accepted.shutdown(0)
    caller.send_within(10)


def with_a_time_out_and_no_room(caller, accepted):
    caller.send(262144)
    caller.send(1)
    caller.sendall(1)
    caller.send(1, DONTWAIT)


def messages_beyond_the_window(caller, accepted):
    caller.send(262144)
    caller.send(262145)
    accepted.recv(10)
    caller.send(300000)


messages_beyond_the_window.types = ("seqpacket",)


def to_one_with_a_small_buffer(caller, accepted):
    accepted.setsockopt(SOCKET.AF_VSOCK, SOCKET.SO_VM_SOCKETS_BUFFER_SIZE, 1000)
    accepted.getsockopt(SOCKET.AF_VSOCK, SOCKET.SO_VM_SOCKETS_BUFFER_SIZE)
    caller.settimeout(0)
    caller.send(3000)
    caller.send(1)
    accepted.recv(3000)
    caller.send(10)


def from_one_with_a_small_buffer(caller, accepted):
    caller.setsockopt(SOCKET.AF_VSOCK, SOCKET.SO_VM_SOCKETS_BUFFER_SIZE, 1000)
    caller.settimeout(0)
    caller.send(3000)
    caller.send(1)
    caller.poll(EVENTS)
    accepted.recv(3000)
    caller.send(10)


@of_types("stream", "seqpacket")
def after_the_peer_reads_no_more(caller, accepted):
    accepted.shutdown(0)
    caller.poll(EVENTS)
    caller.send(1)
    caller.send(1, DONTWAIT)
    caller.send(0)
    caller.sendall(1)
    caller.select()


@of_types("stream", "seqpacket")
def in_turns(caller, accepted):
    for size in (1, 4095, 4096, 4097, 65535):
        caller.send(size)
        accepted.recv(70000)
        accepted.send(size)
        caller.recv(70000)
