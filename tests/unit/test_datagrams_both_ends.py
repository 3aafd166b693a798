# SPDX-License-Identifier: MIT
"""Datagrams from a guest's sockets through `mpfw device` to programs and back, beside a model of
both ends: what each call and each message came to, and what each end counted as dropped.

The sockets are those of test_datagrams.py, the device is whole; between them the test carries the
packets, as a guest's memory does.
"""

import os
import socket
import struct
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from datagram_case import Case
from datagram_model import CID, HOST, NAMES, SIZES, Socket, step, w
from hypothesis import given, settings
from hypothesis import strategies as st
from places import Device, Place
from profiles import examples

from mpfw.device import datagram_programs, mailbox

PORTS = [700, 701, 1024]  # of programs; the guest's sockets are bound to those, too
STEPS = 30
AMISS = [  # what a program may send by mistake, and what it is dropped as
    (b"", datagram_programs.NO_LINE),
    (b"no port\nx", datagram_programs.NO_LINE),
    (b"4294967295\nx", datagram_programs.NO_LINE),
    (b"700\n" + bytes(w.MAX_DATA + 1), datagram_programs.LONG),
    (b"700\n" + bytes(w.MAX_DATA + 20), datagram_programs.LONG),
]


class Ends:
    """A guest with four sockets, its device, and programs that come and go."""

    def __init__(self, engine, directory: Path, running: ExitStack):
        self.case = Case(engine)
        self.place = Place(directory, CID)
        running.enter_context(self.place.opened)
        self.device = Device(self.place.settings(datagrams=True))
        running.callback(self.device.close)
        self.driver = self.place.driver(datagrams=True)
        self.programs: dict[int, socket.socket] = {}
        running.callback(self.end)
        self.dropped: Counter[str] = Counter()  # by the device
        for name in NAMES:
            self.case.socket(name)

    def end(self):
        """All programs end."""
        for each in self.programs.values():
            each.close()

    def call(self, name, method, arguments):
        """A call of the guest's; what it sent goes its way."""
        case = self.case
        case.call(name, method, *arguments)
        if case.model.sockets[name].closed:
            case.play(name, "socket", 2)
            case.model.sockets[name] = Socket()
        went = [(header, payload) for _, header, payload, _ in case.engine.host.collect(True)]
        assert went == case.model.sent, case.story
        case.model.sent = []
        for header, payload in went:
            self.driver.send_raw(struct.pack("<11I", *header) + payload)
            self.reaches(header[w.SRC_PORT], header[w.DST_CID], header[w.DST_PORT], payload)

    def reaches(self, source, cid, port, payload):
        """What becomes of a message of the guest's."""
        if cid != HOST:
            self.dropped[mailbox.NO_GUEST] += 1
        elif port not in self.programs:
            self.dropped[mailbox.NOBODY] += 1
        else:
            came = self.programs[port].recv(1 << 17)
            assert came == b"%d\n" % source + payload

    def program(self, port):
        """The program that has a port: it may be a new one."""
        if port not in self.programs:
            made = self.programs[port] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            made.settimeout(30)
            made.bind(f"{self.place.path}.dgram_{port}")
        return self.programs[port]

    def ends(self, port):
        """A program ends, and its path goes with it."""
        if port in self.programs:
            self.programs.pop(port).close()
            os.unlink(f"{self.place.path}.dgram_{port}")

    def writes(self, port, to, data):
        """A program sends a message to the guest's port `to`."""
        self.program(port).sendto(b"%d\n" % to + data, f"{self.place.path}.dgram")
        packet = self.driver.receive()
        ends = packet.src_cid, packet.src_port, packet.dst_cid, packet.dst_port
        assert ends == (HOST, port, CID, to) and packet.body == data
        rest = packet.type, packet.op, packet.flags, packet.buf_alloc, packet.fwd_cnt
        assert rest == (w.TYPE_DGRAM, w.OP_RW, 0, 0, 0)
        self.case.packet((CID, to), data, (HOST, port))

    def errs(self, port, message, why):
        """A program sends what is no message."""
        self.program(port).sendto(message, f"{self.place.path}.dgram")
        self.dropped[why] += 1

    def check(self):
        """Both ends have dropped what the model has, and nothing else."""
        self.case.check()
        wire = self.device.switch.wires[0]
        deadline = time.monotonic() + 30
        while wire.drops.total() < self.dropped.total() and time.monotonic() < deadline:
            time.sleep(0.0005)
        assert wire.drops == self.dropped


@pytest.fixture(autouse=True)
def not_wanted(engine):
    """What a test turned on is off for the next one."""
    yield
    engine.many(["vsock.datagrams", False])


@pytest.mark.timeout(900)
@settings(max_examples=examples(200))
@given(seeds=st.lists(st.integers(0, 0xFFFFFFFF), min_size=10, max_size=STEPS))
def test_any_calls_and_messages_do_what_the_model_of_both_ends_says(engine, seeds):
    with tempfile.TemporaryDirectory() as directory, ExitStack() as running:
        ends = Ends(engine, Path(directory), running)
        for seed in seeds:
            chance = Random(seed)
            kind = chance.randrange(10)
            port = chance.choice(PORTS)
            if kind < 5:
                ends.call(*step(chance))
            elif kind < 8:
                data = chance.randbytes(chance.choice(SIZES))
                ends.writes(port, chance.choice([*PORTS, 9]), data)
            elif kind == 8:
                ends.errs(port, *chance.choice(AMISS))
            else:
                ends.ends(port)
            ends.check()
