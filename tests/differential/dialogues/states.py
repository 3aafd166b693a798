# SPDX-License-Identifier: MIT
"""Every call in every state: docs/errno.md's table is made of what these printed."""

from mpfw.differential.dialogues import ANY, PEER, SOCKET, of_types

VSOCK, SOL = SOCKET.AF_VSOCK, SOCKET.SOL_SOCKET
LOOKS = (
    ("getsockname",),
    ("getpeername",),
    ("getsockopt", SOL, SOCKET.SO_ERROR),
    ("setsockopt", SOL, SOCKET.SO_RCVLOWAT, 1),
    ("poll", 0x20FF),
    ("select",),
    ("ioctl", 0x541B),
    ("settimeout", 0),
    ("recv", 10),
    ("recv_into", 10),
    ("recvfrom", 10),
    ("recvmsg", 10),
    ("recvmsg_into", 10),
    ("accept", 3),
    ("settimeout", 0.1),
    ("recv", 10),
    ("accept", 3),
    ("recv_within", 10),
    ("accept_within", 3),
)
CHANGES = (
    ("send", 3),
    ("sendall", 3),
    ("send_within", 3),
    ("sendmsg", 3),
    ("sendto", 3, PEER, 0),
    ("bind", ANY, 1),
    ("listen", 1),
    ("connect_ex", PEER, 2),
    ("connect", PEER, 2),
    ("connect_ex", PEER, 2),
    ("shutdown", 3),
    ("shutdown", 1),
    ("close",),
)


def _calls(sock, begin, end):
    """The looks one after the other, then each change of a socket that is new."""
    begin()
    for call, *arguments in LOOKS:
        getattr(sock, call)(*arguments)
    for call, *arguments in CHANGES:
        end()
        begin()
        getattr(sock, call)(*arguments)


def _alone(one, kind, *steps):
    def begin():
        one.socket(kind)
        for call, *arguments in steps:
            getattr(one, call)(*arguments)

    _calls(one, begin, one.close)


def _connected(ends, kind, *steps):
    listener, caller, accepted = ends

    def begin():
        caller.socket(kind)
        caller.connect(PEER, 0)
        listener.accept(accepted)
        for sock, call, *arguments in steps:
            getattr(sock, call)(*arguments)

    def end():
        caller.close()
        accepted.close()

    _calls(caller, begin, end)


def _in_both(function):
    """The dialogue as one of streams and one of seqpackets; it is told which."""
    return of_types("stream", "seqpacket")(function)


@_in_both
def fresh(one, kind):
    _alone(one, kind)


@_in_both
def bound(one, kind):
    _alone(one, kind, ("bind", ANY, 2))


@_in_both
def listening(one, kind):
    _alone(one, kind, ("bind", ANY, 2), ("listen", 1))


@_in_both
def failed(one, kind):
    _alone(one, kind, ("connect", PEER, 2))


@_in_both
def failed_later(one, kind):
    _alone(one, kind, ("settimeout", 0), ("connect", PEER, 2))


@_in_both
def connecting(one, kind):
    _alone(one, kind, ("settimeout", 0), ("connect", 77, 0), ("settimeout", 0.1))


@_in_both
def closed(one, kind):
    _alone(one, kind, ("close",))


@_in_both
def connected(listener, caller, accepted, kind):
    _connected((listener, caller, accepted), kind)


@_in_both
def shut_read(listener, caller, accepted, kind):
    _connected((listener, caller, accepted), kind, (caller, "shutdown", 0))


@_in_both
def shut_write(listener, caller, accepted, kind):
    _connected((listener, caller, accepted), kind, (caller, "shutdown", 1))


@_in_both
def shut_both(listener, caller, accepted, kind):
    _connected((listener, caller, accepted), kind, (caller, "shutdown", 2))


@_in_both
def peer_reads_no_more(listener, caller, accepted, kind):
    _connected((listener, caller, accepted), kind, (accepted, "shutdown", 0))


@_in_both
def peer_writes_no_more(listener, caller, accepted, kind):
    _connected((listener, caller, accepted), kind, (accepted, "shutdown", 1))


@_in_both
def peer_closed(listener, caller, accepted, kind):
    _connected((listener, caller, accepted), kind, (accepted, "close"))
