# SPDX-License-Identifier: MIT
"""The built-in echo, and scripts like it, beside a host that answers calls in every way."""

import time

import pytest

from mpfw.device import liars
from mpfw.device.firmware import vsock as w
from mpfw.device.packets import make

ECHO = 1234
MANY = 258  # a few more than the echo serves before it looks at its own call


def echoes(guest, data=b"hello"):
    """A new connection is served."""
    stream = guest.policy.connect(ECHO)
    stream.send(data)
    assert stream.receive(len(data)) == data
    stream.abort()


@pytest.mark.parametrize(
    "way",
    [
        "refuse",
        "silent",
        pytest.param("reset"),
        pytest.param("closed"),
    ],
)
def test_the_echo_lives_whatever_becomes_of_its_call(echo, way):
    guest = echo(liars.Fickle(way))
    wanted = 1 if way == "closed" else 3  # that call stays: there may be room for a byte later
    guest.device.wait(lambda: guest.policy.calls >= wanted, "no calls", 12)
    time.sleep(0.5)
    echoes(guest)
    assert not guest.tracebacks()
    guest.answers()


class Behind(liars.Fickle):
    """The answer to a call comes behind what many connections say at once."""

    def __init__(self, way):
        super().__init__(way)
        self.crowd = []

    def packet(self, packet):
        if packet.op == w.OP_REQUEST:
            self.device.send(*self.crowd)
        super().packet(packet)
        if packet.op == w.OP_RW:
            stream = self.streams.get((packet.dst_cid, packet.dst_port, packet.src_port))
            if self.crowd and stream is not None:
                stream.take(len(stream.received))


@pytest.mark.parametrize("way", ["refuse", "reset"])
def test_an_answer_behind_many_echoes_does_not_end_the_echo(echo, way):
    guest = echo(Behind(way))
    streams = [guest.policy.connect(ECHO) for _ in range(MANY)]
    own = {"dst_cid": 33, "buf_alloc": 1 << 30}
    guest.policy.crowd = [make(w.OP_RW, one.key[1], ECHO, b"busy", **own) for one in streams]
    calls = guest.policy.calls
    guest.device.wait(lambda: guest.policy.calls >= calls + 8, "no calls", 25)
    guest.device.wait_sent()
    time.sleep(1)  # what comes back of the last crowd is taken
    guest.policy.crowd = []
    echoes(guest)
    assert not any(stream.reset for stream in streams)
    assert not guest.tracebacks()


def test_connections_that_are_made_and_reset_at_once_leave_the_echo(echo):
    guest = echo()
    for _ in range(20):
        for _ in range(100):
            guest.policy.request(ECHO).abort()
        guest.device.wait_sent()
    echoes(guest)
    assert not guest.tracebacks()


SCRIPT = """
import socket, sys, time
CALLS = (
    lambda sock: socket.poller().register(sock),
    lambda sock: sock.connect_state(),
    lambda sock: sock.connect((2, 5000)),
    lambda sock: sock.connect_ex((2, 5000)),
    lambda sock: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR),
    lambda sock: sock.send(b"x"),
    lambda sock: sock.recv(1),
    lambda sock: sock.splice(sock),
    lambda sock: sock.shutdown(2),
    lambda sock: sock.getpeername(),
    lambda sock: sock.close(),
)
def outcome(function, sock):
    try:
        function(sock)
    except OSError:
        pass
for first in CALLS:
    for second in CALLS:
        for register in (False, True):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex((2, 5000))
            if register:
                socket.poller().register(sock)
            time.sleep(0.02)
            outcome(first, sock)
            outcome(second, sock)
            sock.close()
print("done")
"""


@pytest.mark.parametrize("way", ["refuse", "reset", "closed"])
def test_a_call_on_a_connection_that_is_gone_is_an_oserror_or_nothing(prompt, way):
    guest = prompt(liars.Fickle(way))
    assert guest.console.exec(SCRIPT, 60) == "done\n"
    guest.answers()
