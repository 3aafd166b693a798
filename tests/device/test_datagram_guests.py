# SPDX-License-Identifier: MIT
"""Datagrams between guests and programs, and between guests, by `mpfw device` and all of QEMU's
devices that pass the feature on. `-m long --messages N` has another number of them.
"""

import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

import mpfw
from mpfw.guest.carriers import CARRIERS, PROXY, TEST_DEVICE
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine
from mpfw.guest.vsockhost import DatagramVsock
from mpfw.lab import qemus

SCRIPT = "opt/micropython/main.py"  # fw_cfg: what runs instead of the echo
ARGUMENTS = "opt/micropython/argv"
ECHO = """
import socket, vsock
s = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
s.bind((socket.VMADDR_CID_ANY, 7))
print("BOUND", socket.get_local_cid())
while True:
    data, sender = s.recvfrom(65536)
    if data == b"report":
        data = repr((vsock.get().device.receiver.dropped, s.endpoint.full())).encode()
    s.sendto(data, sender)
"""
# Counts what comes, then sends as many of its own at the same pace.
PACED = """
import socket, sys, time, vsock
count, pause = int(sys.argv[1]), int(sys.argv[2])
s = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
s.bind((socket.VMADDR_CID_ANY, 7))
s.settimeout(5)
print("BOUND", socket.get_local_cid())
came = 0
try:
    while True:
        data, sender = s.recvfrom(65536)
        if data == b"end":
            break
        n = int(data.rstrip(b"\0"))
        came += data == b"%d" % n + bytes(n % 100)
except OSError:
    pass
s.sendto(repr((came, vsock.get().device.receiver.dropped)).encode(), sender)
for i in range(1, count + 1):
    s.sendto(b"%d" % i + bytes(i % 100), sender)
    time.sleep_us(pause)
"""
# Has a sibling's echo send back messages of random sizes, WINDOW of them under way.
CALLS = """
import os, random, socket, sys, vsock
there, count, window = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
noise = os.urandom(1 << 17)
sizes = 0, 10, 1400, 2100, 9000
s = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
s.settimeout(60)
waiting = []
for i in range(count + window):
    if i < count:
        n = 65536 if i % 5000 == 0 else random.randint(0, random.choice(sizes))
        at = random.randint(0, 65536)
        waiting.append((at, n))
        s.sendto(memoryview(noise)[at : at + n], (there, 7))
    if i >= window:
        at, n = waiting.pop(0)
        data, sender = s.recvfrom(65536)
        if data != noise[at : at + n] or sender != (there, 7):
            print("ALTERED", i, n, len(data), sender)
            break
else:
    print("INTACT", count, sum(vsock.get().device.receiver.dropped), s.endpoint.full())
"""
WINDOW = 12
UP_TO = [0, 10, 1400, 2100, 9000]  # bytes
LONGEST = 65536
PACE = 0.002  # s between messages that nobody waits for


class Joined(DatagramVsock):
    """A device that runs already: one of several of a process."""

    def join(self, control, path):
        self._control, self._path, self._log = control, path, path.with_suffix(".log")
        return self

    def start(self, directory):
        self.connect()

    def stop(self):
        """It goes on."""


@pytest.fixture(params=CARRIERS)
def carrier(request):
    """A device of QEMU's, and a QEMU that has it."""
    suite = "bookworm" if request.param == PROXY else "sid"
    return request.param, qemus.with_device(request.param, suite)


@contextmanager
def running(image, vsock, qemu, script, *arguments):
    """A guest that runs a script."""
    entries = {SCRIPT: script, ARGUMENTS: "".join(f"{each}\0" for each in arguments)}
    with DrivenGuest(Machine(image=image, qemu=qemu, fw_cfg=entries), vsock) as guest:
        yield guest


class Program:
    """A program of the host at one of its ports."""

    def __init__(self, path, port=700):
        self.main = f"{path}.dgram"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(60)
        self.socket.bind(f"{self.main}_{port}")

    def send(self, data):
        self.socket.sendto(b"7\n" + data, self.main)

    def receive(self):
        line, _, data = self.socket.recv(1 << 17).partition(b"\n")
        assert line == b"7"
        return data

    def ask(self, data):
        self.send(data)
        return self.receive()


@pytest.fixture
def program(image, carrier):
    """A program, and a guest whose port 7 sends back what comes."""
    vsock = DatagramVsock(carrier[0])
    with running(image, vsock, carrier[1], ECHO) as guest:
        guest.console.expect(rb"BOUND 33\r?\n", 60)
        found = Program(vsock.path)
        with found.socket:
            yield found
        assert not vsock.log()


def exchange(program, messages):
    """So many messages of random sizes there and back, at most WINDOW of them under way."""
    chance = random.Random(messages)
    noise = chance.randbytes(2 * LONGEST)
    waiting: deque[bytes] = deque()
    for i in range(messages + WINDOW):
        if i < messages:
            n = LONGEST if i % 5000 == 0 else chance.randint(0, chance.choice(UP_TO))
            at = chance.randint(0, LONGEST)
            waiting.append(noise[at : at + n])
            program.send(waiting[-1])
        if i >= WINDOW:
            assert program.receive() == waiting.popleft()
    assert not waiting
    assert program.ask(b"report") == repr(([0] * 11, 0)).encode()


def test_messages_of_random_sizes_arrive_intact_both_ways(program):
    exchange(program, 2000)


@pytest.mark.long
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("carrier", [TEST_DEVICE], indirect=True)  # the others take longer
def test_a_million_messages_arrive_intact_both_ways(program, request):
    exchange(program, request.config.getoption("--messages"))


def test_at_a_paced_rate_nearly_all_arrive_and_the_rest_is_counted(image, carrier):
    count = 1000
    vsock = DatagramVsock(carrier[0])
    with running(image, vsock, carrier[1], PACED, count, int(PACE * 1e6)) as guest:
        guest.console.expect(rb"BOUND 33\r?\n", 60)
        program = Program(vsock.path)
        with program.socket:
            for i in range(1, count + 1):
                program.send(b"%d" % i + bytes(i % 100))
                time.sleep(PACE)
            came, dropped = eval(program.ask(b"end"))
            assert came + sum(dropped) == count and came >= 0.999 * count
            back = [program.receive() for _ in range(count)]
            assert back == [b"%d" % i + bytes(i % 100) for i in range(1, count + 1)]
        assert not vsock.log()


ANSWERS = """
import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_DGRAM)
s.bind((socket.VMADDR_CID_ANY, 7))
s.sendto(b"here I am", (socket.VMADDR_CID_HOST, 700))
print(s.recv(100).decode())
"""


def test_run_chooses_a_device_and_leaves_nothing(image, carrier, tmp_path):
    path = tmp_path / "v"
    program = Program(path)
    command = [sys.executable, "-m", "mpfw", "run", "--image", image, "--datagrams"]
    command += ["--qemu", carrier[1], "--uds-path", str(path), "-c", ANSWERS]
    pipe = subprocess.PIPE
    with program.socket, subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as run:
        assert program.receive() == b"here I am"
        program.send(b"and here am I")
        assert run.communicate(timeout=60) == ("and here am I\n", "")
    assert run.returncode == 0
    assert [each.name for each in tmp_path.iterdir()] == ["v.dgram_700"]


def test_a_guest_of_a_program_has_them(image, carrier, tmp_path):
    path = tmp_path / "v"
    options: dict[str, Any] = {"datagrams": True, "qemu": carrier[1], "uds_path": path}
    program = Program(path)
    with program.socket, mpfw.Guest(image=image, **options) as guest:
        program.send(b"too early: nobody is bound")
        guest.run(ANSWERS.rpartition("print")[0])
        assert program.receive() == b"here I am"


@pytest.fixture
def siblings(image, carrier, tmp_path_factory):
    """siblings(count): guest 4 has guest 3 send back so many messages; what guest 4 says."""
    directory = tmp_path_factory.mktemp("s")
    opened = ExitStack()

    def siblings(count):
        vms = []
        for cid in (3, 4):
            place = f"socket={directory}/q{cid},uds-path={directory}/v{cid}"
            vms += [
                "--vm",
                f"guest-cid={cid},{place},datagrams=true,carrier={CARRIERS[carrier[0]]}",
            ]
        command = [sys.executable, "-m", "mpfw", "device", *vms]
        device = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        opened.callback(device.kill)
        while not (directory / "v4.dgram").exists():
            assert device.poll() is None
            time.sleep(0.01)
        ends = [
            Joined(carrier[0], cid=cid).join(directory / f"q{cid}", directory / f"v{cid}")
            for cid in (3, 4)
        ]
        echo = opened.enter_context(running(image, ends[0], carrier[1], ECHO))
        echo.console.expect(rb"BOUND 3\r?\n", 60)
        calls = running(image, ends[1], carrier[1], CALLS, 3, count, WINDOW)
        caller = opened.enter_context(calls)
        said = caller.console.expect(rb"(INTACT|ALTERED|Traceback)[^\n]*\n", 60 + count / 10)
        device.send_signal(signal.SIGINT)
        assert device.communicate(timeout=30)[1] == ""
        return said.group().strip()

    with opened:
        yield siblings


def test_siblings_exchange_messages_of_random_sizes_intact(siblings):
    assert siblings(1000) == b"INTACT 1000 0 0"


@pytest.mark.long
@pytest.mark.timeout(14400)
@pytest.mark.parametrize("carrier", [TEST_DEVICE], indirect=True)  # the others take longer
def test_siblings_exchange_a_million_messages_intact(siblings, request):
    count = request.config.getoption("--messages")
    assert siblings(count) == b"INTACT %d 0 0" % count
