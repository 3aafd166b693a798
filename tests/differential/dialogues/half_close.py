# SPDX-License-Identifier: MIT
"""One direction ends, or both, and what either end is told."""

from mpfw.differential.dialogues import PEER, SOCKET, of_types

EVENTS = 0x20FF


def _fill(sender):
    sender.settimeout(0)
    sender.send(200000)
    sender.send(62144)
    sender.settimeout(0.1)


@of_types("stream", "seqpacket")
def write_ends(caller, accepted):
    caller.send(3)
    caller.shutdown(1)
    caller.send(3)
    caller.poll(EVENTS)
    accepted.poll(EVENTS)
    accepted.recv(10)
    accepted.recv(10)
    accepted.poll(EVENTS)
    accepted.send(4)
    caller.recv(10)


@of_types("stream", "seqpacket")
def read_ends(caller, accepted):
    caller.shutdown(0)
    caller.recv(10)
    caller.poll(EVENTS)
    accepted.poll(EVENTS)
    accepted.send(3)
    caller.send(4)
    accepted.recv(10)


@of_types("stream", "seqpacket")
def read_ends_with_bytes_queued(caller, accepted):
    accepted.send(100)
    caller.poll(EVENTS)
    caller.shutdown(0)
    caller.poll(EVENTS)
    caller.recv(10)
    accepted.send(1)
    accepted.getsockopt(1, 4)


@of_types("stream", "seqpacket")
def both_end_at_once(caller, accepted):
    caller.send(5)
    caller.shutdown(2)
    caller.poll(EVENTS)
    caller.recv(10)
    caller.send(1)
    accepted.poll(EVENTS)
    accepted.recv(10)
    accepted.recv(10)
    accepted.send(1)


@of_types("stream", "seqpacket")
def one_after_the_other(caller, accepted):
    caller.shutdown(1)
    caller.shutdown(0)
    caller.poll(EVENTS)
    accepted.poll(EVENTS)
    accepted.recv(10)
    accepted.send(1)
    caller.recv(10)


@of_types("stream", "seqpacket")
def both_ends_stop_sending(caller, accepted):
    caller.shutdown(1)
    accepted.shutdown(1)
    caller.poll(EVENTS)
    accepted.poll(EVENTS)
    caller.recv(10)
    accepted.recv(10)
    caller.close()
    accepted.recv(10)
    accepted.poll(EVENTS)


def shut_twice(caller, accepted):
    caller.shutdown(1)
    caller.shutdown(1)
    caller.shutdown(2)
    caller.shutdown(2)
    caller.shutdown(3)
    accepted.recv(1)
    accepted.shutdown(0)
    accepted.shutdown(1)


def peer_is_gone(caller, accepted):
    accepted.close()
    caller.getpeername()
    caller.shutdown(0)
    caller.getpeername()
    caller.recv(1)
    caller.shutdown(1)
    caller.poll(EVENTS)


@of_types("stream", "seqpacket")
def close_with_bytes_unread(caller, accepted):
    caller.send(100)
    accepted.send(50)
    accepted.close()
    caller.poll(EVENTS)
    caller.send(1)
    caller.recv(20)
    caller.recv(100)
    caller.recv(100)
    caller.getsockopt(1, 4)


@of_types("stream", "seqpacket")
def close_after_all_was_read(caller, accepted):
    caller.send(100)
    accepted.recv(100)
    accepted.close()
    caller.recv(1)
    caller.recv(1)
    caller.send(1)
    caller.getpeername()
    caller.poll(EVENTS)


@of_types("stream", "seqpacket")
def close_over_a_full_window(caller, accepted):
    _fill(caller)
    accepted.close()
    caller.poll(EVENTS)
    caller.send(1)
    caller.sendto(1, PEER, 0)


@of_types("stream", "seqpacket")
def close_over_a_full_window_with_bytes_unread(caller, accepted):
    accepted.send(100)
    _fill(caller)
    accepted.close()
    caller.poll(EVENTS)
    caller.send(1)
    caller.recv(100)
    caller.recv(1)
    caller.poll(EVENTS)
    caller.send(1)
    caller.sendto(1, PEER, 0)
    caller.settimeout(0)
    caller.send(1)
    caller.sendto(1, PEER, 0)


@of_types("stream", "seqpacket")
def close_with_bytes_unread_that_are_read(caller, accepted):
    accepted.send(100)
    accepted.close()
    caller.sendto(1, PEER, 0)
    caller.recv(100)
    caller.poll(EVENTS)
    caller.sendto(1, PEER, 0)
    caller.recv(1, SOCKET.MSG_OOB)
    caller.recv(262144, SOCKET.MSG_WAITALL)
    caller.connect_ex(PEER, 0)
    caller.getpeername()


def names_after_shutdown(caller, accepted):
    caller.getpeername()
    caller.shutdown(1)
    caller.getpeername()
    caller.getsockname()
    accepted.getsockname()


def accepted_of_one_that_left(listener, caller, second, third):
    third.close()
    second.close()
    caller.send(1)
    listener.poll(EVENTS)
    second.socket(1)
    second.connect(PEER, 0)
    second.close()
    listener.poll(EVENTS)
    listener.accept(third)
    third.recv(10)
    third.send(1)
    third.poll(EVENTS)
