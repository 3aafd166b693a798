# SPDX-License-Identifier: MIT
"""Waiting for input, with more files open than select() knows."""

import fcntl
import os
import resource
import socket

import pytest

from mpfw.readable import readable


def test_those_with_input_are_named_and_the_others_are_not():
    a, b = socket.socketpair()
    with a, b:
        assert readable([a, b], 0) == []
        a.send(b"x")
        assert readable([a, b], 0) == readable([b]) == [b]
        a.close()
        assert readable([b.fileno()]) == [b.fileno()]


def test_an_end_of_file_and_an_error_count_as_input():
    reading, writing = os.pipe()
    os.close(writing)
    assert readable([reading]) == [reading]
    reading_too, writing = os.pipe()
    os.close(reading_too)
    assert readable([writing]) == [writing]
    for number in (reading, writing):
        os.close(number)


def test_a_descriptor_above_1023():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    counter = os.eventfd(1)
    high = fcntl.fcntl(counter, fcntl.F_DUPFD_CLOEXEC, 1100)
    try:
        assert readable([counter, high]) == [counter, high]
    finally:
        os.close(counter)
        os.close(high)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_closed_file_is_an_error():
    number = os.dup(0)
    os.close(number)
    with pytest.raises(ValueError):
        readable([number], 0)
    a, _ = socket.socketpair()
    a.close()
    with pytest.raises(ValueError):
        readable([a], 0)
