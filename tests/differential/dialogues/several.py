# SPDX-License-Identifier: MIT
"""Two connections at once: what one does, the other does not feel."""

from mpfw.differential.dialogues import PEER, SOCKET, of_types

EVENTS = 0x20FF


@of_types("stream", "seqpacket")
def data_do_not_mix(caller, accepted, second, third):
    caller.send(3)
    second.send(5)
    third.recv(10)
    accepted.recv(10)
    accepted.send(7)
    third.send(9)
    caller.recv(20)
    second.recv(20)


@of_types("stream", "seqpacket")
def one_ends(caller, accepted, second, third):
    caller.close()
    accepted.poll(EVENTS)
    third.poll(EVENTS)
    second.send(3)
    third.recv(10)
    accepted.recv(10)
    accepted.send(1)


def one_is_full(caller, accepted, second, third):
    caller.settimeout(0)
    caller.send(300000)
    caller.send(1)
    second.send(5)
    third.recv(10)
    third.send(5)
    second.recv(10)
    caller.poll(EVENTS)


@of_types("stream", "seqpacket")
def options_are_of_one_socket(caller, accepted, second, third):
    accepted.setsockopt(SOCKET.AF_VSOCK, SOCKET.SO_VM_SOCKETS_BUFFER_SIZE, 4096)
    third.getsockopt(SOCKET.AF_VSOCK, SOCKET.SO_VM_SOCKETS_BUFFER_SIZE)
    accepted.setsockopt(1, SOCKET.SO_RCVLOWAT, 5)
    third.getsockopt(1, SOCKET.SO_RCVLOWAT)
    accepted.getsockopt(1, SOCKET.SO_RCVLOWAT)


def one_dials_again(listener, caller, accepted, second, third):
    caller.close()
    caller.socket(SOCKET.SOCK_STREAM)
    caller.connect(PEER, 0)
    second.send(2)
    listener.accept(accepted)
    accepted.recv(10)
    caller.send(4)
    accepted.recv(10)
    third.recv(10)


def listener_goes_both_stay(listener, caller, accepted, second, third):
    listener.close()
    caller.send(1)
    accepted.recv(10)
    third.send(2)
    second.recv(10)
    caller.close()
    accepted.recv(10)
    second.poll(EVENTS)


def both_end_crosswise(caller, accepted, second, third):
    caller.shutdown(1)
    third.shutdown(1)
    accepted.recv(10)
    second.recv(10)
    accepted.send(3)
    second.send(4)
    caller.recv(10)
    third.recv(10)
    accepted.close()
    second.close()
    caller.poll(EVENTS)
    third.poll(EVENTS)


def pending_one_has_sent(listener, caller, second, third):
    second.socket(SOCKET.SOCK_STREAM)
    third.close()
    second.connect(PEER, 0)
    second.send(10)
    second.shutdown(1)
    listener.poll(EVENTS)
    listener.accept(third)
    third.recv(100)
    third.recv(100)
    third.send(3)
    second.recv(10)


@of_types("stream", "seqpacket")
def peeked_in_both(caller, accepted, second, third):
    caller.send(10)
    second.send(20)
    accepted.recv(100, SOCKET.MSG_PEEK)
    third.recv(100, SOCKET.MSG_PEEK)
    accepted.recv(100)
    third.recv(100)
    third.recv(100, SOCKET.MSG_DONTWAIT)
