# SPDX-License-Identifier: MIT
"""poll and select: which events, asked for and not, with marks."""

from mpfw.differential.dialogues import PEER, SOCKET, of_types

ALL = 0x27FF


def _look(sock):
    for events in (0, 0x1, 0x4, 0x40, 0x100, 0x2000, ALL):
        sock.poll(events)
    sock.select()


@of_types("stream", "seqpacket")
def idle(caller, accepted):
    _look(caller)
    _look(accepted)


@of_types("stream", "seqpacket")
def fresh(one):
    _look(one)


def bound_and_listening(one):
    one.bind(SOCKET.VMADDR_CID_ANY, 1)
    _look(one)
    one.listen(1)
    _look(one)


@of_types("stream", "seqpacket")
def failed(one):
    one.connect(PEER, 2)
    _look(one)
    one.getsockopt(1, 4)
    _look(one)


@of_types("stream", "seqpacket")
def readable(caller, accepted):
    caller.send(1)
    _look(accepted)
    accepted.recv(1, SOCKET.MSG_PEEK)
    accepted.poll(ALL)
    accepted.recv(1)
    accepted.poll(ALL)


@of_types("stream", "seqpacket")
def peer_closed(caller, accepted):
    accepted.close()
    _look(caller)


@of_types("stream", "seqpacket")
def shut(caller, accepted):
    caller.shutdown(0)
    _look(caller)
    _look(accepted)
    caller.shutdown(1)
    _look(caller)
    _look(accepted)


def full(caller, accepted):
    caller.settimeout(0)
    caller.send(300000)
    _look(caller)
    accepted.recv(200000)
    accepted.recv(65536)
    caller.poll(ALL)


def full_and_peer_reads_no_more(caller, accepted):
    caller.settimeout(0)
    caller.send(300000)
    accepted.shutdown(0)
    _look(caller)
    accepted.close()
    _look(caller)


def closed(caller, accepted):
    caller.close()
    caller.poll(1)
    caller.select()


def below_the_mark(caller, accepted):
    accepted.setsockopt(1, SOCKET.SO_RCVLOWAT, 10)
    caller.send(5)
    _look(accepted)
    caller.send(5)
    _look(accepted)
    accepted.recv(4)
    accepted.poll(ALL)
    caller.shutdown(1)
    accepted.poll(ALL)


def mark_and_time_out(caller, accepted):
    accepted.setsockopt(1, SOCKET.SO_RCVLOWAT, 10)
    caller.send(5)
    accepted.recv(20)
    accepted.recv(20, SOCKET.MSG_DONTWAIT)
    caller.send(3)
    accepted.recv_within(20)
    caller.send(12)
    accepted.recv(20)


def mark_of_the_whole_buffer(caller, accepted):
    accepted.setsockopt(1, SOCKET.SO_RCVLOWAT, 262144)
    accepted.setsockopt(1, SOCKET.SO_RCVLOWAT, 262145)
    accepted.getsockopt(1, SOCKET.SO_RCVLOWAT)
    caller.settimeout(0)
    caller.send(262144)
    accepted.poll(ALL)
    accepted.recv(262144)
    caller.poll(ALL)


def who_waits_at_a_listener(listener, caller, second, third):
    second.socket(SOCKET.SOCK_STREAM)
    _look(listener)
    second.connect(PEER, 0)
    _look(listener)
    listener.accept(third)
    _look(listener)
