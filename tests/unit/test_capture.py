# SPDX-License-Identifier: MIT
"""Capture files: what is written is what is read; files of a size, pipes, disks that are full."""

import io
import os
import struct
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpfw.capture import IN, OUT, Capture, CaptureError
from mpfw.capture.reader import read
from mpfw.capture.sinks import FileSink, open_sink
from mpfw.capture.writer import Passing
from mpfw.device.firmware import module
from mpfw.device.packets import make

blocks = module("vsock.blocks")


def records(path):
    with open(path, "rb") as file:
        return list(read(file))


def header(op=5, n=0, port=1000):
    packet = make(op, port, 2000, bytes(n))
    return bytes(packet.header)


packets = st.tuples(
    st.sampled_from([IN, OUT]),
    st.binary(max_size=44) | st.binary(min_size=44, max_size=44),
    st.binary(max_size=300),
    st.integers(0, (1 << 62) - 1),
)


@given(st.lists(packets, max_size=20), st.integers(0, 300))
def test_what_is_written_is_read(tmp_path_factory, sent, snaplen):
    path = tmp_path_factory.mktemp("capture") / "a.pcapng"
    with Capture(str(path), snaplen) as capture:
        for direction, head, payload, when in sent:
            capture.packet(direction, head, memoryview(payload), when)
    found = [(r.direction, r.header, r.payload, r.length, r.when_ns) for r in records(path)]
    assert found == [
        (direction, head, payload[:snaplen], len(payload), when)
        for direction, head, payload, when in sent
    ]


def test_what_was_lost_is_told_with_the_next_packet():
    before, behind = blocks.packet(1, True, header(), b"abc", 3, 7)
    file = io.BytesIO(blocks.begin(100, "test", "vsock") + before + b"abc" + behind)
    assert [(r.dropped, r.payload) for r in read(file)] == [(7, b"abc")]


def test_options_end_as_the_format_has_it():
    """opt_endofopt, which readers may do without."""
    _, behind = blocks.packet(1, True, header(), b"abcd", 4, 7)
    assert behind[-8:-4] == bytes(4)
    assert struct.unpack("<HH", behind[-20:-16]) == (4, 8)  # epb_dropcount before it


def test_a_file_that_is_full_goes_on_in_the_next(tmp_path):
    path = tmp_path / "a.pcapng"
    with Capture(str(path), limit=1000, keep=3) as capture:
        for i in range(40):
            capture.packet(OUT, header(n=0, port=i))
    names = sorted(each.name for each in tmp_path.iterdir())
    assert len(names) == 3 and "a.pcapng" not in names
    assert all((tmp_path / name).stat().st_size <= 1000 for name in names)
    found = [r for each in sorted(tmp_path.iterdir()) for r in records(each)]
    ports = [struct.unpack_from("<I", r.header, 16)[0] for r in found]
    assert ports == list(range(40 - len(ports), 40))


def test_a_full_disk_ends_the_capture_and_is_said_once():
    said: list[str] = []
    with Capture("/dev/full", complain=said.append) as capture:
        for _ in range(3):
            capture.packet(IN, header())
    assert said == ["the capture has stopped: /dev/full: No space left on device"]


def test_of_a_block_that_found_no_room_nothing_stays(tmp_path, monkeypatch):
    """A disk that takes a part and then no more leaves a file that can be read."""
    path = tmp_path / "a.pcapng"
    sink = FileSink(path)
    sink.head = blocks.begin(0, "test", "vsock")
    before, behind = blocks.packet(1, True, header(), b"", 0, 0)
    sink.put([before, behind])
    real = os.writev
    monkeypatch.setattr(os, "writev", lambda number, parts: real(number, [parts[0][:50]]))

    def full(number, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(CaptureError, match="a.pcapng: No space left on device"):
        sink.put([before, behind])
    assert len(records(path)) == 1


def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path):
    with pytest.raises(CaptureError, match="a.pcapng: No such file or directory"):
        Capture(str(tmp_path / "nowhere" / "a.pcapng"))


PIPED = """
import sys, time
from mpfw.capture import Capture, OUT
capture = Capture("-", complain=lambda why: print(why, file=sys.stderr))
count, pause = int(sys.argv[1]), float(sys.argv[2])
start = time.monotonic()
for i in range(count):
    capture.packet(OUT, bytes(44), bytes(1000))
    time.sleep(pause)
print(capture.dropped, time.monotonic() - start, file=sys.stderr, flush=True)
capture.close()
"""


def piped(count, pause=0.0):
    command = [sys.executable, "-c", PIPED, str(count), str(pause)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe)


def test_a_pipe_shows_packets_as_they_come():
    with piped(3, 0.5) as process:
        reader = read(process.stdout)
        start = time.monotonic()
        next(reader)
        first = time.monotonic() - start
        assert len(list(reader)) == 2
        assert time.monotonic() - start > first + 0.5
    assert process.returncode == 0


def test_a_reader_that_stops_holds_nobody_up():
    """What it does not take is dropped and counted."""
    with piped(20000) as process:
        said = process.stderr.readline().split()
        dropped, seconds = int(said[0]), float(said[1])
        assert dropped > 5000
        assert seconds < 60
        found = list(read(process.stdout))
    assert len(found) == 20000 - dropped


def test_a_reader_that_goes_ends_the_capture():
    with piped(200, 0.01) as process:
        process.stdout.close()
        said = process.stderr.read().decode().splitlines()
    assert said[0] == "the capture has stopped: standard output: its reader has gone"
    assert len(said) == 2


def whole(order, resolution, count=2):
    """A pcapng file by somebody else: of that byte order, with options that we never write."""

    def block(kind, content):
        size = len(content) + 12
        return struct.pack(order + "II", kind, size) + content + struct.pack(order + "I", size)

    record = blocks.monitor_header(header()) + header() + b"abcde"
    resolved = struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)
    packet = struct.pack(order + "5I", 0, 1, 2, len(record), len(record) + 5) + record + bytes(3)
    unknown = block(0x0BAD, b"what")
    return (
        block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
        + unknown
        + block(1, struct.pack(order + "HHI", 271, 0, 0) + resolved)
        + unknown
        + block(6, packet) * count
    )


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("resolution", "tick"), [(6, 1000), (9, 1), (3, 1000000)])
def test_others_captures_are_read(order, resolution, tick):
    found = list(read(io.BytesIO(whole(order, resolution))))
    assert [(r.when_ns, r.payload, r.length) for r in found] == [
        (((1 << 32) + 2) * tick, b"abcde", 10)
    ] * 2


@pytest.mark.parametrize("order", ["<", ">"])
def test_tcpdumps_old_format_is_read(order):
    record = blocks.monitor_header(header()) + header() + b"ab"
    file = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 271)
    file += struct.pack(order + "4I", 5, 6, len(record), len(record)) + record
    assert [(r.when_ns, r.payload) for r in read(io.BytesIO(file))] == [(5_000_006_000, b"ab")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "neither pcapng nor pcap"),
        (b"PK\3\4" + bytes(40), "neither pcapng nor pcap"),
        (whole("<", 9)[:-7], "ends within a packet"),
        (whole("<", 9)[:28] + struct.pack("<II", 6, 13), "a block of 13 bytes"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 9, 1), "its link type is 1"),
    ],
)
def test_what_is_no_capture_is_a_sentence(data, says):
    with pytest.raises(CaptureError, match=says):
        list(read(io.BytesIO(data)))


def test_a_guests_blocks_go_through_however_they_are_cut(tmp_path):
    path = tmp_path / "a.pcapng"
    passing = Passing(str(path))
    data = whole("<", 9, 5)
    for i in range(0, len(data), 7):
        passing.feed(data[i : i + 7])
    passing.close()
    assert path.read_bytes() == data


def test_a_guest_that_sends_no_blocks_is_not_listened_to(tmp_path):
    said: list[str] = []
    passing = Passing(str(tmp_path / "a.pcapng"), said.append)
    passing.feed(b"\xff" * 100)
    passing.feed(b"\xff" * 100)
    passing.close()
    assert said == ["the capture has stopped: what the guest sends is no capture"]


def test_a_capture_goes_to_a_fifo_that_is_there(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with subprocess.Popen(["cat", str(path)], stdout=subprocess.PIPE) as cat:
        sink = open_sink(str(path))
        sink.head = b"head"
        sink.put([b"block"])
        sink.close(b"tail")
        assert cat.stdout is not None
        assert cat.stdout.read() == b"headblocktail"
