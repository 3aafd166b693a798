# SPDX-License-Identifier: MIT
"""The blocks of a capture file, as the draft of pcapng and Linux's vsockmon.h have them."""

import io
import struct

import pytest
import vsock_bench
from hypothesis import example, given
from hypothesis import strategies as st

from mpfw.capture import IN, OUT
from mpfw.capture.reader import read
from mpfw.device.packets import make

blocks = vsock_bench.module("vsock.blocks")

ISB, IFRECV, IFDROP = 5, 4, 5  # the names and numbers of the draft
TIMES = st.integers(0, (1 << 62) - 1)
COUNTS = st.integers(0, (1 << 64) - 1)


def content(block):
    """What is in a block of that type and in no other."""
    kind, size = struct.unpack_from("<II", block)
    assert size == len(block) and size % 4 == 0
    assert struct.unpack("<I", block[-4:]) == (size,)
    return kind, block[8:-4]


@example(0x1234567_89ABCDEF, 1 << 40 | 2, 1 << 50 | 3)
@given(TIMES, COUNTS, COUNTS)
def test_the_last_block_says_when_and_how_many(when, received, dropped):
    kind, inside = content(blocks.end(when, received, dropped))
    assert kind == ISB
    wanted = struct.pack("<III", 0, when >> 32, when & 0xFFFFFFFF)
    for code, count in (IFRECV, received), (IFDROP, dropped):
        wanted += struct.pack("<HHQ", code, 8, count)
    assert inside == wanted + bytes(4)


@example(0x1234567_89ABCDEF, True, bytes(range(44)), b"abc", 2, 7)
@given(
    TIMES,
    st.booleans(),
    st.binary(max_size=44) | st.binary(min_size=44, max_size=44),
    st.binary(max_size=300),
    st.integers(0, 1 << 16),
    st.integers(0, 5),
)
def test_a_packet_is_read_as_it_was(when, inbound, header, payload, more, dropped):
    length = len(payload) + more
    before, behind = blocks.packet(when, inbound, header, payload, length, dropped)
    content(before + payload + behind)
    file = io.BytesIO(blocks.begin(300, "test", "vsock") + before + payload + behind)
    [found] = read(file)
    assert (found.when_ns, found.direction) == (when, IN if inbound else OUT)
    assert (found.header, found.payload) == (header, payload)
    assert (found.length, found.dropped) == (length, dropped)


def test_a_file_says_who_wrote_it_and_how_much_of_a_packet_it_has():
    section = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
    section += struct.pack("<HH8s", 4, 7, b"program") + bytes(4)
    interface = struct.pack("<HHI", 271, 0, 32 + 44 + 100)
    interface += struct.pack("<HH8s", 2, 5, b"place") + struct.pack("<HHB3x", 9, 1, 9) + bytes(4)
    begin = blocks.begin(100, "program", "place")
    size = len(section) + 12
    assert content(begin[:size]) == (0x0A0D0D0A, section)
    assert content(begin[size:]) == (1, interface)


@pytest.mark.parametrize("op, kind", [*enumerate([0, 1, 1, 2, 2, 4, 3, 3, 0, 0])])
def test_every_operation_has_the_monitors_name_of_it(op, kind):
    """REQUEST and RESPONSE connect, RST and SHUTDOWN disconnect, RW is payload, credit control."""
    packet = make(op, 0x01020304, 0x05060708, dst_cid=0x1122334455667788)
    said = struct.unpack("<QQIIHHHH", blocks.monitor_header(bytes(packet.header)))
    assert said == (2, 0x1122334455667788, 0x01020304, 0x05060708, kind, 2, 44, 0)
