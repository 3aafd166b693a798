# SPDX-License-Identifier: MIT
"""Socket options as integers and as packed bytes, on a socket that has no connection."""

import errno
import struct

import pytest
import vsock_bench

options = vsock_bench.module("sockets.options")
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


def test_a_late_senders_patience_is_a_minute_unless_set(vsock):
    set_option, get_option = vsock
    name = options.SO_VM_SOCKETS_LATE_SEND_TIMEOUT
    assert get_option(name, 4) == struct.pack("<i", 60)
    for given, wanted in (5, 5), (0, 0), (-1, 0), (1 << 30, 86400):
        set_option(name, given)
        assert get_option(name) == wanted
