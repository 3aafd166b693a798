# SPDX-License-Identifier: MIT
"""Streams between a program and a guest: how they begin, what they carry, how they end."""

import array
import errno
import hashlib
import random
import socket
import time

import pytest
from driver import RX, Driver, NoPacket
from places import ok

from mpfw.device.firmware import vsock as w

PORT = 1234
WINDOW = 256 << 10  # bytes that the device offers


def dialled(place, driver, port=PORT):
    """A program that has reached the guest, and its port."""
    connection = place.dial(port)
    asked = driver.expect(w.OP_REQUEST)
    assert (asked.src_cid, asked.dst_cid, asked.dst_port) == (2, 3, port)
    driver.send(w.OP_RESPONSE, port, asked.src_port)
    assert ok(connection) == asked.src_port
    return connection, asked.src_port


def called(place, driver, source=PORT, port=5000):
    """A program that the guest has called."""
    with place.listen(port) as listener:
        driver.send(w.OP_REQUEST, source, port)
        answer = driver.expect(w.OP_RESPONSE)
        assert (answer.src_port, answer.dst_port) == (port, source)
        connection, _ = listener.accept()
    place.path.with_name(f"{place.path.name}_{port}").unlink()
    place.opened.callback(connection.close)
    connection.settimeout(30)
    return connection, port


both_ways = pytest.mark.parametrize("begin", [dialled, called])


def connections(place):
    return place.device.switch.wires[0].table.count


def gone(place, seconds=10):
    """Wait until the device knows no connection."""
    deadline = time.monotonic() + seconds
    while connections(place):
        assert time.monotonic() < deadline, f"{connections(place)} connections are left"
        time.sleep(0.01)


# -- how they begin -------------------------------------------------------------------------------


@both_ways
def test_bytes_pass_both_ways(place, begin):
    driver = place.driver()
    connection, peer = begin(place, driver)
    connection.sendall(b"to the guest")
    assert driver.expect(w.OP_RW).body == b"to the guest"
    driver.send(w.OP_RW, PORT, peer, b"to the program")
    assert connection.recv(100) == b"to the program"


def test_what_follows_the_connect_line_is_the_guests(place):
    driver = place.driver()
    connection = place.dial(PORT)
    connection.sendall(b"early")
    asked = driver.expect(w.OP_REQUEST)
    driver.send(w.OP_RESPONSE, PORT, asked.src_port)
    assert driver.expect(w.OP_RW).body == b"early"
    assert ok(connection) == asked.src_port


def test_a_connect_line_may_come_in_pieces(place):
    driver = place.driver()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(place.path))
        for piece in (b"CO", b"NNECT 12", b"34\nand more"):
            connection.sendall(piece)
            time.sleep(0.05)
        asked = driver.expect(w.OP_REQUEST)
        assert asked.dst_port == 1234
        driver.send(w.OP_RESPONSE, 1234, asked.src_port)
        assert driver.expect(w.OP_RW).body == b"and more"


@pytest.mark.parametrize(
    "line", [b"HELLO\n", b"CONNECT\n", b"CONNECT x\n", b"CONNECT 4294967295\n", b"a" * 100, b"\n"]
)
def test_a_line_that_is_none_ends_the_connection(place, line):
    place.driver()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(place.path))
        connection.sendall(line)
        try:
            assert connection.recv(1) == b""
        except ConnectionResetError:
            pass  # what it had said was not read


def test_a_guest_that_refuses_ends_the_programs_connection(place):
    driver = place.driver()
    connection = place.dial(PORT)
    asked = driver.expect(w.OP_REQUEST)
    driver.send(w.OP_RST, PORT, asked.src_port)
    assert connection.recv(1) == b""
    gone(place)


def test_without_a_driver_a_program_is_turned_away_at_once(place):
    assert place.dial(PORT).recv(1) == b""


def test_a_program_that_gives_up_before_the_answer_leaves_nothing(place):
    driver = place.driver()
    connection = place.dial(PORT)
    asked = driver.expect(w.OP_REQUEST)
    connection.close()
    gone(place)
    driver.send(w.OP_RESPONSE, PORT, asked.src_port)  # it meets no connection
    assert driver.expect(w.OP_RST).src_port == asked.src_port


@pytest.mark.parametrize("packet_type", [0, 3, 7])
def test_a_type_that_is_unknown_is_reset(place, packet_type):
    driver = place.driver()
    place.listen(5000)
    driver.send(w.OP_REQUEST, PORT, 5000, type=packet_type)
    assert driver.expect(w.OP_RST).type == packet_type


def test_a_listener_of_the_other_type_is_a_reset(place):
    driver = place.driver()
    place.listen(5000, socket.SOCK_SEQPACKET)
    driver.send(w.OP_REQUEST, PORT, 5000)
    driver.expect(w.OP_RST)


def test_a_full_backlog_is_a_reset(place):
    driver = place.driver()
    place.listen(5000, backlog=0)
    driver.send(w.OP_REQUEST, PORT, 5000)
    driver.expect(w.OP_RESPONSE)
    driver.send(w.OP_REQUEST, PORT + 1, 5000)
    driver.expect(w.OP_RST)


def test_an_rst_is_never_answered(place):
    driver = place.driver()
    driver.send(w.OP_RST, PORT, 5000)
    driver.quiet()


@pytest.mark.parametrize("op", [w.OP_RESPONSE, w.OP_RW, w.OP_SHUTDOWN, w.OP_CREDIT_REQUEST, 99])
def test_a_packet_for_no_connection_is_reset(place, op):
    driver = place.driver()
    driver.send(op, PORT, 5000)
    answer = driver.expect(w.OP_RST)
    assert (answer.src_port, answer.dst_port) == (5000, PORT)


# -- what they carry ------------------------------------------------------------------------------


@both_ways
def test_a_lot_arrives_whole_within_the_credit(place, begin):
    """The program reads slowly at first: the guest may send its window and no more."""
    driver = place.driver()
    connection, peer = begin(place, driver)
    data = random.Random(1).randbytes(2 << 20)
    sent = forwarded = 0
    digest = hashlib.sha256()
    connection.settimeout(0.01)
    while sent < len(data) or forwarded < len(data):
        n = min(w.MAX_DATA, len(data) - sent, WINDOW - (sent - forwarded))
        if n:
            driver.send(w.OP_RW, PORT, peer, data[sent : sent + n])
            sent += n
            continue
        try:
            digest.update(connection.recv(1 << 20))
        except TimeoutError:
            pass
        try:
            forwarded = driver.receive(0.2).fwd_cnt
        except NoPacket:
            pass
    connection.settimeout(5)
    driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_SEND)
    while more := connection.recv(1 << 20):
        digest.update(more)
    assert digest.digest() == hashlib.sha256(data).digest()


def test_a_guest_that_sends_more_than_it_may_is_reset(place):
    driver = place.driver()
    _, peer = dialled(place, driver)
    for _ in range(20):  # what a Unix socket takes is given back as credit, but nobody heard of it
        driver.send(w.OP_RW, PORT, peer, bytes(w.MAX_DATA))
    driver.expect(w.OP_RST)
    gone(place)


def test_no_more_is_sent_than_the_guest_offers(place):
    driver = place.driver()
    driver.window = 10_000
    connection, peer = dialled(place, driver)
    connection.sendall(bytes(30_000))
    got = 0
    while got < 10_000:
        got += len(driver.expect(w.OP_RW).body)
    assert got == 10_000
    driver.quiet()
    driver.send(w.OP_CREDIT_UPDATE, PORT, peer, fwd_cnt=9_000)
    got = 0
    while got < 9_000:
        got += len(driver.expect(w.OP_RW).body)
    assert got == 9_000


def test_a_guest_without_room_is_asked_for_some(place):
    driver = place.driver()
    driver.window = 100
    connection, _ = dialled(place, driver)
    connection.sendall(bytes(200))
    assert len(driver.expect(w.OP_RW).body) == 100
    assert driver.receive().op == w.OP_CREDIT_REQUEST


def test_a_request_for_credit_is_answered(place):
    driver = place.driver()
    _, peer = dialled(place, driver)
    driver.send(w.OP_CREDIT_REQUEST, PORT, peer)
    answer = driver.receive()
    assert (answer.op, answer.buf_alloc) == (w.OP_CREDIT_UPDATE, WINDOW)


def test_a_guest_with_a_small_buffer_hears_that_its_bytes_were_taken(place):
    driver = place.driver()
    _, peer = dialled(place, driver)
    driver.send(w.OP_RW, PORT, peer, b"x")
    answer = driver.receive()
    assert (answer.op, answer.fwd_cnt) == (w.OP_CREDIT_UPDATE, 1)


def test_a_program_that_reads_nothing_holds_up_nobody(place):
    driver = place.driver()
    stuck, peer = dialled(place, driver)
    for _ in range(WINDOW // w.MAX_DATA):
        driver.send(w.OP_RW, PORT, peer, bytes(w.MAX_DATA))
    other, its_peer = called(place, driver, PORT + 1)
    for _ in range(50):
        driver.send(w.OP_RW, PORT + 1, its_peer, b"ping")
        assert other.recv(100) == b"ping"
        other.sendall(b"pong")
        assert driver.expect(w.OP_RW).body == b"pong"
    assert stuck.recv(1) == b"\0"


def test_a_guest_whose_program_reads_nothing_is_stopped_soon(place):
    """By the window and the program's socket, whatever a system allows sockets."""
    driver = place.driver()
    connection, peer = dialled(place, driver)
    sent = forwarded = 0
    while sent - forwarded < WINDOW:
        driver.send(w.OP_RW, PORT, peer, bytes(w.MAX_DATA))
        sent += w.MAX_DATA
        assert sent <= 4 * WINDOW
        try:
            forwarded = driver.receive(0.2).fwd_cnt
        except NoPacket:
            pass
    assert connection.recv(1) == b"\0"


def test_1000_connections_at_once(place):
    driver = place.driver()
    pairs = [dialled(place, driver, PORT + n) for n in range(1000)]
    assert connections(place) == 1000
    for n, (connection, peer) in enumerate(pairs):
        connection.sendall(b"%d" % n)
        found = driver.expect(w.OP_RW)
        assert (found.body, found.src_port, found.dst_port) == (b"%d" % n, peer, PORT + n)
        driver.send(w.OP_RST, PORT + n, peer)
        assert connection.recv(1) == b""
        connection.close()
    gone(place)


# -- how they end ---------------------------------------------------------------------------------


@both_ways
def test_the_program_stops_sending_and_a_mebibyte_comes_behind_it(place, begin):
    driver = place.driver()
    connection, peer = begin(place, driver)
    connection.shutdown(socket.SHUT_WR)
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_SEND
    data = random.Random(2).randbytes(1 << 20)
    received = bytearray()
    for at in range(0, len(data), 65536):
        driver.send(w.OP_RW, PORT, peer, data[at : at + 65536])
        while len(received) < at + 65536:
            received += connection.recv(1 << 20)
        driver.expect(w.OP_CREDIT_UPDATE)
    assert received == data
    driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_BOTH)
    driver.expect(w.OP_RST)
    assert connection.recv(1) == b""
    gone(place)


@both_ways
def test_the_guest_stops_sending_and_a_mebibyte_comes_behind_it(place, begin):
    driver = place.driver()
    connection, peer = begin(place, driver)
    driver.send(w.OP_RW, PORT, peer, b"last")
    driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_SEND)
    assert connection.recv(100) == b"last"
    assert connection.recv(100) == b""
    data = random.Random(3).randbytes(1 << 20)
    connection.settimeout(0.01)
    got = bytearray()
    rest = memoryview(data)
    while len(got) < len(data):
        try:
            rest = rest[connection.send(rest) :] if rest else rest
        except TimeoutError:
            pass
        try:
            found = driver.receive(0.05)
        except NoPacket:
            continue
        got += found.body if found.op == w.OP_RW else b""
        driver.send(w.OP_CREDIT_UPDATE, PORT, peer, fwd_cnt=len(got))
    assert got == data
    connection.close()
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_BOTH
    driver.send(w.OP_RST, PORT, peer)
    gone(place)


def test_what_a_program_wrote_before_it_closed_arrives(place):
    driver = place.driver()
    connection, peer = dialled(place, driver)
    connection.sendall(b"and goodbye")
    connection.close()
    assert driver.expect(w.OP_RW).body == b"and goodbye"
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_BOTH
    driver.send(w.OP_RST, PORT, peer)
    gone(place)


def test_a_guest_that_takes_nothing_hears_that_the_program_closed(place):
    """What the program wrote waits for room; a guest that sends is to know at once."""
    driver = place.driver()
    driver.window = 100
    connection, peer = dialled(place, driver)
    connection.sendall(bytes(200))
    connection.close()
    driver.expect(w.OP_RW)
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_RCV
    driver.send(w.OP_CREDIT_UPDATE, PORT, peer, fwd_cnt=100)
    assert len(driver.expect(w.OP_RW).body) == 100
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_BOTH


def test_a_program_that_closes_with_bytes_unread_is_a_reset_behind_what_it_wrote(place):
    driver = place.driver()
    connection, peer = dialled(place, driver)
    driver.send(w.OP_RW, PORT, peer, b"nobody reads this")
    assert connection.recv(1, socket.MSG_PEEK)  # it was handed over
    connection.sendall(b"the answer")
    connection.close()
    assert driver.expect(w.OP_RW).body == b"the answer"
    driver.expect(w.OP_RST)
    gone(place)


def test_a_program_that_dies_while_the_guest_takes_nothing_is_a_reset_at_once(place):
    driver = place.driver()
    driver.window = 100
    connection, peer = dialled(place, driver)
    connection.sendall(bytes(200))
    driver.expect(w.OP_RW)
    driver.send(w.OP_RW, PORT, peer, b"nobody reads this")
    assert connection.recv(1, socket.MSG_PEEK)
    connection.close()
    driver.expect(w.OP_RST)


def test_the_guests_reset_comes_behind_what_it_sent(place):
    driver = place.driver()
    connection, peer = dialled(place, driver)
    data = random.Random(4).randbytes(WINDOW)
    for at in range(0, WINDOW, 65536):
        driver.send(w.OP_RW, PORT, peer, data[at : at + 65536])
    driver.send(w.OP_RST, PORT, peer)
    gone(place)
    received = bytearray()
    while more := connection.recv(1 << 20):
        received += more
    assert received == data


def test_the_guest_takes_no_more(place):
    driver = place.driver()
    connection, peer = dialled(place, driver)
    driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_RCV)
    with pytest.raises(OSError) as raised:
        for _ in range(1000):
            connection.send(b"for nobody")
            time.sleep(0.01)
    assert raised.value.errno in (errno.EPIPE, errno.ECONNRESET)
    driver.send(w.OP_RW, PORT, peer, b"but this")
    assert connection.recv(100) == b"but this"


def test_a_guest_that_does_not_answer_a_close_is_reset_after_a_while(place, monkeypatch):
    monkeypatch.setattr("mpfw.device.wire._CLOSE", 0.2)
    driver = place.driver()
    connection, _ = dialled(place, driver)
    connection.close()
    driver.expect(w.OP_SHUTDOWN)
    driver.expect(w.OP_RST)
    gone(place)


def test_a_port_pair_can_be_used_again_at_once(place):
    driver = place.driver()
    for _ in range(20):
        connection, peer = called(place, driver)
        driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_BOTH)
        driver.expect(w.OP_RST)
        assert connection.recv(1) == b""


def test_a_guest_that_begins_anew_may_call_from_the_same_port(place):
    driver = place.driver()
    old, _ = called(place, driver)
    new, _ = called(place, driver)
    assert old.recv(1) == b""
    new.sendall(b"new")
    assert driver.expect(w.OP_RW).body == b"new"


def test_500_programs_that_go_in_mid_transfer_leave_nothing(place):
    """Half of them have left data unread, which is a reset; the others are an orderly end."""
    driver = place.driver()
    for n in range(500):
        connection, peer = dialled(place, driver, PORT + n)
        connection.sendall(bytes(1000))
        if n % 2:
            driver.send(w.OP_RW, PORT + n, peer, bytes(1000))
            driver.expect(w.OP_RW)
            assert connection.recv(1, socket.MSG_PEEK)  # it was handed over
        else:
            driver.expect(w.OP_RW)
        connection.close()
        if n % 2:
            driver.expect(w.OP_RST)
        else:
            assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_BOTH
            driver.send(w.OP_RST, PORT + n, peer)
    gone(place)
    assert not place.device.switch.wires[0].ready


# -- QEMU comes and goes --------------------------------------------------------------------------


def test_connections_go_on_after_stop_and_cont(place):
    driver = place.driver()
    connection, peer = dialled(place, driver)
    bases = driver.stop()
    connection.sendall(b"while it was stopped")
    waiting = place.dial(PORT + 1)
    driver.quiet()
    driver.start(bases)
    assert driver.expect(w.OP_RW).body == b"while it was stopped"
    driver.send(w.OP_RW, PORT, peer, b"on it goes")
    assert connection.recv(100) == b"on it goes"
    driver.send(w.OP_RESPONSE, PORT + 1, driver.expect(w.OP_REQUEST).src_port)
    ok(waiting)


def test_the_next_qemu_begins_anew(place):
    driver = place.driver()
    connection, _ = dialled(place, driver)
    driver.socket.close()
    assert connection.recv(1) == b""
    gone(place)
    second = place.driver()
    connection, _ = dialled(place, second)
    connection.sendall(b"hello")
    assert second.expect(w.OP_RW).body == b"hello"


def test_only_what_is_offered_is_acknowledged(place):
    driver = Driver(place.control)
    place.opened.callback(driver.close)
    driver.say(2, (1 << 50).to_bytes(8, "little"))
    with pytest.raises((AssertionError, ConnectionError)):
        driver.ask(1)
    assert "features" in place.device.said[0]


# -- the rings ------------------------------------------------------------------------------------


def test_an_indirect_table_and_a_header_in_pieces(place):
    driver = place.driver()
    queue = driver.queues[1]
    whole = bytearray(44)
    whole[:] = bytes(_request(driver))
    number = queue.take_free()
    at = queue.buffer(number)
    driver.view[at : at + 44] = whole
    table = at + 4096
    address = queue.address(number)
    pieces = ((0, 10), (10, 33), (43, 1))
    for n, (begin, length) in enumerate(pieces):
        more = n < len(pieces) - 1
        entry = array.array("I", [address + begin & 0xFFFFFFFF, address + begin >> 32, length])
        entry.append((n + 1 << 16 | 1) if more else 0)
        driver.view[table + 16 * n : table + 16 * n + 16] = entry.tobytes()
    queue.offer(number, 16 * len(pieces), 4)
    queue.describe(number, address + 4096, 16 * len(pieces), 4)
    queue.notify()
    driver.expect(w.OP_RST)


def _request(driver):
    from mpfw.device.firmware import packet

    return packet.Packet(op=1, src_cid=driver.cid, dst_cid=2, src_port=1, dst_port=2).header


@pytest.mark.parametrize("event_idx", [False, True])
@pytest.mark.parametrize("rounds", [20_000, pytest.param(10_000_000, marks=pytest.mark.long)])
@pytest.mark.timeout(7200)
def test_no_notification_is_lost(place, event_idx, rounds):
    """Each packet waits for the answer to the one before: one lost would be the end."""
    driver = place.driver(event_idx=event_idx)
    assert event_idx == bool(driver.offered & 1 << 29 and driver.event_idx)
    for _ in range(rounds):
        driver.send(w.OP_CREDIT_REQUEST, PORT, 5000)  # for no connection
        assert driver.receive().op == w.OP_RST
    assert driver.queues[RX].seen == rounds & 0xFFFF


# -- a host that takes its time to answer, as AF_VSOCK does ---------------------------------------


@pytest.mark.parametrize("listens", [True, False])
def test_the_guest_is_answered_when_the_host_is(place, monkeypatch, listens):
    """TCP stands for AF_VSOCK, which not every machine has: its connect takes time, too."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = listener.getsockname()

        def dial(*_):
            connection = socket.socket()
            connection.setblocking(False)
            assert connection.connect_ex(address) == errno.EINPROGRESS
            return connection

        (only,) = place.device.switch._places.values()
        monkeypatch.setattr(only.programs, "dial", dial)
        driver = place.driver()
        if not listens:
            driver.send(w.OP_REQUEST, PORT, 5000)
            assert driver.expect(w.OP_RST).src_port == 5000
            return
        listener.listen()
        driver.send(w.OP_REQUEST, PORT, 5000)
        driver.expect(w.OP_RESPONSE)
        with listener.accept()[0] as program:
            program.sendall(b"hello")
            assert driver.expect(w.OP_RW).body == b"hello"
            driver.send(w.OP_RW, PORT, 5000, b"and back")
            assert program.recv(100) == b"and back"
