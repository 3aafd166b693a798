# SPDX-License-Identifier: MIT
"""Calls of sockets as Linux answers them: flags, time-outs, messages, how a connect can go on.

What is claimed here was measured with the scripts of tests/differential/scenarios.
"""

import errno
import struct

import pytest
import vsock_bench
from road import SOCKETS, Road, general, numbers
from road_model import SEQPACKET, SIZE, STREAM, Packet, w

PEER = (2, 5000, 1234)
DONTWAIT, WAITALL, PEEK = numbers.MSG_DONTWAIT, numbers.MSG_WAITALL, numbers.MSG_PEEK
READ, WRITE = numbers.POLL_READ, numbers.POLL_WRITE
types = vsock_bench.module("sockets.types")


@pytest.fixture
def road(engine):
    return Road(engine)


@pytest.fixture
def stream(road):
    """An accepted socket whose peer sends nothing by itself; it waits for ever."""
    name = road.open(1234, 5000)
    road.engine.clock.looks_take(100)
    return name


def comes(road, data, port=1234, flags=0):
    kind = STREAM if port == 1234 else SEQPACKET
    road.send(Packet((2, 5000, port), w.OP_RW, kind, flags, SIZE, 0, data))


def set_us(road, name, option, us):
    value = struct.pack("<qq", *divmod(us, 1000000))
    road.engine.call(f"{name}.setsockopt", general.SOL_SOCKET, option, value)


def failing(road, path, *arguments):
    """The errno that a call fails with."""
    value, error = road.engine.attempt(path, *arguments)
    assert value is None
    return error


def test_a_receive_timeout_ends_with_eagain_and_with_what_came(road, stream):
    road.engine.call(f"{stream}.settimeout", None)
    set_us(road, stream, general.SO_RCVTIMEO, 8000)
    assert failing(road, f"{stream}.recv", 5) == errno.EAGAIN
    comes(road, b"abc")
    assert road.engine.call(f"{stream}.recv", 5, WAITALL) == b"abc"


def test_a_timeout_of_the_socket_is_no_receive_timeout(road, stream):
    set_us(road, stream, general.SO_RCVTIMEO, 8000)
    road.engine.call(f"{stream}.settimeout", 0.02)
    assert failing(road, f"{stream}.recv", 5) == errno.ETIMEDOUT
    assert failing(road, f"{stream}.recv", 5, DONTWAIT) == errno.ETIMEDOUT
    road.engine.call(f"{stream}.settimeout", None)
    assert failing(road, f"{stream}.recv", 5, DONTWAIT) == errno.EAGAIN


def test_a_send_timeout_ends_with_what_went_out_then_with_eagain(road, stream):
    road.engine.call(f"{stream}.settimeout", None)
    set_us(road, stream, general.SO_SNDTIMEO, 8000)
    data = bytes(SIZE + 1)
    assert road.engine.call(f"{stream}.send", data) == SIZE
    assert failing(road, f"{stream}.send", b"x") == errno.EAGAIN
    assert failing(road, f"{stream}.sendall", b"x") == errno.EAGAIN


def test_with_a_timeout_send_gives_what_there_was_room_for(road, stream):
    road.engine.call(f"{stream}.settimeout", 0.02)
    assert road.engine.call(f"{stream}.send", bytes(SIZE + 1)) == SIZE
    assert failing(road, f"{stream}.send", b"x") == errno.ETIMEDOUT


def test_below_the_mark_nothing_polls_but_who_does_not_wait_gets_it(road, stream):
    road.engine.call(f"{stream}.setsockopt", general.SOL_SOCKET, general.SO_RCVLOWAT, 10)
    comes(road, b"abc")
    assert road.engine.call(f"{stream}.ioctl", 3, 0x3FF) == WRITE
    assert road.engine.call(f"{stream}.recv", 9, PEEK) == b"abc"
    assert road.engine.call(f"{stream}.recv", 9) == b"abc"
    road.engine.host.collect(True)  # below the mark the peer hears of what was read
    comes(road, bytes(10))
    assert road.engine.call(f"{stream}.ioctl", 3, 0x3FF) == READ | WRITE


def test_the_mark_counts_for_messages_too(road):
    name = road.open(1235, 5000)
    road.engine.call(f"{name}.setsockopt", general.SOL_SOCKET, general.SO_RCVLOWAT, 10)
    comes(road, b"abc", 1235, w.SEQ_EOM)
    assert road.engine.call(f"{name}.ioctl", 3, READ) == 0
    assert road.engine.call(f"{name}.recv", 9) == b"abc"


def test_all_of_what_the_buffer_could_hold_is_too_much_to_wait_for(road, stream):
    comes(road, b"abc")
    assert failing(road, f"{stream}.recv", SIZE, WAITALL) == errno.ENOMEM
    assert road.engine.call(f"{stream}.recv", SIZE - 1, WAITALL) == b"abc"


def test_a_mark_beyond_the_buffer_is_refused(road, stream):
    call = f"{stream}.setsockopt", general.SOL_SOCKET, general.SO_RCVLOWAT
    assert failing(road, *call, SIZE + 1) == errno.EINVAL
    assert failing(road, *call, -1) == errno.EINVAL


def test_nothing_is_received_in_any_state(road, stream):
    assert road.engine.call(f"{stream}.recv", 0) == b""
    road.engine.program.socket("~fresh", 1)
    assert road.engine.call("~fresh.recv", 0) == b""
    assert failing(road, "~fresh.recvmsg", 0) == errno.ENOTCONN


def test_flags_that_streams_do_not_have(road, stream):
    assert failing(road, f"{stream}.recv", 5, numbers.MSG_OOB) == errno.EOPNOTSUPP
    assert failing(road, f"{stream}.send", b"x", numbers.MSG_OOB) == errno.EOPNOTSUPP
    assert failing(road, f"{stream}.recv", 5, numbers.MSG_ERRQUEUE) == errno.EAGAIN
    road.engine.program.socket("~fresh", 1)
    assert failing(road, "~fresh.send", b"x", numbers.MSG_OOB) == errno.EOPNOTSUPP
    assert failing(road, "~fresh.recv", 5, numbers.MSG_ERRQUEUE) == errno.EAGAIN


def test_an_address_is_refused_where_there_is_a_connection_and_where_there_is_none(road, stream):
    for call in "sendto", "sendmsg":
        arguments = [b"x", (2, 1)] if call == "sendto" else [[b"x"], [], 0, (2, 1)]
        assert failing(road, f"{stream}.{call}", *arguments) == errno.EISCONN
        name = f"~{call}"
        road.engine.program.socket(name, 1)
        assert failing(road, f"{name}.{call}", *arguments) == errno.EOPNOTSUPP


def test_a_message_tells_that_it_was_cut_and_that_a_record_ends(road):
    name = road.open(1235, 5000)
    comes(road, b"0123456789", 1235, w.SEQ_EOM | w.SEQ_EOR)
    comes(road, b"abc", 1235, w.SEQ_EOM)
    call = road.engine.call
    cut, end = numbers.MSG_TRUNC, numbers.MSG_EOR
    assert list(call(f"{name}.recvmsg", 0)) == [b"", [], 0, None]
    assert list(call(f"{name}.recvmsg", 4, 0, PEEK)) == [b"0123", [], cut | end, None]
    assert list(call(f"{name}.recvmsg", 10)) == [b"0123456789", [], end, None]
    assert list(call(f"{name}.recvmsg", 10)) == [b"abc", [], 0, None]


def test_several_buffers_are_one_message(road):
    name = road.open(1235, 5000)
    assert road.engine.call(f"{name}.sendmsg", [b"ab", b"", b"c"]) == 3
    [(_, header, payload, _)] = road.engine.host.collect(True)
    assert payload == b"abc" and header[w.FLAGS] == w.SEQ_EOM


def test_after_shutdown_of_a_failed_connect_there_is_no_other(road):
    name = road.connect()
    road.send(Packet((2, 6000, road.serial + 2000), w.OP_RST, STREAM, alloc=0))
    road.engine.program.socket("~s", 1)
    engine = road.engine
    assert engine.attempt("~s.settimeout", 0) == [None, None]
    assert engine.call("~s.connect_ex", [2, 6001]) == errno.EINPROGRESS
    assert failing(road, "~s.connect", [2, 6001]) == errno.EALREADY
    assert engine.attempt("~s.shutdown", 2) == [None, None]
    assert failing(road, "~s.connect", [2, 6001]) == errno.EINVAL
    assert name not in road.names


def test_types_flags_and_protocols(engine):
    def refusal(number, proto=0):
        with pytest.raises(OSError) as caught:
            types.of(number, proto)
        return caught.value.errno

    assert types.of(SOCKETS[SEQPACKET] | types.SOCK_CLOEXEC, 40).number == 5
    assert refusal(1, 1) == refusal(3, 1) == errno.EPROTONOSUPPORT
    assert types.of(2, 40).feature == w.F_DGRAM
    assert refusal(3) == refusal(0) == refusal(10) == errno.ESOCKTNOSUPPORT
    assert refusal(11) == refusal(1 | 0x1000) == refusal(0x11) == errno.EINVAL
