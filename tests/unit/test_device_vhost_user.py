# SPDX-License-Identifier: MIT
"""The back end's part of vhost-user, spoken to over a socket pair as QEMU speaks to it."""

import os
import socket
import struct

import pytest

from mpfw.device import vhost_user
from mpfw.device.vhost_user import BackEnd, ProtocolError

VERSION, NEED_REPLY = 1, 8
SIZE, USER = 1 << 16, 0x7F0000000000
DESC, AVAIL, USED = 0x1000, 0x2000, 0x3000


class Device:
    """What is behind the protocol: it notes what it is told."""

    features = 1 << 32 | vhost_user.F_EVENT_IDX
    config = b"\x21" + bytes(7)

    def __init__(self):
        self.accepted = None
        self.rings = {}
        self.stopped = []

    def accept(self, features):
        self.accepted = features

    def start_ring(self, index, ring):
        self.rings[index] = ring

    def stop_ring(self, index):
        self.stopped.append(index)


class FrontEnd:
    """QEMU."""

    def __init__(self):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(5)
        self.device = Device()
        self.back_end = BackEnd(theirs, self.device)

    def say(self, request, payload=b"", fds=(), flags=VERSION):
        head = struct.pack("<III", request, flags, len(payload))
        socket.send_fds(self.socket, [head + payload], list(fds))
        self.back_end.serve()

    def ask(self, request, payload=b""):
        self.say(request, payload)
        kind, flags, size = struct.unpack("<III", self.socket.recv(12))
        assert (kind, flags) == (request, 5)  # a reply, version 1
        return self.socket.recv(size)

    def share_memory(self):
        memory = os.memfd_create("guest")
        os.ftruncate(memory, SIZE)
        table = struct.pack("<IIQQQQ", 1, 0, 0, SIZE, USER, 0)
        self.say(vhost_user.SET_MEM_TABLE, table, [memory])
        os.close(memory)

    def start(self, index, base=0):
        """A queue with a kick, whose other end this returns, and a call."""
        self.say(vhost_user.SET_VRING_NUM, struct.pack("<II", index, 8))
        self.say(vhost_user.SET_VRING_BASE, struct.pack("<II", index, base))
        where = [USER + each for each in (DESC, USED, AVAIL)]  # in the message's order
        self.say(vhost_user.SET_VRING_ADDR, struct.pack("<II4Q", index, 0, *where, 0))
        call, kick = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)
        self.say(vhost_user.SET_VRING_CALL, struct.pack("<Q", index), [call])
        self.say(vhost_user.SET_VRING_KICK, struct.pack("<Q", index), [kick])
        return call


@pytest.fixture
def qemu():
    front_end = FrontEnd()
    yield front_end
    front_end.back_end.close()
    front_end.socket.close()


def test_features_are_offered_and_accepted(qemu):
    (offered,) = struct.unpack("<Q", qemu.ask(vhost_user.GET_FEATURES))
    assert offered == Device.features | vhost_user.F_PROTOCOL_FEATURES
    qemu.say(vhost_user.SET_FEATURES, struct.pack("<Q", offered))
    assert qemu.device.accepted == Device.features


def test_the_configuration_is_read(qemu):
    answer = qemu.ask(vhost_user.GET_CONFIG, struct.pack("<III", 0, 8, 0) + bytes(8))
    assert answer[12:] == b"\x21" + bytes(7)


def test_a_request_that_wants_a_reply_gets_one(qemu):
    qemu.say(vhost_user.SET_OWNER, flags=VERSION | NEED_REPLY)
    assert qemu.socket.recv(100)[12:] == bytes(8)


def test_a_queue_runs_in_shared_memory_and_tells_where_it_stopped(qemu):
    qemu.share_memory()
    call = qemu.start(1, base=3)
    ring = qemu.device.rings[1]
    assert (ring.size, ring.taken, ring.done) == (8, 3, 3)
    ring.ring()
    assert os.eventfd_read(call) == 1
    ring.put(5, 0)
    ring.show()
    assert bytes(qemu.back_end.memory.at(USED + 2, 2)) == b"\x04\x00"
    ring.taken = 4
    answer = qemu.ask(vhost_user.GET_VRING_BASE, struct.pack("<II", 1, 0))
    assert struct.unpack("<II", answer) == (1, 4)
    assert qemu.device.stopped == [1]


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_queue_that_has_stopped_interrupts_nobody(qemu, hangs_up):
    """Its descriptors are closed sooner or later, and their numbers somebody else's then."""
    qemu.share_memory()
    call = qemu.start(0)
    ring = qemu.device.rings[0]
    if hangs_up:
        qemu.back_end.close()
    else:
        qemu.ask(vhost_user.GET_VRING_BASE, struct.pack("<II", 0, 0))
    ring.ring()
    assert (ring.kick, ring.call) == (-1, -1)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(call)


def test_event_indices_are_used_if_the_driver_took_them(qemu):
    qemu.share_memory()
    qemu.say(vhost_user.SET_FEATURES, struct.pack("<Q", vhost_user.F_EVENT_IDX))
    qemu.start(0)
    assert qemu.device.rings[0].event_idx


def test_a_call_that_changes_is_rung_at_once(qemu):
    qemu.share_memory()
    qemu.start(0)
    call = os.eventfd(0, os.EFD_NONBLOCK)
    qemu.say(vhost_user.SET_VRING_CALL, struct.pack("<Q", 0), [call])
    assert os.eventfd_read(call) == 1


@pytest.mark.parametrize(
    "request_, payload",
    [
        (99, b""),
        (vhost_user.SET_VRING_NUM, b"short"),
        (vhost_user.SET_MEM_TABLE, b"\1" + bytes(7)),
    ],
)
def test_what_is_not_understood_is_an_error(qemu, request_, payload):
    with pytest.raises(ProtocolError):
        qemu.say(request_, payload)


def test_the_end_of_qemu_is_an_error(qemu):
    qemu.socket.close()
    with pytest.raises(ProtocolError, match="hung up"):
        qemu.back_end.serve()
