# SPDX-License-Identifier: MIT
"""bind and listen: ports, CIDs, order."""

from mpfw.differential.dialogues import ANY, PEER, SOCKET, of_types


@of_types("stream", "seqpacket")
def twice(one):
    one.bind(ANY, 1)
    one.bind(ANY, 2)
    one.getsockname()
    one.connect(PEER, 2)
    one.getsockname()


@of_types("stream", "seqpacket")
def port_in_use(one, other):
    one.bind(ANY, 1)
    other.bind(ANY, 1)
    other.bind(ANY, 2)
    one.close()
    other.socket(SOCKET.SOCK_STREAM)
    other.bind(ANY, 1)


def types_share_ports(one, other):
    other.socket(SOCKET.SOCK_SEQPACKET)
    one.bind(ANY, 1)
    other.bind(ANY, 1)
    one.listen(1)
    other.listen(1)


def reuse_changes_nothing(one, other):
    one.setsockopt(1, SOCKET.SO_REUSEADDR, 1)
    other.setsockopt(1, SOCKET.SO_REUSEADDR, 1)
    one.bind(ANY, 1)
    other.bind(ANY, 1)
    one.listen(1)
    other.bind(ANY, 1)
    other.listen(1)


def automatic_ports(one, other):
    one.bind(ANY, 0xFFFFFFFF)
    one.getsockname()
    other.bind(ANY, 0xFFFFFFFF)
    one.listen(1)
    one.getsockname()


def cids(one):
    for cid in (1, 2, 3, 77, 0, 0xFFFFFFFE, ANY):
        one.socket(SOCKET.SOCK_STREAM)
        one.bind(cid, 1)
        one.getsockname()


def listen_first(one):
    one.listen(1)
    one.accept(4)
    one.bind(ANY, 1)
    one.listen(1)
    one.listen(-1)
    one.listen(100000)
    one.getsockopt(1, SOCKET.SO_ACCEPTCONN)
    one.connect(PEER, 1)


def listener_closed(listener, caller, accepted, second):
    listener.close()
    caller.send(3)
    accepted.recv(10)
    second.socket(SOCKET.SOCK_STREAM)
    second.connect(PEER, 0)
    listener.socket(SOCKET.SOCK_STREAM)
    listener.bind(ANY, 0)
    listener.listen(1)
    second.socket(SOCKET.SOCK_STREAM)
    second.connect(PEER, 0)
    listener.accept(3)


def listener_closed_with_one_waiting(listener, caller, second):
    second.socket(SOCKET.SOCK_STREAM)
    second.connect(PEER, 0)
    second.send(3)
    listener.close()
    second.recv(10)
    second.send(1)
    second.poll(0x20FF)


def privileged_ports(one, other):
    one.bind(ANY, 1023)
    one.getsockname()
    other.bind(ANY, 3)
    other.listen(1)
