# SPDX-License-Identifier: MIT
"""The lab's multiplexer, both ends in one process: order, half-close, credit, the link's end."""

import random
import socket
import time

import pytest

from mpfw.lab import mux
from mpfw.lab.mux import Mux

CREDIT = 512 * 1024  # bytes under way on one stream, at most


class Pair:
    """Two muxes joined by a socket; the far one bridges every stream to a socket of its own."""

    def __init__(self):
        self.links = socket.socketpair()
        for link in self.links:
            link.setblocking(False)
        self.far_ends = []
        self.near = Mux(self.links[0].fileno(), 1)
        self.far = Mux(self.links[1].fileno(), 2, self._call)

    def _call(self, stream, request):
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)  # a reader that is behind
        stream.reply(asked=request)
        stream.attach(theirs)
        self.far_ends.append(ours)

    def open(self):
        """A new stream: (the near end, the far end), blocking no longer than two seconds."""
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        stream = self.near.open({"n": len(self.far_ends)})
        answers: list[dict] = []
        stream.on_reply = answers.append
        stream.attach(theirs)
        self.pump(lambda: answers)
        assert answers == [{"asked": {"n": len(self.far_ends) - 1}}]
        for end in (ours, self.far_ends[-1]):
            end.setblocking(False)
        return ours, self.far_ends[-1]

    def pump(self, done, seconds=5):
        """Let both ends work until done() holds."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "nothing more happens"
            self.near.step(0)
            self.far.step(0.001)

    def send(self, sock, data):
        """Write all of `data`, however long it takes."""
        view = memoryview(data)

        def step():
            nonlocal view
            try:
                view = view[sock.send(view) :]
            except BlockingIOError:
                pass
            return not view

        self.pump(step)

    def receive(self, sock, count):
        """Exactly `count` bytes; fewer if the stream ends."""
        data = bytearray()

        def step():
            try:
                chunk = sock.recv(count - len(data))
            except BlockingIOError:
                return False
            data.extend(chunk)
            return not chunk or len(data) == count

        self.pump(step)
        return bytes(data)

    def settle(self):
        """Let everything that can move come to rest."""
        for _ in range(200):
            self.near.step(0)
            self.far.step(0)


@pytest.fixture
def pair():
    made = Pair()
    yield made
    for sock in (*made.links, *made.far_ends):
        sock.close()


def test_bytes_arrive_in_order_both_ways_on_many_streams(pair):
    rng = random.Random(4)
    streams = [pair.open() for _ in range(8)]
    for near, far in streams:
        up, down = rng.randbytes(rng.randrange(1, 100_000)), rng.randbytes(100_000)
        pair.send(near, up)
        pair.send(far, down)
        assert pair.receive(far, len(up)) == up
        assert pair.receive(near, len(down)) == down


def test_more_than_the_window_passes_when_it_is_read(pair):
    near, far = pair.open()
    data = random.Random(1).randbytes(3 * CREDIT)
    got = bytearray()
    sent = 0

    def step():
        nonlocal sent
        try:
            sent += near.send(data[sent : sent + 70_000])
        except BlockingIOError:
            pass
        try:
            got.extend(far.recv(50_000))
        except BlockingIOError:
            pass
        return len(got) == len(data)

    pair.pump(step)
    assert got == data


def test_end_of_one_direction_leaves_the_other_open(pair):
    near, far = pair.open()
    near.sendall(b"last words")
    near.shutdown(socket.SHUT_WR)
    assert pair.receive(far, 100) == b"last words"
    pair.send(far, b"and the answer")
    far.shutdown(socket.SHUT_WR)
    assert pair.receive(near, 100) == b"and the answer"
    pair.pump(lambda: not pair.near.streams and not pair.far.streams)


def test_end_that_stops_sending_still_gets_what_it_has_not_read(pair):
    near, far = pair.open()
    data = random.Random(2).randbytes(300_000)
    pair.send(near, data)
    near.shutdown(socket.SHUT_WR)
    pair.settle()
    far.sendall(b"done")
    far.shutdown(socket.SHUT_WR)
    pair.settle()
    assert pair.receive(far, len(data) + 1) == data
    assert pair.receive(near, 5) == b"done"
    assert not pair.near.streams and not pair.far.streams


def test_close_ends_both_directions_after_what_was_sent(pair):
    near, far = pair.open()
    near.sendall(b"bye")
    near.close()
    assert pair.receive(far, 100) == b"bye"
    with pytest.raises(BrokenPipeError):
        pair.pump(lambda: far.send(b"x") == 0)
    assert not pair.near.streams


class Echo:
    """An echo with one buffer: it takes more when it has given back what it has."""

    def __init__(self, sock):
        self.ended = False
        self.taken = 0  # bytes
        self._sock = sock
        self._held = b""

    def turn(self):
        """Do what can be done now; whether anything was."""
        try:
            if self._held:
                self._held = self._held[self._sock.send(self._held) :]
            else:
                self._held = self._sock.recv(50_000)
                self.taken += len(self._held)
                self.ended = not self._held
        except BlockingIOError:
            return False
        except OSError:
            self.ended = True
        return not self.ended


def write_until_stuck(pair, sock, turn):
    """Write until nothing moves any more; the bytes that went."""
    sent = idle = 0
    while idle < 3:
        idle += 1
        try:
            sent += sock.send(bytes(1 << 16))
            idle = 0
        except BlockingIOError:
            pass
        pair.settle()
        while turn():
            pair.settle()
            idle = 0
    return sent


def test_close_ends_an_echo_that_nobody_has_read(pair):
    """What it has to take is behind what it cannot give back: that is for nobody now."""
    near, far = pair.open()
    echo = Echo(far)
    write_until_stuck(pair, near, echo.turn)
    taken = echo.taken
    near.close()

    def ended():
        echo.turn()
        return echo.ended

    pair.pump(ended)
    assert echo.taken > taken + CREDIT // 2  # all that had come as far as its own end
    pair.pump(lambda: not pair.near.streams and not pair.far.streams)


def test_end_that_writes_after_a_close_still_gets_what_was_sent_before(pair):
    near, far = pair.open()
    data = random.Random(3).randbytes(300_000)
    pair.send(far, data)
    far.close()
    pair.settle()
    pair.send(near, bytes(1_000_000))
    assert pair.receive(near, len(data) + 1) == data


def test_close_ends_one_that_writes_and_never_reads(pair, monkeypatch):
    monkeypatch.setattr(mux, "_LINGER", 0.1)
    near, far = pair.open()
    write_until_stuck(pair, near, lambda: False)
    near.close()

    def ended():
        try:
            far.send(bytes(1 << 16))
        except BlockingIOError:
            return False
        except OSError:
            return True
        return False

    pair.pump(ended)
    assert not pair.far.streams


def test_sleeping_reader_stalls_its_own_stream_only(pair):
    stalled, _unread = pair.open()
    near, far = pair.open()
    sent = 0
    try:
        while True:
            sent += stalled.send(bytes(1 << 16))
            pair.settle()
    except BlockingIOError:
        pass
    assert CREDIT <= sent < 4 * CREDIT
    pair.send(near, b"passes")
    assert pair.receive(far, 6) == b"passes"


def test_lost_link_raises_and_streams_can_be_abandoned(pair):
    near, _ = pair.open()
    pair.links[1].close()
    with pytest.raises(EOFError):
        pair.near.step(1)
    for stream in list(pair.near.streams.values()):
        stream.abandon()
    assert near.recv(1) == b""
