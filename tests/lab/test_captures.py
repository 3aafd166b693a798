# SPDX-License-Identifier: MIT
"""The same conversation, as the guest captures it and as Linux's vsockmon does: they agree."""

import io
import socket
import subprocess
import time
from collections import Counter

import pytest
from prelude import accept, pattern, receive_all
from sides import GuestSide, HostSide

from mpfw.capture import OUT, CaptureError
from mpfw.capture.reader import Record, read
from mpfw.guest.driven import AGENT
from mpfw.guest.machine import Machine
from mpfw.trace.tracer import Tracer

PORT = 5300
DUMP = "/tmp/dump.pcapng"
GUESTS = "/guest.pcapng"


def echo_once(port):
    sock = accept(port)
    sock.sendall(receive_all(sock))
    sock.close()


def talk(port, file):
    import vsock

    with open(file, "wb") as to, vsock.capture(to, snaplen=65536, room=1 << 20) as capture:
        sock = socket.socket()
        sock.connect((2, port))
        sock.sendall(pattern(100_000))
        sock.shutdown(socket.SHUT_WR)
        length = len(receive_all(sock))
        sock.close()
        time.sleep(1)  # until the last RST has come
    return length, capture.dropped


@pytest.fixture
def dump(lab):
    """Linux's vsockmon, written to a capture."""
    process = lab.lab.spawn(["vsockdump", "-w", DUMP])
    deadline = time.monotonic() + 20
    while not lab.lab.run(["cat", DUMP], check=False).out:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    yield lambda: lab.lab.run(["cat", DUMP]).out
    process.terminate()
    process.close()


def whole(data: bytes) -> list[Record]:
    """Those of a capture that may end in the middle: it is still written."""
    found = []
    try:
        for each in read(io.BytesIO(data)):
            found.append(each)
    except CaptureError:
        pass
    return found


def ours(records: list[Record]) -> list[Record]:
    """Those to and from the port."""
    ports = PORT.to_bytes(4, "little")
    return [each for each in records if ports in (each.header[16:20], each.header[20:24])]


def test_vsockmon_and_the_guest_agree(lab, image, dump, tmp_path):
    with lab.guest(Machine(image=image), drive=AGENT) as guest:
        host = HostSide(lab).start(echo_once, PORT)
        assert GuestSide(guest).call(talk, PORT, GUESTS) == (100_000, 0)
        host.result()
        inside = guest.files.get(GUESTS)
    mine = ours(list(read(io.BytesIO(inside))))
    deadline = time.monotonic() + 20  # the last packets may not be written yet
    while len(theirs := ours(whole(outside := dump()))) < len(mine):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for way in (True, False):
        seen = [
            [(each.monitor, each.header, each.payload) for each in records]
            for records in (
                [each for each in mine if (each.direction == OUT) == way],
                [each for each in theirs if (each.header[:1] == b"\x21") == way],
            )
        ]
        assert seen[0] == seen[1] and len(seen[0]) >= 3
    assert sum(each.length for each in theirs) == 200_000
    for records in (mine, theirs):
        marks = Counter(mark for _, step in Tracer().steps(records) for mark in step.wrong)
        assert not marks
    for name, data in (("inside", inside), ("outside", outside)):
        (tmp_path / name).write_bytes(data)
        command = ["tshark", "-n", "-r", tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        said = [line for line in done.stderr.splitlines() if "Running as user" not in line]
        assert said == [] and "Malformed" not in done.stdout
