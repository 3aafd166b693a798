# SPDX-License-Identifier: MIT
"""A guest that lies: its own queue stops and the reason is told; no other guest notices."""

import random
import struct

import pytest
from driver import FAR, RX, SIZE, TX, Driver, NoPacket
from places import Place, ok

from mpfw.device.firmware import vsock as w
from mpfw.device.wire import FROM_GUEST, TO_GUEST

PORT = 1234


@pytest.fixture
def two(tmp_path, device):
    """Two guests of one process, no siblings: a liar and another one, which has a connection."""
    liar, other = Place(tmp_path, 3), Place(tmp_path, 4)
    with liar.opened, other.opened:
        liar.device = device(liar.settings(groups=("a",)), other.settings(groups=("b",)))
        yield liar, Neighbour(other)


class Neighbour:
    """Another guest with a connection, and whether that still works."""

    def __init__(self, place):
        self.driver = place.driver()
        self.connection = place.dial(PORT)
        self.peer = self.driver.expect(w.OP_REQUEST).src_port
        self.driver.send(w.OP_RESPONSE, PORT, self.peer)
        ok(self.connection)

    def works(self):
        self.connection.sendall(b"ping")
        assert self.driver.expect(w.OP_RW).body == b"ping"
        self.driver.send(w.OP_RW, PORT, self.peer, b"pong")
        assert self.connection.recv(100) == b"pong"


def loop(driver):
    driver.queues[TX].describe(0, driver.queues[TX].address(0), 10, 1, 0)
    show(driver.queues[TX], 0)


def beyond(driver):
    driver.queues[TX].describe(0, FAR + (1 << 30), 44, 0)
    show(driver.queues[TX], 0)


def across(driver):
    driver.queues[TX].describe(0, (1 << 64) - 20, 44, 0)
    show(driver.queues[TX], 0)


def no_head(driver):
    show(driver.queues[TX], SIZE)


def empty_table(driver):
    driver.queues[TX].describe(0, driver.queues[TX].address(0), 0, 4)
    show(driver.queues[TX], 0)


def jump(driver):
    driver.queues[TX].avail_words[1] = 1000
    driver.queues[TX].notify()


def tiny_buffer(driver):
    """A receive buffer with room for no header, which is the next one to be used."""
    for number in range(SIZE):
        driver.queues[RX].describe(number, driver.queues[RX].address(number), 20, 2)
    driver.send(w.OP_CREDIT_REQUEST, 1, 2)


def read_only_buffer(driver):
    for number in range(SIZE):
        driver.queues[RX].describe(number, driver.queues[RX].address(number), 70_000, 0)
    driver.send(w.OP_CREDIT_REQUEST, 1, 2)


def show(queue, head):
    queue.avail_words[2 + queue.posted % SIZE] = head
    queue.posted += 1
    queue.avail_words[1] = queue.posted
    queue.notify()


@pytest.mark.parametrize(
    "lie",
    [loop, beyond, across, no_head, empty_table, jump, tiny_buffer, read_only_buffer],
    ids=lambda lie: lie.__name__,
)
def test_a_broken_ring_stops_and_says_why(two, lie):
    place, neighbour = two
    driver = place.driver()
    program = place.dial(PORT)
    driver.send(w.OP_RESPONSE, PORT, driver.expect(w.OP_REQUEST).src_port)
    ok(program)
    lie(driver)
    assert program.recv(1) == b""
    (said,) = place.device.said
    assert said.startswith("guest 3: its ") and "queue is broken and stops: " in said
    neighbour.works()
    driver.socket.close()
    again = place.driver()  # the next QEMU finds a device that works
    again.send(w.OP_CREDIT_REQUEST, 1, 2)
    again.expect(w.OP_RST)


@pytest.mark.parametrize(
    "whole, name",
    [
        (b"", "ChainTooShort"),
        (b"x" * 43, "ChainTooShort"),
        (struct.pack("<6Q", *[0xFFFFFFFF] * 6)[:44], "DataTooLong"),
    ],
)
def test_a_packet_that_is_none_is_dropped(two, whole, name):
    place, neighbour = two
    driver = place.driver()
    driver.send_raw(whole)
    driver.send(w.OP_CREDIT_REQUEST, 1, 2)
    driver.expect(w.OP_RST)
    assert place.device.switch.wires[0].drops == {name: 1}
    neighbour.works()


def test_random_packets(two):
    """Every field anything: the neighbour works on, and so does the next honest packet."""
    place, neighbour = two
    driver = place.driver()
    wild = random.Random(5)
    listener = place.listen(7)
    listener.setblocking(False)
    some = (0, 1, 2, 3, 4, 7, PORT, 1 << 31, 0xFFFFFFFF)
    held = []
    for round_ in range(3000):
        fields = [wild.choice((2, 3, 3, 4, 1 << 40)), wild.choice((2, 2, 2, 3, 4, 9, 1 << 33))]
        fields += [wild.choice(some), wild.choice(some)]
        n = wild.choice((0, 0, 1, 100, 65536, 65537, 0xFFFFFFFF))
        fields += [n, wild.choice((0, 1, 1, 1, 2, 2, 3)), wild.randrange(10)]
        fields += [wild.choice(some), wild.choice(some), wild.choice(some)]
        driver.send_raw(struct.pack("<QQIIIHHIII", *fields) + bytes(wild.choice((0, n % 65537))))
        try:
            held.append(listener.accept()[0])
        except BlockingIOError:
            pass
        while True:
            try:
                driver.receive(0)
            except NoPacket:
                break
        if round_ % 500 == 0:
            neighbour.works()
    for each in held:
        each.close()
    neighbour.works()
    assert place.device.said == []


def test_a_guest_that_sends_and_takes_nothing_waits(place):
    """Answers are bounded: a guest that takes none is not listened to until it does."""
    driver = Driver(place.control)
    place.opened.callback(driver.close)
    driver.post = lambda number: None  # type: ignore[method-assign]
    driver.start()
    queue = driver.queues[TX]
    with pytest.raises(NoPacket):
        for _ in range(2000):
            while queue.used_words[1] != queue.seen:
                queue.free.append(queue._entry()[0])
            if not queue.free:
                queue.free.append(queue.wait_used(0.5)[0])
            driver.send(w.OP_CREDIT_REQUEST, 1, 2)
    assert len(place.device.switch.wires[0]._plain) <= 300
    del driver.post
    for number in range(SIZE):
        driver.post(number)
    driver.queues[RX].notify()
    for _ in range(300):
        assert driver.receive().op == w.OP_RST


def test_a_half_message_of_qemus_holds_up_nobody(two):
    place, neighbour = two
    driver = Driver(place.control)
    place.opened.callback(driver.close)
    driver.socket.sendall(struct.pack("<III", 1, 1, 0)[:7])
    neighbour.works()
    driver.socket.sendall(struct.pack("<III", 1, 1, 0)[7:])
    assert len(driver._receive(20)) == 20


def no_eventfd(driver):
    """A queue is to be notified by what may block."""
    driver.say(13, struct.pack("<Q", RX), (driver.file,))


def no_socket(driver):
    """Requests are to go to what is no socket."""
    driver.say(21, b"", (driver.file,))


def outside(driver):
    """A queue begins where no memory is."""
    driver.say(9, struct.pack("<II4Q", TX, 0, 1 << 63, 1 << 62, 1 << 61, 0))
    driver.say(12, struct.pack("<Q", TX), (driver.queues[TX].kick,))


def gigabytes(driver):
    """Four gigabytes of configuration are asked for."""
    driver.say(24, struct.pack("<III", 0, 0xFFFFFFFF, 0))


def deaf(driver):
    """Answers are asked for and not read."""
    driver.socket.settimeout(5)
    for _ in range(100_000):
        driver.say(1)


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (no_eventfd, "which is no eventfd"),
        (no_socket, "a descriptor for our requests: "),
        (outside, "a queue outside of memory: "),
        (gigabytes, "4294967295 bytes of configuration: 256 at most"),
        (deaf, "does not read the answers to its messages"),
    ],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_a_qemu_that_lies_is_hung_up_on(two, lie, why):
    place, neighbour = two
    driver = place.driver()
    try:
        lie(driver)
        while driver.socket.recv(4096):
            pass
    except (BrokenPipeError, ConnectionResetError):
        pass
    (said,) = place.device.said
    assert said.startswith("guest 3: QEMU is hung up on: ") and why in said
    neighbour.works()
    again = place.driver()
    again.send(w.OP_CREDIT_REQUEST, 1, 2)
    again.expect(w.OP_RST)


def test_every_packet_passes_the_tap(place):
    """What a capture is made of: both directions, headers whole, data as they went."""
    seen = []
    (wire,) = place.device.switch.wires
    wire.tap = lambda way, header, data: seen.append((way, bytes(header), b"".join(data)))
    driver = place.driver()
    connection = place.dial(PORT)
    sent, got = [], [driver.expect(w.OP_REQUEST)]
    driver.send(w.OP_RESPONSE, PORT, got[0].src_port)
    ok(connection)
    connection.sendall(b"to the guest")
    got.append(driver.expect(w.OP_RW))
    driver.send(w.OP_RW, PORT, got[0].src_port, b"from it")
    assert connection.recv(100) == b"from it"
    driver.send(w.OP_CREDIT_REQUEST, 1, 2)
    got.append(driver.expect(w.OP_RST))
    wire.tap = None
    there = [(bytes(each.header), each.body) for each in got]
    shown = [(header, data) for way, header, data in seen if way == TO_GUEST]
    assert [each for each in shown if each[0][30] != w.OP_CREDIT_UPDATE] == there
    sent = [(header[30], data) for way, header, data in seen if way == FROM_GUEST]
    assert sent == [(w.OP_RESPONSE, b""), (w.OP_RW, b"from it"), (w.OP_CREDIT_REQUEST, b"")]
