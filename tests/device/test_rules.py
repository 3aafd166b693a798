# SPDX-License-Identifier: MIT
"""Each action of a fault rule, as a driver sees it: packets, used entries, interrupts."""

import os
import socket
import struct
import time

import pytest
from driver import RX, SIZE, TX, NoPacket
from places import Place, ok

from mpfw.device.faults.files import from_tables
from mpfw.device.firmware import vsock as w

PORT = 1234


@pytest.fixture
def faulty(tmp_path, device):
    """faulty(*rules): a place whose device has these rules, tables as in TOML."""
    opened = []

    def faulty(*rules, seed=1):
        found = Place(tmp_path)
        opened.append(found.opened)
        injector = from_tables({"seed": seed, "fault": list(rules)}, "here")
        found.device = device(found.settings(), faults=injector)
        found.device.faults = injector
        return found

    yield faulty
    for each in opened:
        each.close()


def connected(place, driver):
    """A program that has reached the guest's PORT; its own port."""
    connection = place.dial(PORT)
    asked = driver.expect(w.OP_REQUEST)
    driver.send(w.OP_RESPONSE, PORT, asked.src_port)
    ok(connection)
    return connection, asked.src_port


def exactly(connection, n):
    """n bytes of what the guest sends."""
    data = b""
    while len(data) < n:
        data += connection.recv(n - len(data))
    return data


def all_back(driver):
    """Wait until the device has given back every buffer of the guest's packets."""
    queue, deadline = driver.queues[TX], time.monotonic() + 10
    while queue.used_words[1] != queue.posted:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def say(connection, driver, *several):
    """The program sends these, each as a packet of its own if nothing holds it."""
    for data in several:
        connection.sendall(data)
        time.sleep(0.05)


def test_without_a_match_all_is_as_without_rules(faulty):
    place = faulty({"do": "drop", "guest_port": 9})
    driver = place.driver()
    connection, peer = connected(place, driver)
    connection.sendall(b"hello" * 10000)
    got = b""
    while len(got) < 50000:
        got += driver.expect(w.OP_RW).body
    assert got == b"hello" * 10000
    driver.send(w.OP_RW, PORT, peer, b"and back")
    assert connection.recv(100) == b"and back"
    connection.shutdown(socket.SHUT_WR)
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_SEND
    assert not place.device.faults.log


def test_drop_takes_the_nth_packet_alone(faulty):
    place = faulty({"do": "drop", "op": "RW", "direction": "to-guest", "nth": 2})
    driver = place.driver()
    connection, _ = connected(place, driver)
    say(connection, driver, b"one", b"two", b"three")
    assert [driver.expect(w.OP_RW).body for _ in range(2)] == [b"one", b"three"]
    (line,) = place.device.faults.log
    assert line.startswith("fault 1, drop, 1: to the guest <Packet RW 2:")


def test_drop_of_what_the_guest_sends_gives_its_buffer_back(faulty):
    place = faulty({"do": "drop", "op": "RW", "direction": "from-guest", "nth": [1, 4]})
    driver = place.driver()
    connection, peer = connected(place, driver)
    for data in (b"one", b"two", b"three", b"four"):
        driver.send(w.OP_RW, PORT, peer, data)
    assert exactly(connection, 8) == b"twothree"
    all_back(driver)


def test_delay_holds_a_packet_and_what_its_connection_sends_after_it(faulty):
    place = faulty({"do": "delay", "seconds": 0.5, "op": "RW", "nth": 1})
    driver = place.driver()
    connection, _ = connected(place, driver)
    begun = time.monotonic()
    say(connection, driver, b"one", b"two")
    assert driver.expect(w.OP_RW).body == b"one"
    assert time.monotonic() - begun > 0.5
    assert driver.expect(w.OP_RW).body == b"two"


def test_delay_of_the_guests_packets(faulty):
    place = faulty({"do": "delay", "seconds": 0.5, "direction": "from-guest", "op": "RESPONSE"})
    driver = place.driver()
    begun = time.monotonic()
    connected(place, driver)
    assert time.monotonic() - begun > 0.5


def test_duplicate(faulty):
    place = faulty({"do": "duplicate", "copies": 2, "op": "RW"})
    driver = place.driver()
    connection, peer = connected(place, driver)
    connection.sendall(b"thrice")
    assert [driver.expect(w.OP_RW).body for _ in range(3)] == [b"thrice"] * 3
    driver.quiet()
    driver.send(w.OP_RW, PORT, peer, b"ab")
    assert exactly(connection, 6) == b"ababab"


def test_reorder_lets_the_next_one_by(faulty):
    place = faulty({"do": "reorder", "op": "RW", "nth": 1})
    driver = place.driver()
    connection, _ = connected(place, driver)
    say(connection, driver, b"one", b"two", b"three")
    assert [driver.expect(w.OP_RW).body for _ in range(3)] == [b"two", b"one", b"three"]


def test_reorder_does_not_wait_for_ever(faulty):
    place = faulty({"do": "reorder", "op": "RW", "seconds": 0.3})
    driver = place.driver()
    connection, _ = connected(place, driver)
    connection.sendall(b"alone")
    assert driver.expect(w.OP_RW).body == b"alone"


def raw(driver):
    """The next packet as it lies in the buffer: header and all that the used entry says."""
    number, n = driver.queues[RX].wait_used(10)
    at = driver.queues[RX].buffer(number)
    return bytes(driver.view[at : at + n])


def test_truncate_leaves_the_header(faulty):
    place = faulty({"do": "truncate", "bytes": 2, "op": "RW"})
    driver = place.driver()
    connection, _ = connected(place, driver)
    connection.sendall(b"hello")
    whole = raw(driver)
    assert whole[44:] == b"he"
    assert whole[24] == 5  # len


def test_a_packet_that_the_guest_has_cut_is_none(faulty):
    place = faulty({"do": "truncate", "bytes": 2, "op": "RW", "nth": 1})
    driver = place.driver()
    connection, peer = connected(place, driver)
    driver.send(w.OP_RW, PORT, peer, b"first")
    driver.send(w.OP_RW, PORT, peer, b"second")
    assert connection.recv(100) == b"second"


def test_corrupt_sets_a_field(faulty):
    rule = {"do": "corrupt", "field": "flags", "value": 7, "op": "REQUEST"}
    place = faulty(rule)
    driver = place.driver()
    place.dial(PORT)
    assert driver.expect(w.OP_REQUEST).flags == 7


def test_corrupt_changes_one_bit_of_the_payload(faulty):
    place = faulty({"do": "corrupt", "field": "payload", "op": "RW"})
    driver = place.driver()
    connection, _ = connected(place, driver)
    connection.sendall(bytes(100))
    assert sum(each.bit_count() for each in driver.expect(w.OP_RW).body) == 1


def test_replace_puts_another_packet_in_its_place(faulty):
    place = faulty({"do": "replace", "fields": {"op": "RST"}, "op": "REQUEST"})
    driver = place.driver()
    place.dial(PORT)
    assert driver.receive().op == w.OP_RST


def test_replace_with_another_payload_has_its_length(faulty):
    place = faulty({"do": "replace", "fields": {"payload": "hey"}, "op": "RW"})
    driver = place.driver()
    connection, _ = connected(place, driver)
    connection.sendall(b"hello, hello")
    assert driver.expect(w.OP_RW).body == b"hey"


def test_refuse_answers_for_whom_the_packet_is(faulty):
    place = faulty({"do": "refuse", "op": "REQUEST"})
    driver = place.driver()
    with place.listen(5) as listener:
        driver.send(w.OP_REQUEST, PORT, 5)
        reset = driver.expect(w.OP_RST)
        assert (reset.src_port, reset.dst_port, reset.dst_cid) == (5, PORT, 3)
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()
    connection = place.dial(PORT)
    assert connection.recv(100) == b""
    with pytest.raises(NoPacket):
        driver.receive(0.2)


def test_credit_lies(faulty):
    place = faulty({"do": "credit", "buf_alloc": 10, "ahead": -1, "op": "REQUEST"})
    driver = place.driver()
    place.dial(PORT)
    asked = driver.expect(w.OP_REQUEST)
    assert (asked.buf_alloc, asked.fwd_cnt) == (10, 0xFFFFFFFF)


@pytest.mark.parametrize("direction", ["to-guest", "from-guest"])
def test_stall_leaves_a_queue_alone_for_a_while(faulty, direction):
    place = faulty({"do": "stall", "seconds": 0.5, "op": "RW", "direction": direction, "nth": 1})
    driver = place.driver()
    connection, peer = connected(place, driver)
    begun = time.monotonic()
    if direction == "to-guest":
        say(connection, driver, b"one")
        assert driver.expect(w.OP_RW).body == b"one"
    else:
        all_back(driver)
        before = driver.queues[TX].used_words[1]
        driver.send(w.OP_RW, PORT, peer, b"one")
        time.sleep(0.2)
        assert driver.queues[TX].used_words[1] == before
        assert connection.recv(100) == b"one"
        all_back(driver)
    assert time.monotonic() - begun > 0.5


def test_slow_lets_so_many_bytes_through_in_a_second(faulty):
    place = faulty({"do": "slow", "bytes_per_second": 100000, "op": "RW"})
    driver = place.driver()
    connection, _ = connected(place, driver)
    begun, got = time.monotonic(), 0
    connection.sendall(bytes(60000))
    while got < 60000:
        got += driver.expect(w.OP_RW).len
    assert 0.55 < time.monotonic() - begun < 5


def test_slow_counts_packets(faulty):
    place = faulty({"do": "slow", "packets_per_second": 10, "op": "RW"})
    driver = place.driver()
    connection, peer = connected(place, driver)
    begun = time.monotonic()
    for _ in range(6):
        driver.send(w.OP_RW, PORT, peer, b"x")
    assert exactly(connection, 6) == b"xxxxxx"
    assert time.monotonic() - begun > 0.55


def test_late_gives_the_buffer_back_behind_the_next_one(faulty):
    place = faulty({"do": "late", "op": "RW", "direction": "to-guest", "nth": 1})
    driver = place.driver()
    connection, _ = connected(place, driver)
    say(connection, driver, b"one", b"two")
    assert [driver.expect(w.OP_RW).body for _ in range(2)] == [b"two", b"one"]


def test_used_lies_about_length_and_id(faulty):
    place = faulty(
        {"do": "used", "length": 7, "op": "REQUEST"},
        {"do": "used", "id": 60000, "direction": "from-guest", "op": "RST"},
    )
    driver = place.driver()
    place.dial(PORT)
    queue = driver.queues[RX]
    number, n = queue.wait_used(10)
    assert n == 7
    driver.send(w.OP_RST, PORT, 99)
    assert driver.queues[TX].wait_used(10)[0] == 60000


def test_interrupts_that_are_missing(faulty):
    place = faulty({"do": "interrupt", "count": 0, "op": "REQUEST"})
    driver = place.driver()
    place.dial(PORT)
    queue = driver.queues[RX]
    deadline = time.monotonic() + 10
    while queue.used_words[1] == queue.seen:
        assert time.monotonic() < deadline
        assert not queue.poller.poll(10)
    assert not queue.poller.poll(200)
    assert driver.expect(w.OP_REQUEST)


def test_interrupts_that_are_too_many(faulty):
    place = faulty({"do": "interrupt", "count": 5, "op": "REQUEST"})
    driver = place.driver()
    place.dial(PORT)
    time.sleep(0.3)
    assert driver.expect(w.OP_REQUEST)
    assert os.eventfd_read(driver.queues[RX].call) == 5


def test_disconnect_hangs_up_on_qemu_and_the_next_one_is_served(faulty):
    place = faulty({"do": "disconnect", "op": "REQUEST", "nth": 1})
    driver = place.driver()
    place.dial(PORT)
    assert driver.socket.recv(1) == b""
    driver = place.driver()
    connected(place, driver)


def test_config_says_another_cid_and_tells_qemu(faulty):
    place = faulty({"do": "config", "cid": 1 << 40, "op": "REQUEST"})
    driver = place.driver()
    ours, theirs = socket.socketpair()
    driver.say(21, fds=(theirs.fileno(),))  # SET_BACKEND_REQ_FD
    place.dial(PORT)
    driver.expect(w.OP_REQUEST)
    ours.settimeout(10)
    assert struct.unpack("<III", ours.recv(100)) == (2, 1, 0)  # CONFIG_CHANGE_MSG
    answer = driver.ask(24, struct.pack("<III8x", 0, 8, 0))  # GET_CONFIG
    assert struct.unpack("<IIIQ", answer) == (0, 8, 0, 1 << 40)
    ours.close()
    theirs.close()


def test_config_that_nobody_can_be_told_of_is_a_line(faulty):
    place = faulty({"do": "config", "cid": 9, "op": "REQUEST"})
    driver = place.driver()
    place.dial(PORT)
    driver.expect(w.OP_REQUEST)
    deadline = time.monotonic() + 10
    while not place.device.said:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert "not told (config)" in place.device.said[0]


def test_rules_come_one_after_another(faulty):
    place = faulty(
        {"do": "duplicate", "op": "RW"},
        {"do": "truncate", "bytes": 1, "op": "RW"},
        {"do": "corrupt", "field": "len", "value": 1, "op": "RW"},
    )
    driver = place.driver()
    connection, _ = connected(place, driver)
    connection.sendall(b"hello")
    assert [driver.expect(w.OP_RW).body for _ in range(2)] == [b"h", b"h"]
    assert [line.split(",")[0] for line in place.device.faults.log] == [
        "fault 1",
        "fault 2",
        "fault 3",
    ]


def test_a_rule_of_a_state(faulty):
    place = faulty({"do": "drop", "state": "sends no more", "direction": "from-guest"})
    driver = place.driver()
    connection, peer = connected(place, driver)
    driver.send(w.OP_RW, PORT, peer, b"before")
    driver.send(w.OP_SHUTDOWN, PORT, peer, flags=w.SHUTDOWN_SEND)
    driver.send(w.OP_RST, PORT, peer)
    assert exactly(connection, 6) == b"before"
    assert connection.recv(1) == b""
    connection.sendall(b"still open")
    assert driver.expect(w.OP_RW).body == b"still open"


def test_a_buffer_that_breaks_while_its_packet_waits_is_told(faulty):
    place = faulty({"do": "delay", "seconds": 0.4, "op": "RW", "nth": 1})
    driver = place.driver()
    connection, _ = connected(place, driver)
    say(connection, driver, b"one")
    queue = driver.queues[RX]
    for number in range(SIZE):
        queue.describe(number, 1 << 50, 100, 2)
    time.sleep(0.5)
    for number in range(SIZE):
        queue.describe(number, queue.address(number), 60000, 2)
    connection.sendall(b"two")
    with pytest.raises(ConnectionResetError):
        connection.recv(1)  # "two" is nobody's any more
    assert "receive queue is broken" in place.device.said[0]


def test_a_broken_ring_is_told_as_without_rules(faulty):
    place = faulty({"do": "drop", "guest_port": 9})
    driver = place.driver()
    connection, _ = connected(place, driver)
    queue = driver.queues[TX]
    queue.avail_words[1] = queue.avail_words[1] + 1000 & 0xFFFF
    queue.notify()
    assert connection.recv(1) == b""
    assert "transmit queue is broken" in place.device.said[0]
