# SPDX-License-Identifier: MIT
"""Socket options as integers and as packed bytes, on a socket that has no connection."""

import errno
import struct

import pytest
import vsock_bench

options = vsock_bench.module("sockets.options")
general = vsock_bench.module("sockets.general")
numbers = vsock_bench.module("sockets.numbers")

SIZE = options.SO_VM_SOCKETS_BUFFER_SIZE
LEAST = options.SO_VM_SOCKETS_BUFFER_MIN_SIZE
MOST = options.SO_VM_SOCKETS_BUFFER_MAX_SIZE


class Socket:
    """What the options know of a socket."""

    connection = None

    def __init__(self):
        self.options = options.Options()


@pytest.fixture
def vsock():
    """(set, get) of a socket's AF_VSOCK options."""
    sock = Socket()

    def set_option(name, value):
        options.set_option(sock, numbers.AF_VSOCK, name, value)

    def get_option(name, buflen=0):
        return options.get_option(sock, numbers.AF_VSOCK, name, buflen)

    return set_option, get_option


@pytest.mark.parametrize("value", [65536, (5 << 64) + 65536, struct.pack("<Q", 65536)])
def test_a_size_is_64_bits_of_an_integer_or_8_bytes(vsock, value):
    set_option, get_option = vsock
    set_option(SIZE, value)
    assert get_option(SIZE) == 65536
    assert get_option(SIZE, 8) == struct.pack("<Q", 65536)


@pytest.mark.parametrize("name", [LEAST, MOST])
def test_a_negative_integer_is_its_two_complement(vsock, name):
    set_option, get_option = vsock
    set_option(name, -2)
    assert get_option(name) == (1 << 64) - 2


def test_a_size_that_no_packet_can_tell_is_the_largest_that_one_can(vsock):
    set_option, get_option = vsock
    set_option(MOST, -1)
    set_option(SIZE, 1 << 40)
    assert get_option(SIZE) == (1 << 32) - 1


def test_a_struct_is_no_integer(vsock):
    set_option, get_option = vsock
    for call in (
        lambda: set_option(options.SO_VM_SOCKETS_CONNECT_TIMEOUT, 2),
        lambda: get_option(options.SO_VM_SOCKETS_CONNECT_TIMEOUT),
    ):
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.args == (errno.EINVAL,)


def test_fewer_than_8_bytes_are_no_size(vsock):
    with pytest.raises(OSError) as caught:
        vsock[0](SIZE, b"1234567")
    assert caught.value.args == (errno.EINVAL,)


@pytest.fixture
def general_option():
    """(set, get) of a socket's SOL_SOCKET options."""
    sock = Socket()

    def set_option(name, value):
        options.set_option(sock, general.SOL_SOCKET, name, value)

    def get_option(name, buflen=0):
        return options.get_option(sock, general.SOL_SOCKET, name, buflen)

    return set_option, get_option


def refused(call, *arguments):
    with pytest.raises(OSError) as caught:
        call(*arguments)
    return caught.value.errno


def test_a_flag_is_0_or_1_and_has_four_bytes(general_option):
    set_option, get_option = general_option
    for value, wanted in (5, 1), (0, 0), (-1, 1), (b"\2\0\0\0more", 1):
        set_option(general.SO_KEEPALIVE, value)
        assert get_option(general.SO_KEEPALIVE) == wanted
        assert get_option(general.SO_KEEPALIVE, 2) == bytes([wanted, 0])
        assert get_option(general.SO_KEEPALIVE, 9) == bytes([wanted, 0, 0, 0])
    assert refused(set_option, general.SO_KEEPALIVE, b"\1\0\0") == errno.EINVAL


def test_a_number_is_32_bits_without_a_sign(general_option):
    set_option, get_option = general_option
    set_option(general.SO_PRIORITY, -1)
    assert get_option(general.SO_PRIORITY) == (1 << 32) - 1


@pytest.mark.parametrize(("name", "least"), [("SO_SNDBUF", 4608), ("SO_RCVBUF", 2304)])
def test_a_buffer_is_doubled_and_kept_within_bounds(general_option, name, least):
    set_option, get_option = general_option
    number = getattr(general, name)
    assert get_option(number) == 212992
    for value, wanted in (0, least), (3000, 6000), (1 << 20, 425984), (-1, 425984):
        set_option(number, value)
        assert get_option(number) == wanted


def test_linger_keeps_its_seconds_while_it_is_on(general_option):
    set_option, get_option = general_option
    assert get_option(general.SO_LINGER, 8) == bytes(8)
    for on, seconds, wanted in (7, 5, (1, 5)), (0, 9, (0, 5)), (1, 0, (1, 0)):
        set_option(general.SO_LINGER, struct.pack("<ii", on, seconds))
        assert struct.unpack("<ii", get_option(general.SO_LINGER, 8)) == wanted
    set_option(general.SO_LINGER, (3 << 32) + 1)
    assert get_option(general.SO_LINGER) == (3 << 32) + 1


def test_timeouts_are_rounded_up_to_ticks_and_refuse_what_is_no_time(general_option):
    set_option, get_option = general_option
    for name in general.SO_RCVTIMEO, general.SO_SNDTIMEO, general.SO_RCVTIMEO_NEW:
        set_option(name, struct.pack("<qq", 3, 1))
        assert struct.unpack("<qq", get_option(name, 16)) == (3, 4000)
        set_option(name, struct.pack("<qq", 0, 0))
        assert get_option(name, 16) == bytes(16)
        for micros in 1000000, -1:
            assert refused(set_option, name, struct.pack("<qq", 0, micros)) == errno.EDOM
        assert refused(set_option, name, 1) == errno.EINVAL


def test_a_connect_timeout_refuses_what_is_no_time(vsock):
    set_option, get_option = vsock
    name = options.SO_VM_SOCKETS_CONNECT_TIMEOUT
    for seconds, micros in (-1, 0), (0, 1000000):
        assert refused(set_option, name, struct.pack("<qq", seconds, micros)) == errno.ERANGE
    set_option(name, struct.pack("<qq", 1, 1))
    assert struct.unpack("<qq", get_option(name, 16)) == (1, 4000)
    set_option(name, bytes(16))
    assert struct.unpack("<qq", get_option(name, 16)) == (2, 0)


def test_what_only_reads_cannot_be_set(general_option):
    set_option, get_option = general_option
    for name in general.SO_TYPE, general.SO_ERROR, general.SO_SNDLOWAT, general.SO_DOMAIN, 999:
        assert refused(set_option, name, 1) == errno.ENOPROTOOPT
    for name in general.SO_PEEK_OFF, general.SO_ZEROCOPY, general.SO_REUSEPORT:
        assert refused(set_option, name, 1) == errno.EOPNOTSUPP
    set_option(general.SO_REUSEPORT, 0)
    assert get_option(general.SO_PEERCRED, 12) == struct.pack("<Iii", 0, -1, -1)
    assert refused(get_option, 999) == errno.ENOPROTOOPT


def test_a_late_senders_patience_is_a_minute_unless_set(vsock):
    set_option, get_option = vsock
    name = options.SO_VM_SOCKETS_LATE_SEND_TIMEOUT
    assert get_option(name, 4) == struct.pack("<i", 60)
    for given, wanted in (5, 5), (0, 0), (-1, 0), (1 << 30, 86400):
        set_option(name, given)
        assert get_option(name) == wanted
