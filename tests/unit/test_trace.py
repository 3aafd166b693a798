# SPDX-License-Identifier: MIT
"""`mpfw trace`: states and credit as they are told, and what is said to break the standard."""

import random
from collections import deque
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mpfw.capture import IN, OUT, Capture
from mpfw.capture.reader import Record
from mpfw.device.firmware import vsock as w
from mpfw.device.packets import Packet
from mpfw.trace.cli import trace
from mpfw.trace.tracer import Tracer

GUEST = {"src_cid": 33, "dst_cid": 2, "src_port": 1024, "dst_port": 1234}
HOST = {"src_cid": 2, "dst_cid": 33, "src_port": 1234, "dst_port": 1024}
REQUEST, RESPONSE, RST, SHUTDOWN, RW, UPDATE, ASK = range(1, 8)


class Wire:
    """Packets as a capture in the guest has them, and what the trace makes of them."""

    def __init__(self):
        self.records: list[Record] = []

    def packet(self, way, op, n=0, cut=None, dropped=0, direction=None, **fields):
        usual = {"buf_alloc": 1000} | (GUEST if way == OUT else HOST)
        packet = Packet(bytes(n), op=op, **usual | fields)
        way = way if direction is None else direction
        length = n if cut is None else cut
        when = 10**18 + 1000 * len(self.records)
        self.records.append(Record(when, way, bytes(packet.header), b"", length, dropped, b""))
        return self

    def out(self, op, n=0, **fields):
        return self.packet(OUT, op, n, **fields)

    def come(self, op, n=0, **fields):
        return self.packet(IN, op, n, **fields)

    def open(self):
        return self.out(REQUEST).come(RESPONSE)

    def steps(self):
        return [step for _, step in Tracer().steps(self.records)]

    def wrong(self):
        return [each for step in self.steps() for each in step.wrong]


def test_states_of_both_ends():
    wire = Wire().open().out(RW, 5).out(SHUTDOWN, flags=2).come(SHUTDOWN, flags=1)
    wire.come(SHUTDOWN, flags=2).come(RST).out(REQUEST)
    assert [step.states for step in wire.steps()] == [
        ("calling", "called"),
        ("open", "open"),
        ("open", "open"),
        ("sends no more", "open"),
        ("sends no more", "takes no more"),
        ("sends no more", "shut"),
        ("closed", "closed"),
        ("calling", "called"),
    ]
    assert [step.number for step in wire.steps()] == [1] * 7 + [2]


def test_credit_in_words():
    wire = Wire().open().out(RW, 300, buf_alloc=262144).come(UPDATE, fwd_cnt=100).out(RW, 700)
    wire.come(ASK, buf_alloc=2000, fwd_cnt=100).out(RW, 1)
    assert [step.credit for step in wire.steps()] == [
        "peer may send 1,000 more",
        "peer may send 1,000 more",
        "peer may send 262,144 more, it 700",
        "peer may send 800 more",
        "peer may send 1,000 more, it 100",
        "peer may send 1,100 more",
        "peer may send 1,000 more, it 1,099",
    ]


def test_datagrams_have_neither_state_nor_credit_and_ports_of_their_own():
    dgram = {"type": w.TYPE_DGRAM, "buf_alloc": 0}
    wire = Wire().out(REQUEST).out(RW, 70_000, **dgram).come(RESPONSE).come(RW, 5, **dgram)
    wire.out(RW, 1, **dgram, flags=1).out(ASK, **dgram).out(SHUTDOWN, flags=1)
    steps = wire.steps()
    assert [step.number for step in steps] == [1, 2, 1, 2, 2, 2, 1]
    assert all(step.states == ("", "") and not step.credit for step in steps if step.number == 2)
    assert steps[-1].states == ("takes no more", "open")
    assert wire.wrong() == ["a datagram with another op than RW, or with flags"] * 2


def test_a_capture_that_begins_in_the_middle_knows_windows_only():
    wire = Wire().out(RW, 5000, buf_alloc=3000).come(UPDATE, fwd_cnt=77777)
    assert [step.credit for step in wire.steps()] == ["window 3,000", "window 1,000"]
    assert [step.states for step in wire.steps()] == [("open", "open")] * 2
    assert wire.wrong() == []


def test_after_lost_packets_nobody_is_accused():
    wire = Wire().open().out(RW, 2000, dropped=3).come(UPDATE, fwd_cnt=5000)
    assert wire.wrong() == []
    assert [step.lost for step in wire.steps()] == [0, 0, 3, 0]


WRONG = [
    (lambda v: v.open().out(RW, 1000), []),
    (lambda v: v.open().out(RW, 1001), ["1 bytes more than its credit"]),
    (lambda v: v.open().out(RW, 1000).come(UPDATE, fwd_cnt=1000).out(RW, 1000), []),
    (lambda v: v.open().come(RW, 1000).come(RW, 1), ["1 bytes more than its credit"]),
    # A window that shrank: the sender may not have known.
    (lambda v: v.open().come(UPDATE, buf_alloc=10).out(RW, 1000), []),
    (lambda v: v.open().come(UPDATE, fwd_cnt=1), ["fwd_cnt counts 1 bytes that nobody sent"]),
    (lambda v: v.open().out(SHUTDOWN, flags=2).out(RW, 1), ["data after SHUTDOWN"]),
    (lambda v: v.open().out(SHUTDOWN, flags=1).out(RW, 1), []),
    (lambda v: v.open().out(SHUTDOWN, flags=1).come(RW, 1), []),  # they may have crossed
    (lambda v: v.out(REQUEST).out(RW, 1), ["data before the connection is open"]),
    (lambda v: v.open().come(RST).out(RST), ["RST answered by RST"]),
    (lambda v: v.open().out(RST).come(RST), []),  # they may have crossed
    (lambda v: v.open().come(RST).out(REQUEST).out(RST), []),
    (lambda v: v.open().come(RST).out(RST, direction=""), []),
    (lambda v: v.open().out(RST).come(RST, direction=""), ["RST answered by RST"]),
    (lambda v: v.open().out(0), ["unknown op 0"]),
    (lambda v: v.open().out(8), ["unknown op 8"]),
    (lambda v: v.open().out(UPDATE, type=4), ["unknown type 4"]),
    (lambda v: v.open().out(UPDATE, type=2), []),
    (lambda v: v.open().out(RW, 5, cut=4), ["len says 5 bytes, 4 came"]),
    (lambda v: v.open().out(UPDATE, 5), ["data with an op that has none"]),
    (lambda v: v.out(REQUEST, src_cid=1 << 32), ["a CID of more than 32 bits"]),
    (lambda v: v.open().out(SHUTDOWN), ["SHUTDOWN with flags 0"]),
    (lambda v: v.open().out(SHUTDOWN, flags=4), ["SHUTDOWN with flags 4"]),
]


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_what_breaks_the_standard_is_marked(number):
    make, said = WRONG[number]
    assert make(Wire()).wrong() == said


def test_counters_wrap():
    """Beyond four GiB the sums are the same."""
    wire, step = Wire().out(REQUEST).come(RESPONSE, buf_alloc=1 << 30), 1 << 30
    for i in range(1, 6):
        wire.out(RW, 0, len=step, cut=step)
        wire.come(UPDATE, buf_alloc=step, fwd_cnt=i * step % (1 << 32))
    assert wire.wrong() == []
    wire.out(RW, 0, len=step, cut=step).out(RW, 1)
    assert wire.wrong() == ["1 bytes more than its credit"]


class Honest:
    """An end that keeps all rules, with what it knows when it knows it."""

    def __init__(self, alloc):
        self.alloc = alloc
        self.sent = self.received = self.read = 0
        self.peer_alloc = self.peer_read = 0

    def header(self):
        return {"buf_alloc": self.alloc, "fwd_cnt": self.read % (1 << 32)}

    def hear(self, op, n, fields):
        self.peer_alloc, self.peer_read = fields["buf_alloc"], fields["fwd_cnt"]
        self.received += n


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 5000), st.integers(1, 5000))
def test_honest_ends_are_never_accused(seed, here, there):
    """Packets are under way for any time, and the capture sees them at one end."""
    rng = random.Random(seed)
    wire = Wire()
    ends = {OUT: Honest(here), IN: Honest(there)}
    wire.out(REQUEST, **ends[OUT].header()).come(RESPONSE, **ends[IN].header())
    ends[OUT].hear(RESPONSE, 0, ends[IN].header())
    ends[IN].hear(REQUEST, 0, ends[OUT].header())
    under_way: dict[str, deque] = {OUT: deque(), IN: deque()}
    for _ in range(200):
        way = rng.choice((OUT, IN))
        end, queue = ends[way], under_way[way]
        action = rng.randrange(3)
        if action == 0:
            room = end.peer_alloc - (end.sent - end.peer_read)
            n = rng.randint(0, max(0, room))
            end.sent += n
            sent = (RW if n else UPDATE, n, end.header())
            queue.append(sent)
            if way == OUT:
                wire.out(sent[0], n, **sent[2])
        elif action == 1:
            end.read = rng.randint(end.read, end.received)
        elif queue:
            op, n, fields = queue.popleft()
            if way == IN:
                wire.come(op, n, **fields)
            ends[IN if way == OUT else OUT].hear(op, n, fields)
    assert wire.wrong() == []


# -- the command ----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.pcapng"
    with Capture(str(path)) as capture:
        for record in Wire().open().out(RW, 5).come(RST).out(RST).records:
            payload = bytes(record.length)
            capture.packet(record.direction, record.header, payload, record.when_ns)
        other = Packet(op=REQUEST, **GUEST | {"src_port": 7, "src_cid": 44})
        capture.packet(OUT, other.header, b"", 10**18 + 10**9)
    return path


def told(*words, **more):
    return CliRunner().invoke(trace, [str(word) for word in words], **more)


def test_a_ladder(file):
    lines = told(file).stdout.splitlines()
    assert lines[0] == "#1  33:1024 and 2:1234, stream"
    line = "33:1024 calling       ── REQUEST ────────────▶  2:1234 called"
    assert lines[1].split() == [
        "0.000000",
        "s",
        *line.split(),
        *"peer may send 1,000 more".split(),
    ]
    assert "◀──────────────── RST ──" in lines[4]
    assert lines[6].strip() == "✗ RST answered by RST"
    assert lines[7] == "#2  44:7 and 2:1234, stream"
    assert lines[8].startswith("   1.000000")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ((), 6),
        (("--port", 7), 1),
        (("--port", 7, "--port", 1024), 6),
        (("--cid", 33), 5),
        (("--op", "rst"), 2),
        (("--op", "RW", "--op", "REQUEST"), 3),
        (("--wrong",), 1),
    ],
)
def test_filters(file, words, count):
    result = told(*words, file)
    assert len([line for line in result.stdout.splitlines() if "──" in line]) == count
    assert result.exit_code == (1 if "--wrong" in words else 0)


def test_standard_input_and_several_files(file):
    twice = told(file, "-", input=file.read_bytes()).stdout.splitlines()
    assert [line.split()[0] for line in twice if line.startswith("#")] == ["#1", "#2", "#3", "#4"]


def test_a_picture(file, tmp_path):
    picture = tmp_path / "a.svg"
    told("--port", 1024, "--svg", picture, file)
    root = ElementTree.parse(picture).getroot()
    name = "{http://www.w3.org/2000/svg}"
    arrows = [one for one in root.iter(f"{name}path") if "arrow" in one.get("class", "")]
    assert len(arrows) == 5
    texts = [one.text for one in root.iter(f"{name}text")]
    assert {"RW 5", "33:1024", "calling", "RST answered by RST"} <= set(texts)
    assert "44:7" not in texts


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file or directory"),
        (b"hello", "this is no capture: neither pcapng nor pcap"),
    ],
)
def test_what_cannot_be_told_is_a_sentence(tmp_path, content, says):
    path = tmp_path / "a.pcapng"
    if content is not None:
        path.write_bytes(content)
    result = told(path)
    assert (result.exit_code, result.stderr) == (1, f"Error: {path}: {says}\n")


def test_a_picture_that_cannot_be_written_is_a_sentence(file, tmp_path):
    result = told("--svg", tmp_path / "nowhere" / "a.svg", file)
    assert result.exit_code == 1
    assert "No such file or directory" in result.stderr


def test_an_error_leaves_the_picture_that_was_there(tmp_path):
    picture = tmp_path / "a.svg"
    picture.write_text("of a better day")
    result = told("--svg", picture, tmp_path / "none")
    assert result.exit_code == 1
    assert picture.read_text() == "of a better day"


def test_a_packet_without_a_header_is_marked(tmp_path):
    path = tmp_path / "a.pcapng"
    with Capture(str(path)) as capture:
        capture.packet(OUT, b"short", b"", 10**18)
    result = told("--wrong", path)
    assert result.stdout.split("  ")[-1] == "a packet of 5 bytes: no header\n"
    assert result.exit_code == 1


def test_reading_begins_before_the_capture_ends(file):
    """A trace of what comes live: each packet is told at once."""
    tracer = Tracer()
    seen = []

    def coming():
        for record in Wire().open().records:
            yield record
            seen.append(record)

    for count, _ in enumerate(tracer.steps(coming())):
        assert len(seen) == count


assert w.OP_CREDIT_REQUEST == ASK
