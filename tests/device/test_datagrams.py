# SPDX-License-Identifier: MIT
"""Datagrams between drivers and programs: whole or dropped, and each drop is counted."""

import os
import random
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from driver import SIZE
from places import Place

from mpfw.device import datagram_programs as programs
from mpfw.device import mailbox
from mpfw.device.firmware import vsock as w

GUEST, HOST = 700, 5000  # ports
SIZES = [0, 1, 100, 4095, 4096, 20_000, w.MAX_DATA]


class Program:
    """A program of the host with the port `port`, or with a name that says none."""

    def __init__(self, place, port=None, name=None):
        self.main = f"{place.path}.dgram"
        self.path = f"{self.main}_{port}" if port is not None else name
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(30)
        if self.path is not None:
            self.socket.bind(self.path)
        place.opened.callback(self.close)

    def send(self, port, data):
        self.socket.sendto(b"%d\n" % port + data, self.main)

    def receive(self):
        """The guest's port and the message."""
        port, _, data = self.socket.recv(1 << 17).partition(b"\n")
        return int(port), data

    def close(self):
        self.socket.close()


@pytest.fixture
def place(tmp_path, device):
    """A device with datagrams and one guest, CID 3."""
    found = Place(tmp_path)
    with found.opened:
        found.device = device(found.settings(datagrams=True))
        yield found


@pytest.fixture
def driver(place):
    return place.driver(datagrams=True)


def send(driver, data=b"", src=GUEST, dst=HOST, op=w.OP_RW, **fields):
    """One message of the guest's; `op` and `fields` may be lies."""
    driver.send(op, src, dst, data, **{"type": w.TYPE_DGRAM, "buf_alloc": 0} | fields)


def drops(place, *expected):
    """What the device has dropped, once it has taken all that was sent."""
    wires = place.device.switch.wires
    deadline = time.monotonic() + 30
    while dict(expected) != wires[place.cid - 3].drops and time.monotonic() < deadline:
        time.sleep(0.01)
    return wires[place.cid - 3].drops == dict(expected)


def header(packet):
    """All that a datagram's header says besides its ports."""
    return packet.src_cid, packet.dst_cid, packet.type, packet.op, packet.flags, packet.buf_alloc


@pytest.mark.parametrize("n", SIZES)
def test_a_message_goes_there_and_back(place, driver, n):
    program = Program(place, HOST)
    data = os.urandom(n)
    send(driver, data)
    assert program.receive() == (GUEST, data)
    program.send(GUEST, data)
    packet = driver.receive()
    assert (packet.src_port, packet.dst_port, packet.body) == (HOST, GUEST, data)
    assert header(packet) == (2, 3, w.TYPE_DGRAM, w.OP_RW, 0, 0)
    assert drops(place) and place.device.said == []


def test_ports_are_none_of_those_of_streams(place, driver):
    listener, program = place.listen(HOST), Program(place, HOST)
    driver.send(w.OP_REQUEST, GUEST, HOST)
    listener.accept()[0].close()
    driver.expect(w.OP_RESPONSE)
    send(driver, b"beside a connection with the same ports")
    assert program.receive() == (GUEST, b"beside a connection with the same ports")
    assert drops(place)


def test_a_program_whose_name_says_no_port_gets_one_and_is_answered(place, driver, tmp_path):
    ports = set()
    for name in (str(tmp_path / "client"), b"\0client %d" % os.getpid()):
        program = Program(place, name=name)
        for _ in range(2):
            program.send(GUEST, b"who am I?")
            asked = driver.receive()
            ports.add(asked.src_port)
            send(driver, b"you are %d" % asked.src_port, dst=asked.src_port)
            assert program.receive() == (GUEST, b"you are %d" % asked.src_port)
    assert len(ports) == 2 and min(ports) >= 1 << 30
    assert drops(place)


def test_a_program_that_is_started_anew_is_reached(place, driver):
    Program(place, HOST).close()
    os.unlink(f"{place.path}.dgram_{HOST}")
    for word in (b"one", b"two"):
        program = Program(place, HOST)
        send(driver, word)
        assert program.receive() == (GUEST, word)
        program.close()
        os.unlink(program.path)
    send(driver, b"nobody")
    assert drops(place, (mailbox.NOBODY, 1))


LIES = [{"op": op} for op in (0, 1, 2, 3, 4, 6, 7, 8, 0xFFFF)] + [
    {"flags": 1},
    {"flags": 1 << 31},
]


@pytest.mark.parametrize("sibling", [False, True])
def test_what_is_no_datagram_is_refused_counted_and_never_answered(place, driver, sibling):
    for lie in LIES:
        send(driver, b"", **lie, **({"dst_cid": 4} if sibling else {}))
    for n in (1, w.MAX_DATA):
        send(driver, b"", len=n)  # longer than what came
    send(driver, b"", len=w.MAX_DATA + 1)
    send(driver, b"", src_cid=4)
    send(driver, b"", type=4)
    assert driver.expect(w.OP_RST).type == 4
    counts = {"DataTooShort": 2, "DataTooLong": 1, "UnknownType": 1}
    foreign = "the source is not the guest's CID"
    assert drops(place, *counts.items(), (mailbox.NOT_A_DATAGRAM, len(LIES)), (foreign, 1))
    driver.quiet()
    assert place.device.said == [
        "guest 3: a datagram is dropped: NotADatagram; more of them are only counted"
    ]


def test_what_a_program_sends_amiss_is_dropped_and_counted(place, driver):
    program, nameless = Program(place, HOST), Program(place)
    for data in (b"", b"no port", b"\nx", b"-1\nx", b"4294967295\nx", b"1 \nx", b"12345678901\n"):
        program.socket.sendto(data, program.main)
    program.send(GUEST, bytes(w.MAX_DATA + 1))
    program.send(GUEST, bytes(w.MAX_DATA + 100))
    program.send(w.PORT_ANY - 1, bytes(w.MAX_DATA + 1))
    nameless.send(GUEST, b"who am I?")
    assert drops(place, (programs.NO_LINE, 7), (programs.LONG, 3), (programs.NO_NAME, 1))
    program.send(GUEST, bytes(w.MAX_DATA))
    assert driver.receive().len == w.MAX_DATA


def test_what_finds_nobody_is_dropped_and_counted(place, driver):
    send(driver, b"no such program")
    send(driver, b"no such guest", dst_cid=4)
    send(driver, b"itself", dst_cid=3)
    assert drops(place, (mailbox.NOBODY, 1), (mailbox.NO_GUEST, 2))
    driver.quiet()
    assert len(place.device.said) == 2


def test_a_socket_that_cannot_take_them_is_said_so(place, driver):
    """A stream's at the path, and a program that has connected its own elsewhere."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.bind(f"{place.path}.dgram_{HOST}")
        send(driver, b"a stream's")
        why = "the program's socket does not take it: "
        assert drops(place, (f"{why}Protocol wrong type for socket", 1))
    program = Program(place, HOST + 1)
    program.socket.connect(program.main)
    send(driver, b"not from there", dst=HOST + 1)
    counts = (f"{why}Protocol wrong type for socket", 1), (f"{why}Operation not permitted", 1)
    assert drops(place, *counts)
    assert len(place.device.said) == 2


def test_without_a_guest_that_takes_them_messages_are_dropped(place):
    program = Program(place, HOST)
    program.send(GUEST, b"too early")
    assert drops(place, (mailbox.NO_GUEST, 1))
    place.driver(datagrams=False)
    (said,) = place.device.said[1:]
    assert said.startswith("guest 3: its driver has not taken the datagrams that it was offered")
    program.send(GUEST, b"a driver that knows none")
    assert drops(place, (mailbox.NO_GUEST, 2))


def test_a_driver_that_has_not_taken_the_feature_gets_an_rst(place):
    """As for any type that its device does not know."""
    driver = place.driver(datagrams=False)
    send(driver, b"anyone?")
    assert driver.expect(w.OP_RST).type == w.TYPE_DGRAM
    assert drops(place, ("UnknownType", 1))


def test_a_device_without_the_option_offers_nothing(tmp_path, device):
    place = Place(tmp_path)
    with place.opened:
        device(place.settings())
        assert not place.driver(datagrams=True).offered & w.F_DGRAM
        assert not os.path.exists(f"{place.path}.dgram")


def test_a_program_that_reads_nothing_holds_up_nobody_and_its_drops_are_counted(place, driver):
    stopped, works = Program(place, HOST), Program(place, HOST + 1)
    sent = 2000
    for i in range(sent):
        send(driver, b"%d" % i)
    send(driver, b"others go on", dst=HOST + 1)
    assert works.receive() == (GUEST, b"others go on")
    stopped.socket.settimeout(0.5)
    came = []
    with pytest.raises(TimeoutError):
        while True:
            came.append(int(stopped.receive()[1]))
    assert came == list(range(len(came))), "the first ones, in order"
    kernels = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())
    assert mailbox.MOST < len(came) <= mailbox.MOST + kernels + 2
    assert drops(place, (mailbox.FULL, sent - len(came)))


def test_a_guest_that_takes_nothing_lets_its_programs_wait(place):
    """Their sockets fill: none of their messages is lost."""
    driver = place.driver(datagrams=True)
    program = Program(place, HOST)
    program.socket.setblocking(False)
    sent = 0
    while True:
        try:
            program.send(GUEST, b"%d" % sent)
            sent += 1
        except BlockingIOError:
            time.sleep(0.2)
            try:
                program.send(GUEST, b"%d" % sent)
                sent += 1
            except BlockingIOError:
                break
    assert sent > SIZE + mailbox.MOST // 2
    assert [int(driver.receive().body) for _ in range(sent)] == list(range(sent))
    assert drops(place)


def test_what_waits_for_a_guest_that_goes_is_not_the_next_ones(place):
    driver, program = place.driver(datagrams=True), Program(place, HOST)
    for _ in range(SIZE + mailbox.MOST // 2):  # from now on programs wait
        program.send(GUEST, b"old")
    driver.socket.close()
    again = place.driver(datagrams=True)
    program.send(GUEST, b"new")
    assert again.receive().body == b"new"
    assert drops(place)


def test_a_message_longer_than_the_guests_buffer_is_dropped_whole(place, driver):
    program = Program(place, HOST)
    queue = driver.queues[0]
    for number in range(SIZE):
        queue.describe(number, queue.address(number), w.HEADER_LEN + 99, 2)
    for data in (bytes(100), b"x" * 99, bytes(w.MAX_DATA)):
        program.send(GUEST, data)
    assert driver.receive().body == b"x" * 99
    assert drops(place, (mailbox.SHORT_BUFFER, 2))


@pytest.fixture
def siblings(tmp_path, device):
    """Two guests of one group, CIDs 3 and 4, and one of another, 5."""
    places = [Place(tmp_path, cid) for cid in (3, 4, 5)]
    with ExitStack() as opened:
        groups = ("a",), ("a",), ("b",)
        pairs = zip(places, groups, strict=True)
        running = device(*(each.settings(datagrams=True, groups=names) for each, names in pairs))
        for each in places:
            each.device = running
            opened.enter_context(each.opened)
        yield places


def test_siblings_reach_each_other_and_others_do_not(siblings):
    one, two, other = (each.driver(datagrams=True) for each in siblings)
    for n in SIZES:
        data = os.urandom(n)
        send(one, data, dst_cid=4)
        packet = two.receive()
        assert packet.body == data and header(packet) == (3, 4, w.TYPE_DGRAM, w.OP_RW, 0, 0)
        send(two, data, src=HOST, dst=GUEST, dst_cid=3)
        assert one.receive().body == data
    send(one, b"across groups", dst_cid=5)
    other.quiet()
    assert drops(siblings[0], (mailbox.NO_GUEST, 1)) and drops(siblings[1])


def test_a_sibling_that_takes_nothing_costs_its_sender_only_counted_messages(siblings):
    one, two, _ = (each.driver(datagrams=True) for each in siblings)
    program = Program(siblings[0], HOST)
    sent = 2000
    for i in range(sent):
        send(one, b"%d" % i, dst_cid=4)
    send(one, b"to a program")
    assert program.receive() == (GUEST, b"to a program")
    there = SIZE + mailbox.MOST  # in two's buffers and before them
    came = [int(two.receive().body) for _ in range(there)]
    assert came == list(range(there))
    assert drops(siblings[0], (mailbox.FULL, sent - there))


def test_random_messages_and_lies_are_all_accounted_for(siblings):
    """What is neither received nor counted is lost; here nothing is."""
    chance = random.Random(15)
    one, two, _ = (each.driver(datagrams=True) for each in siblings)
    program = Program(siblings[0], HOST)
    lies = nobody = 0
    for _ in range(3000):
        data = chance.randbytes(chance.choice([0, 1, 50, 3000]))
        way = chance.randrange(4)
        if way == 0:
            send(one, data, **chance.choice(LIES))
            lies += 1
        elif way == 1:
            send(one, data, dst=9)
            nobody += 1
        elif way == 2:
            send(one, data)
            assert program.receive() == (GUEST, data)
        else:
            send(one, data, dst_cid=4)
            assert two.receive().body == data
    assert drops(siblings[0], (mailbox.NOT_A_DATAGRAM, lies), (mailbox.NOBODY, nobody))
