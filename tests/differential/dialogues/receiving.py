# SPDX-License-Identifier: MIT
"""recv and its relatives: flags, sizes, borders, what stays."""

from mpfw.differential.dialogues import SOCKET, of_types

PEEK, WAITALL, DONTWAIT = SOCKET.MSG_PEEK, SOCKET.MSG_WAITALL, SOCKET.MSG_DONTWAIT
TRUNC, EOR, OOB, ERRQUEUE = SOCKET.MSG_TRUNC, SOCKET.MSG_EOR, SOCKET.MSG_OOB, SOCKET.MSG_ERRQUEUE


@of_types("stream", "seqpacket")
def peek(caller, accepted):
    caller.send(100)
    accepted.recv(10, PEEK)
    accepted.recv(200, PEEK)
    accepted.recv(60)
    accepted.recv(200, PEEK)
    accepted.recv(200)
    accepted.recv(200, PEEK)


@of_types("stream", "seqpacket")
def across_borders(caller, accepted):
    caller.send(100)
    caller.send(50)
    caller.send(1)
    accepted.recv(120)
    accepted.recv(120)
    accepted.recv(120)


def wait_for_all(caller, accepted):
    caller.send(100)
    caller.send(50)
    accepted.recv(150, WAITALL)
    caller.send(10)
    accepted.recv(20, WAITALL)
    caller.send(10)
    caller.shutdown(1)
    accepted.recv(20, WAITALL)
    accepted.recv(20, WAITALL)


def peek_for_all(caller, accepted):
    caller.send(10)
    accepted.recv(10, PEEK | WAITALL)
    accepted.recv(20, PEEK | WAITALL)
    accepted.recv(20, PEEK | DONTWAIT)
    accepted.recv(20, WAITALL | DONTWAIT)
    accepted.recv(20, WAITALL | DONTWAIT)


@of_types("stream", "seqpacket")
def truncated(caller, accepted):
    caller.send(100)
    caller.send(100)
    accepted.recv(10, TRUNC)
    accepted.recv(10)
    accepted.recv(300, TRUNC)


@of_types("stream", "seqpacket")
def flags_of_recvmsg(caller, accepted):
    caller.send(100)
    caller.send(100, EOR)
    accepted.recvmsg(10)
    accepted.recvmsg(300)
    accepted.recvmsg(300, 64)
    accepted.recvmsg(300, 0, DONTWAIT)


@of_types("stream", "seqpacket")
def nothing_is_asked_for(caller, accepted):
    accepted.recv(0)
    caller.send(5)
    accepted.recv(0)
    accepted.recv_into(0)
    accepted.recvmsg(0)
    accepted.recv(10, DONTWAIT)
    caller.close()
    accepted.recv(0)


def flags_that_do_not_fit(caller, accepted):
    caller.send(10)
    accepted.recv(10, OOB)
    accepted.recv(10, ERRQUEUE)
    accepted.recv(10, EOR)
    accepted.recv(10, OOB | PEEK)


@of_types("stream", "seqpacket")
def address(caller, accepted):
    caller.send(10)
    accepted.recvfrom(10)
    caller.shutdown(1)
    accepted.recvfrom(10)


@of_types("stream", "seqpacket")
def into_buffers(caller, accepted):
    caller.send(100)
    accepted.recv_into(30)
    caller.send(40)
    accepted.recv_into(100, 20)
    accepted.recv_into(100, 200)
    caller.send(60)
    accepted.recvmsg_into(10, 20, 100)
    accepted.recvmsg_into(0, 0)


@of_types("stream", "seqpacket")
def empty_messages(caller, accepted):
    caller.send(0)
    accepted.recv(10, DONTWAIT)
    caller.send(3)
    caller.send(0)
    caller.send(2)
    accepted.recv(10)
    accepted.recv(10)


@of_types("stream", "seqpacket")
def blocking_with_a_time(caller, accepted):
    accepted.recv_within(10)
    caller.send(5)
    accepted.recv_within(10)
    caller.send(5)
    accepted.recv_within(10, WAITALL)
    accepted.recv_within(10, PEEK)
    caller.shutdown(1)
    accepted.recv_within(10)


def sixty_four_kilobytes(caller, accepted):
    caller.send(65537)
    accepted.recv(65536, WAITALL)
    accepted.recv(65536)
    caller.send(131072)
    accepted.recv(131072, WAITALL)
    accepted.recv(1, DONTWAIT)


@of_types("stream", "seqpacket")
def how_much_waits(caller, accepted):
    accepted.ioctl(0x541B)
    caller.send(100)
    caller.send(20)
    accepted.ioctl(0x541B)
    accepted.recv(30)
    accepted.recv(90)
    caller.ioctl(0x5411)
    caller.ioctl(0x5401)
