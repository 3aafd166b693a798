# SPDX-License-Identifier: MIT
"""Packets that a guest's raw mode makes, as two captures have them and tshark reads them: that of
the guest and one at the device. What was sent the script itself prints."""

import random
import struct
import subprocess
import threading
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from mpfw.capture import IN, OUT, Capture
from mpfw.capture.writer import Passing
from mpfw.device.host import DeviceHost
from mpfw.device.packets import make
from mpfw.device.policy import Policy
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.trace.cli import trace

HEADER = struct.Struct("<QQIIIHHIII")
NAMES: tuple[str, ...] = ("src_cid", "dst_cid", "src_prot", "dst_prot", "len")
NAMES += ("type", "op", "flags", "buf_alloc", "fwd_cnt")
FIELDS = tuple(f"vsock.virtio.{name}" for name in NAMES)
KINDS = {0: 0, 1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 3, 7: 3}  # the monitor's op for each of ours
COUNT = 10_000
SNAPLEN = 64
PREFIX = "opt/micropython/"

SENDER = """
import random, struct, sys
import vsock
from vsock.packet import Packet

def word(bits):
    return random.getrandbits(random.choice((1, 8, bits)))

random.seed(%d)
with vsock.raw(alone=True) as raw:
    for i in range(%d):
        n = random.choice((0, 0, 1, 3, 44, 300, 5000 if i %% 100 == 0 else 2))
        packet = Packet(bytes([i & 0xFF]) * n)
        packet.header[:] = struct.pack(
            "<IIIIIIIHHIII", word(30), word(30), word(30), word(30), word(30), word(30), n,
            word(16), word(3) if random.getrandbits(3) else word(16), word(30), word(30), word(30))
        sizes = random.choice(((), (44,), (20,), (1, 40), (7, 7, 7)))
        raw.send(packet, sizes)
        print(bytes(packet.header).hex(), n)
"""


class Watching(Policy):
    """A device that takes what comes, with a capture of its own."""

    def __init__(self, path):
        self.capture = Capture(str(path), SNAPLEN)
        self.count = 0

    def packet(self, packet):
        self.count += 1
        self.capture.packet(IN, packet.header, packet.payload())


def read_all(sock, feed):
    def run():
        while data := sock.recv(1 << 18):
            feed(data)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def captured(image, tmp_path):
    """captured(script, policy): what a program prints; the capture is in guest.pcapng."""

    def captured(script, policy, snaplen=SNAPLEN):
        entries = {"main.py": script, "run": "exit", "capture": str(snaplen)}
        machine = Machine(image=image, fw_cfg={PREFIX + each: entries[each] for each in entries})
        passing = Passing(str(tmp_path / "guest.pcapng"))
        out, err = bytearray(), bytearray()
        with Guest(machine, DeviceHost(policy), program=True, captures=True) as guest:
            threads = [
                read_all(guest.capture, passing.feed),
                read_all(guest.io, out.extend),
                read_all(guest.err, err.extend),
            ]
            status = guest.wait(100)
            for thread in threads:
                thread.join(10)
        passing.close()
        assert status == 0, err.decode(errors="replace")
        return out.decode()

    return captured


def tshark(path, *fields):
    """What tshark says of each packet in a capture; it has nothing to complain of."""
    words = [word for field in fields for word in ("-e", field)]
    command = ["tshark", "-n", "-r", str(path), "-T", "fields", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    said = [line for line in done.stderr.splitlines() if "Running as user" not in line]
    assert said == []
    return [line.split("\t") for line in done.stdout.splitlines()]


def numbers(row):
    return [int(each, 0) for each in row]


def check(path, sent, flags):
    """A capture has exactly the packets that were sent, as tshark decodes them."""
    before = "vsock.op", "vsock.trans", "frame.cap_len", "frame.len", "frame.packet_flags"
    found = [numbers(row) for row in tshark(path, *before, *FIELDS)]
    for row, (header, n) in zip(found, sent, strict=True):
        fields = HEADER.unpack(bytes.fromhex(header))
        kind = KINDS.get(fields[6], 0)
        kept = 76 + min(n, SNAPLEN)
        assert row == [kind, 2, kept, 76 + n, flags, *fields]


def test_tshark_reads_of_10000_packets_what_was_sent(captured, tmp_path):
    policy = Watching(tmp_path / "device.pcapng")
    seed = random.SystemRandom().getrandbits(30)
    sent = [line.split() for line in captured(SENDER % (seed, COUNT), policy).splitlines()]
    sent = [(header, int(n)) for header, n in sent]
    assert len(sent) == COUNT
    policy.capture.close()
    assert policy.count == COUNT + 1
    first = (
        make(3, 0, 0, src_cid=33, dst_cid=2, buf_alloc=0).header.hex(),
        0,
    )  # the driver's own, to see
    for path, flags in (("guest.pcapng", 2), ("device.pcapng", 1)):  # out, in
        check(tmp_path / path, [first, *sent], flags)


CALLER = """
import socket
sock = socket.socket()
sock.connect((socket.VMADDR_CID_HOST, 5000))
sock.send(b"hello")
print(sock.recv(100))
"""


class Rude(Policy):
    """Answers a call, sends more than the guest takes, and after its own end once more."""

    def packet(self, packet):
        if packet.op == 1:
            for op, data, fields in [
                (2, b"", {}),
                (5, b"good day", {}),
                (4, b"", {"flags": 2}),
                (5, b"and", {}),
            ]:
                given = {"src_port": packet.dst_port, "dst_port": packet.src_port} | fields
                self.device.emit(op, given.pop("src_port"), given.pop("dst_port"), data, **given)


def test_a_trace_tells_who_breaks_the_standard(captured, tmp_path):
    assert captured(CALLER, Rude()) == "b'good day'\n"
    path, picture = tmp_path / "guest.pcapng", tmp_path / "a.svg"
    said = CliRunner().invoke(trace, ["--wrong", "--svg", str(picture), str(path)])
    assert said.exit_code == 1
    lines = said.stdout.splitlines()
    assert lines[0].startswith("#") and lines[0].endswith(" and 2:5000, stream")
    assert "RW 3" in lines[1] and "2:5000 sends no more" in lines[1]
    assert lines[2:] == [f"{'':13}✗ data after SHUTDOWN"]
    ElementTree.parse(picture)


assert OUT != IN
