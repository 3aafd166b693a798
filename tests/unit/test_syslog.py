# SPDX-License-Identifier: MIT
"""Messages of the log wait for peers: whatever those do, each comes once, in order, or counts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pci_machine import Machine, imported

LIMIT = 65536
START = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z


@pytest.fixture(scope="module")
def syslog():
    with imported(Machine({}), "apps.syslog") as module:
        yield module


class Peer:
    """Takes what it is sent and reads some of it."""

    def __init__(self, messages):
        self._messages = messages
        self._got = b""
        self._read = 0
        messages.again()

    def take(self, most):
        """Take up to so many bytes."""
        while most and (rest := self._messages.rest()) is not None:
            part = bytes(rest[:most])
            self._messages.sent(len(part))
            self._got += part
            most -= len(part)

    def read(self, most):
        """Read up to so many of the bytes taken, and say so."""
        self._read = min(self._read + most, len(self._got))
        self._messages.read(self._read)

    def whole(self):
        """The texts of the messages read whole."""
        return frames(self._got[: self._read])


def frames(data):
    """The texts of the messages that `data` begins with."""
    texts = []
    while found := re.match(rb"(\d+) ", data):
        end = found.end() + int(found[1])
        if len(data) < end:
            break
        texts.append(data[found.end() : end].partition(b" - - - ")[2].rstrip(b"\n"))
        data = data[end:]
    return texts


def line(number, length):
    return b"[1.000000] INFO test: %d %s" % (number, b"x" * length)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 300), st.sampled_from((0, 10, 400, 30_000))),
        st.tuples(st.just("take"), st.integers(1, 100_000)),
        st.tuples(st.just("read"), st.integers(1, 100_000)),
        st.tuples(st.just("hang up")),
        st.tuples(st.just("drop"), st.integers(1, 5)),
    ),
    max_size=60,
)


@given(STEPS)
def test_each_line_comes_once_and_in_order_or_is_counted(syslog, steps):
    messages = syslog.Messages("guest-33")
    peer, heard, count = Peer(messages), [], 0
    for step, *numbers in steps:
        if step == "add":
            for _ in range(numbers[0]):
                messages.add(line(count, numbers[1]), START)
                count += 1
        elif step == "take":
            peer.take(*numbers)
        elif step == "read":
            peer.read(*numbers)
        elif step == "drop":
            messages.drop(*numbers)
            count += numbers[0]
        else:
            heard += peer.whole()
            peer = Peer(messages)
        assert messages._size == sum(map(len, messages._waiting)) <= LIMIT
    for _ in range(3):  # a message that tells of dropped ones needs room first
        peer.take(1 << 30)
        peer.read(1 << 30)
    heard += peer.whole()
    total, last = 0, -1
    for text in heard:
        if found := re.fullmatch(rb"(\d+) lines of the log were dropped", text):
            total += int(found[1])
        else:
            number = int(text.split()[0])
            assert number > last
            total, last = total + 1, number
    assert total == count


def test_what_was_not_read_to_its_last_byte_is_sent_again(syslog):
    messages = syslog.Messages("guest-33")
    for number in range(3):
        messages.add(line(number, 10), START)
    for number in range(3):  # each peer reads one message, and the next but for a byte
        peer = Peer(messages)
        peer.take(1 << 20)
        assert [text.split()[0] for text in frames(peer._got)] == [
            b"%d" % n for n in range(number, 3)
        ]
        length = len(messages._waiting[0])
        peer.read(2 * length - 1)
    assert messages.rest() is None and not messages._waiting


@pytest.mark.parametrize(
    "level, priority",
    ((b"ERROR", 27), (b"WARNING", 28), (b"INFO", 30), (b"DEBUG", 31), (b"whatever", 29)),
)
def test_a_message(syslog, level, priority):
    messages = syslog.Messages("guest-33")
    messages.add(b"[12.345678] %s a.b: what: ever" % level, START)
    text = b"<%d>1 2023-11-14T22:13:32.345678Z guest-33 a.b - - - what: ever\n" % priority
    assert bytes(messages.rest()) == b"%d %s" % (len(text), text)


@pytest.mark.parametrize(
    "line, text",
    (
        (b"[0.000001] INFO a b: c", b"a_b - - - c"),
        (b"[0.000001] INFO : c", b"- - - - c"),
        (b"[0.000001] INFO " + b"w" * 60 + b": c", b"w" * 48 + b" - - - c"),
        (b"no line of ours", b"- - - - no line of ours"),
        (b"[x.y] INFO a: b", b"- - - - [x.y] INFO a: b"),
        (b"", b"- - - - "),
    ),
)
def test_lines_of_any_form_are_messages(syslog, line, text):
    messages = syslog.Messages("guest-33")
    messages.add(line, START)
    assert bytes(messages.rest()).endswith(b"Z guest-33 " + text + b"\n")


@given(st.binary(max_size=60))
def test_no_line_breaks_it(syslog, line):
    messages = syslog.Messages("guest-33")
    messages.add(line.replace(b"\n", b""), START)
    assert len(frames(bytes(messages.rest()))) == 1


def test_it_is_time_to_ask_once_half_of_the_room_is_taken(syslog):
    messages = syslog.Messages("guest-33")
    while not messages.half_full():
        messages.add(line(0, 1000), START)
    assert LIMIT // 2 < messages._size < LIMIT // 2 + 1200
