# SPDX-License-Identifier: MIT
"""Seqpacket: messages keep their borders between a program's SOCK_SEQPACKET and the guest."""

import random
import socket

import pytest
from places import ok

from mpfw.device.firmware import vsock as w

PORT = 1234
KIND = socket.SOCK_SEQPACKET
TYPE = {"type": w.TYPE_SEQPACKET}


@pytest.fixture
def driver(place):
    return place.driver()


def dialled(place, driver):
    connection = place.dial(PORT, KIND)
    asked = driver.expect(w.OP_REQUEST)
    assert asked.type == w.TYPE_SEQPACKET
    driver.send(w.OP_RESPONSE, PORT, asked.src_port, **TYPE)
    assert connection.recv(100) == b"OK %d\n" % asked.src_port
    return connection, asked.src_port


def message(driver):
    """A whole message of the program's, and how many packets it came in."""
    parts, count = b"", 0
    while True:
        found = driver.expect(w.OP_RW)
        parts, count = parts + found.body, count + 1
        assert found.type == w.TYPE_SEQPACKET
        if found.flags & w.SEQ_EOM:
            return parts, count


def test_the_feature_is_offered(driver):
    assert driver.offered & w.F_SEQPACKET


def test_messages_from_the_program(place, driver):
    connection, _ = dialled(place, driver)
    long = random.Random(1).randbytes(150_000)
    for each in (b"one", b"two", long):
        connection.send(each)
    assert message(driver) == (b"one", 1)
    assert message(driver) == (b"two", 1)
    assert message(driver) == (long, 3)
    connection.close()
    driver.expect(w.OP_SHUTDOWN)


def test_messages_from_the_guest(place, driver):
    connection, peer = dialled(place, driver)
    driver.send(w.OP_RW, PORT, peer, b"in two ", **TYPE)
    driver.send(w.OP_RW, PORT, peer, b"parts", flags=w.SEQ_EOM, **TYPE)
    driver.send(w.OP_RW, PORT, peer, b"whole", flags=w.SEQ_EOM | w.SEQ_EOR, **TYPE)
    assert connection.recv(1000) == b"in two parts"
    assert connection.recv(1000) == b"whole"
    driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_SEND, **TYPE)
    assert connection.recv(1000) == b""


def test_messages_that_nobody_reads_come_later(place, driver):
    connection, peer = dialled(place, driver)
    data = [random.Random(n).randbytes(20_000) for n in range(12)]
    for each in data:
        driver.send(w.OP_RW, PORT, peer, each, flags=w.SEQ_EOM, **TYPE)
    driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_SEND, **TYPE)
    assert [connection.recv(100_000) for _ in data] == data
    assert connection.recv(1) == b""


def test_an_empty_message_of_the_program_is_nothing_and_not_the_end(place, driver):
    connection, _ = dialled(place, driver)
    for each in (b"", b"a", b"", b"", b"b", b""):
        connection.send(each)
    assert [message(driver)[0] for _ in range(2)] == [b"a", b"b"]
    connection.shutdown(socket.SHUT_WR)
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_SEND


def test_a_message_that_the_guests_window_never_holds_ends_it(place, driver):
    driver.window = 1000
    connection, _ = dialled(place, driver)
    connection.send(bytes(1001))
    driver.expect(w.OP_RST)


def test_the_guest_calls(place, driver):
    with place.listen(5000, KIND) as listener:
        driver.send(w.OP_REQUEST, PORT, 5000, **TYPE)
        assert driver.expect(w.OP_RESPONSE).type == w.TYPE_SEQPACKET
        connection, _ = listener.accept()
    with connection:
        connection.send(b"hello")
        assert message(driver) == (b"hello", 1)


def test_the_other_type_on_the_same_ports_is_a_reset(place, driver):
    _, peer = dialled(place, driver)
    driver.send(w.OP_RW, PORT, peer, b"a stream's")
    assert driver.expect(w.OP_RST).type == w.TYPE_STREAM


def test_streams_go_on_beside_it(place, driver):
    dialled(place, driver)
    connection = place.dial(PORT)
    driver.send(w.OP_RESPONSE, PORT, driver.expect(w.OP_REQUEST).src_port)
    ok(connection)
    connection.sendall(b"bytes")
    assert driver.expect(w.OP_RW).type == w.TYPE_STREAM
