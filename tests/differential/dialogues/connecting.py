# SPDX-License-Identifier: MIT
"""connect and accept: refused, again, on the way, nobody there."""

from mpfw.differential.dialogues import ANY, PEER, SOCKET, of_types

EVENTS = 0x20FF


@of_types("stream", "seqpacket")
def nobody_listens(one):
    one.connect(PEER, 2)
    one.getsockname()
    one.getpeername()
    one.poll(EVENTS)
    one.getsockopt(1, 4)
    one.connect(PEER, 2)
    one.connect_ex(PEER, 2)
    one.send(1)
    one.recv(1)


@of_types("stream", "seqpacket")
def nobody_listens_and_nobody_waits(one):
    one.settimeout(0)
    one.connect(PEER, 2)
    one.poll(EVENTS)
    one.connect(PEER, 2)
    one.getsockopt(1, 4)
    one.getsockopt(1, 4)
    one.poll(EVENTS)
    one.connect_ex(PEER, 2)


def again_and_blocking(one):
    one.settimeout(0)
    one.connect(PEER, 2)
    one.settimeout(None)
    one.connect(PEER, 2)
    one.connect(PEER, 2)
    one.getsockopt(1, 4)


def ex_says_the_number(one):
    one.connect_ex(PEER, 2)
    one.settimeout(0)
    one.connect_ex(PEER, 2)
    one.connect_ex(PEER, 2)
    one.close()
    one.connect_ex(PEER, 2)


def on_the_way_is_told_by_poll(listener, caller, second, third):
    second.close()
    second.socket(SOCKET.SOCK_STREAM)
    second.settimeout(0)
    second.connect(PEER, 0)
    second.poll(EVENTS)
    second.select()
    second.getsockopt(1, 4)
    second.connect(PEER, 0)
    second.getpeername()
    listener.poll(EVENTS)
    listener.accept(third)
    second.send(3)
    third.recv(10)


@of_types("stream", "seqpacket")
def connected_already(caller, accepted):
    caller.connect(PEER, 0)
    caller.connect_ex(PEER, 2)
    accepted.connect(PEER, 0)
    caller.settimeout(0)
    caller.connect(PEER, 0)
    caller.send(3)
    accepted.recv(10)


def again_after_the_end(caller, accepted):
    accepted.close()
    caller.recv(1)
    caller.connect(PEER, 0)
    caller.shutdown(2)
    caller.connect(PEER, 0)
    caller.connect(PEER, 0)


def listening_connects(listener, caller):
    listener.connect(PEER, 2)
    listener.connect_ex(PEER, 2)
    caller.listen(1)
    caller.accept_within(2)


@of_types("stream", "seqpacket")
def of_another_type(listener, caller, second):
    second.close()
    second.socket(SOCKET.SOCK_RDM)
    second.connect(PEER, 0)


def the_other_type(listener, caller, second):
    second.socket(SOCKET.SOCK_SEQPACKET)
    second.connect(PEER, 0)
    second.getsockopt(1, 4)
    second.connect(PEER, 0)
    second.socket(SOCKET.SOCK_STREAM)
    second.connect(PEER, 0)


def full_backlog(listener, caller, second, third):
    listener.listen(0)
    second.socket(SOCKET.SOCK_STREAM)
    second.connect(PEER, 0)
    caller.socket(SOCKET.SOCK_STREAM)
    caller.settimeout(0)
    caller.connect(PEER, 0)
    caller.poll(EVENTS)
    caller.getsockopt(1, 4)
    listener.accept(third)
    caller.socket(SOCKET.SOCK_STREAM)
    caller.connect(PEER, 0)
    second.send(1)
    third.recv(10)


def of_a_bound_socket(listener, caller, second, third):
    second.socket(SOCKET.SOCK_STREAM)
    second.bind(ANY, 1)
    second.connect(PEER, 0)
    listener.accept(third)
    second.getsockname()
    third.getpeername()
    second.close()
    third.close()
    second.socket(SOCKET.SOCK_STREAM)
    second.bind(ANY, 1)
    second.connect(PEER, 0)
    listener.accept(third)


def port_of_one_whose_peer_stays(listener, caller, second, third):
    second.socket(SOCKET.SOCK_STREAM)
    second.bind(ANY, 1)
    second.connect(PEER, 0)
    listener.accept(third)
    second.close()
    second.socket(SOCKET.SOCK_STREAM)
    second.bind(ANY, 1)
    third.close()
    second.socket(SOCKET.SOCK_STREAM)
    second.bind(ANY, 1)


def nobody_answers_in_time(one):
    one.set_time(SOCKET.AF_VSOCK, SOCKET.SO_VM_SOCKETS_CONNECT_TIMEOUT, 0, 100000)
    one.settimeout(None)
    one.connect(77, 0)
    one.getsockopt(1, 4)
    one.connect(77, 0)
    one.poll(EVENTS)


def nobody_answers_and_the_time_is_short(one):
    one.settimeout(0.1)
    one.connect(77, 0)
    one.connect(77, 0)
    one.poll(EVENTS)
    one.getpeername()
    one.close()


def nobody_answers_and_nobody_waits(one):
    one.settimeout(0)
    one.connect(77, 0)
    one.connect(77, 0)
    one.poll(EVENTS)
    one.send(1)
    one.recv(1)
    one.getsockname()
    one.listen(1)
    one.bind(ANY, 1)
    one.shutdown(2)
    one.connect(PEER, 2)


def to_places_that_are_none(one):
    for cid in (ANY, 0, 3, 0xFFFFFFFE):
        one.settimeout(0.1)
        one.connect(cid, 2)
        one.socket(SOCKET.SOCK_STREAM)


def to_port_any(one):
    one.connect(PEER, 0xFFFFFFFF)
    one.getsockname()
    one.bind(ANY, 0xFFFFFFFF)


def accept_when_nobody_comes(listener, caller):
    listener.accept(2)
    listener.settimeout(0)
    listener.accept(2)
    listener.accept_within(2)
    listener.poll(EVENTS)
    listener.select()


@of_types("stream", "seqpacket")
def listener_is_no_connection(listener, caller):
    listener.send(1)
    listener.recv(1)
    listener.recv_into(1)
    listener.recvmsg(1)
    listener.sendmsg(1)
    listener.sendto(1, PEER, 0)
    listener.sendall(1)
    listener.shutdown(2)
    listener.getpeername()
    listener.listen(5)
    listener.bind(ANY, 1)
