# SPDX-License-Identifier: MIT
"""Sockets of datagrams, over the loopback and beside a device: 200 cases that a model decides.

In each 60 calls and packets come in any order; after every one its outcome, what went to the
device and what was dropped are compared with the model (datagram_model.py).
"""

import errno
import random

import pytest
from datagram_case import Case
from datagram_model import ANY, CID, HOST, LIES, LOCAL, MOST, NAMES, num, step, w

CASES, STEPS = 200, 60
SOL_SOCKET, SO_REUSEADDR, SO_RCVBUF = 1, 2, 8


@pytest.fixture(autouse=True)
def not_wanted(engines):
    """What a test turned on is off for the next one."""
    yield
    for engine in engines.values():
        if getattr(engine, "_process", True):
            engine.many(["vsock.datagrams", False])


@pytest.mark.parametrize("seed", range(CASES))
def test_any_calls_and_packets_in_any_order_do_what_the_model_says(engine, seed):
    chance = random.Random(seed)
    case = Case(engine, offered=bool(seed % 4))
    for name in NAMES:
        case.socket(name)
    for _ in range(STEPS):
        if chance.random() < 0.2 and case.model.offered:
            lie = chance.choice(LIES) if chance.random() < 0.3 else None
            data = chance.randbytes(chance.choice([0, 1, 100, 2049, 5000, w.MAX_DATA]))
            source = chance.choice([(HOST, 700), (HOST, 701), (77, 700)])
            more = chance.choice([0, 0, 1]) * (len(data) < w.MAX_DATA)
            case.packet((CID, chance.choice([700, 701, 9])), data, source, lie, more)
        else:
            name, method, arguments = step(chance)
            case.call(name, method, *arguments)
            sock = case.model.sockets[name]
            if sock.closed and chance.random() < 0.7:
                case.socket(name)
        case.check()
    case.over()


# -- one thing at a time


@pytest.fixture
def case(engine):
    return Case(engine)


@pytest.fixture
def pair(case):
    """`a` is bound to port 700 of any CID, `b` sends there."""
    for name in "ab":
        case.socket(name)
    case.call("a", "bind", [ANY, 700])
    case.call("b", "connect", [LOCAL, 700])
    return case


def test_without_the_feature_there_is_no_such_socket(engine):
    case = Case(engine, offered=False)
    engine.vsock.datagrams(False)
    assert case.play("a", "socket", 2) == [None, errno.ENODEV]
    engine.vsock.datagrams(True)
    case.socket("a")
    case.call("a", "sendto", b"x", [HOST, 700])  # EINVAL: they stay within this machine
    assert engine.transport.accepted() & w.F_DGRAM == 0


def test_a_machine_without_a_device_has_them_when_it_is_asked_to(engine):
    engine.power_on({})
    engine.no_device()
    engine.bring_up()
    engine.load("bench_datagrams")
    assert engine.play([["~a", "socket", [2]]]) == [[None, errno.ENODEV]]
    engine.vsock.datagrams(True)
    calls = [["~a", "socket", [2]], ["~a", "bind", [[ANY, 5]]], ["~a", "sendto", [b"x", [1, 5]]]]
    assert engine.play([*calls, ["~a", "recvfrom", [9]]])[-1] == [[b"x", [LOCAL, 5]], None]


def test_a_type_that_was_not_agreed_on_is_answered_with_rst_and_the_agreed_one_never(engine):
    for offered in (False, True):
        case = Case(engine, offered=offered)
        case.packet((CID, 9), b"x")
        sent = engine.host.collect(True)
        assert [header[w.TYPE_OP] >> w.OP_SHIFT for _, header, _, _ in sent] == (
            [] if offered else [w.OP_RST]
        )


def test_datagrams_and_streams_have_ports_of_their_own(pair, engine):
    """A stream's port 700 takes no datagram, and the other way round."""
    engine.program.listen("~stream", 700)
    assert engine.program.connect("~call", LOCAL, 700, 2000) == errno.EINPROGRESS
    pair.call("b", "send", b"to the datagram socket")
    assert engine.program.accept("~stream", "~got") == [LOCAL, 2000]
    engine.call("~call.send", b"to the stream")
    assert engine.call("~got.recv", 99) == b"to the stream"
    assert pair.call("a", "recvfrom", 99)[0] == b"to the datagram socket"


def test_a_datagram_with_the_ports_of_a_connection_is_none_of_its_bytes(case):
    """The receive road looks at the connection of the packet before first."""
    engine, road = case.engine, case.road
    name = road.open(1234, 5000)
    case.socket("a")
    case.call("a", "bind", [ANY, 1234])
    case.packet((CID, 1234), b"a datagram", (HOST, 5000))
    assert engine.attempt(f"{name}.recv", 99) == [None, errno.EAGAIN]
    assert case.call("a", "recvfrom", 99) == [b"a datagram", [HOST, 5000]]


def test_a_datagram_does_not_have_the_road_look_for_the_connection_again(case):
    name = case.road.open(1234, 5000)
    kind = w.TYPE_STREAM | w.OP_RW << w.OP_SHIFT
    header = [HOST, 0, CID, 0, 5000, 1234, 1, kind, 0, 0, 0]
    given = [case.engine.host.heads()[0], header, b"x", w.HEADER_LEN + 1]
    case.engine.many(["host.give", [given]], ["device.poll"])
    assert case.engine.call(f"{name}.recv", 9) == b"x"
    case.packet((CID, 9), b"for nobody")
    assert case.engine.looks_first_at(f"{name}")


def test_sockets_that_share_a_port_get_what_their_peers_send_and_one_the_rest(case):
    for name in "abcd":
        case.socket(name)
        case.call(name, "setsockopt", SOL_SOCKET, SO_REUSEADDR, 1)
    case.call("a", "bind", [ANY, 700])
    case.call("b", "bind", [ANY, 700])
    case.call("c", "sendto", b"", [LOCAL, 700])
    sender = case.call("a", "recvfrom", 9)[1]
    case.call("b", "connect", sender)
    case.call("c", "sendto", b"for b", [LOCAL, 700])
    case.call("d", "sendto", b"for a", [LOCAL, 700])
    assert case.call("b", "recvfrom", 9) == [b"for b", sender]
    assert case.call("a", "recvfrom", 9)[0] == b"for a"
    case.call("b", "close")
    case.call("c", "sendto", b"for a again", [LOCAL, 700])
    assert case.call("a", "recvfrom", 99)[0] == b"for a again"
    case.socket("e")
    case.call("e", "setsockopt", SOL_SOCKET, SO_REUSEADDR, 1)
    case.call("e", "bind", [ANY, 700])
    for _ in range(MOST + 2):
        case.call("c", "sendto", b"", [LOCAL, 700])  # a's queue is full: e gets nothing of it
    assert case.call("e", "recvfrom", 9) is None


def test_a_queue_is_full_at_so_many_messages_however_small(pair):
    for _ in range(MOST + 3):
        pair.call("b", "send", b"")
    assert pair.engine.full("~a")[0] == 3
    for _ in range(MOST):
        pair.call("a", "recvfrom", 9)
    assert pair.play("a", "recvfrom", 9) == [None, errno.EAGAIN]
    pair.call("b", "send", b"again")
    assert pair.call("a", "recvfrom", 9)[0] == b"again"


def test_a_queue_is_full_at_as_many_bytes_as_so_rcvbuf_says(pair):
    for _ in range(5):
        pair.call("b", "send", bytes(w.MAX_DATA))
    assert pair.engine.full("~a")[0] == 2
    pair.call("a", "setsockopt", SOL_SOCKET, SO_RCVBUF, 1 << 20)
    for _ in range(5):
        pair.call("b", "send", bytes(w.MAX_DATA))
    assert pair.engine.full("~a") == [4, 425984]


def test_what_a_device_wrote_is_copied_where_receive_buffers_are_short(case):
    """More messages than there are large buffers: each arrives whole."""
    case.socket("a")
    case.call("a", "bind", [ANY, 700])
    chance = random.Random(3)
    for _ in range(60):
        case.packet((CID, 700), chance.randbytes(3000))
    for _ in range(60):
        case.call("a", "recvfrom", 9000)
    case.check()
    assert case.engine.stack.store.spare() == 24
    case.over()


def test_memory_for_messages_is_promised_and_without_any_bind_fails(case):
    names = [str(i) for i in range(100)]
    limits = []
    for name in names:
        case.socket(name)
        if case.play(name, "bind", [ANY, 3000 + int(name)])[1] == errno.ENOBUFS:
            break
        limits.append(case.engine.full("~" + name)[1])
    assert limits == sorted(limits, reverse=True) and limits[0] == 212992
    blocks = sum(limit // w.BLOCK + 1 for limit in limits)  # wherever in a block bytes begin
    assert case.engine.stack.store.promised() == 40 + blocks
    assert 30 < len(limits) < 100 and limits[-1] >= w.BLOCK
    assert case.road.engine.program.connections() == 0


def test_a_queue_takes_as_many_bytes_as_its_limit_and_none_more(pair):
    limit = pair.engine.full("~a")[1]
    for _ in range(3):
        pair.call("b", "send", bytes(w.MAX_DATA))
    rest = limit - 3 * w.MAX_DATA
    assert 0 < rest <= w.MAX_DATA
    assert pair.play("b", "send", bytes(rest)) == [rest, None]
    assert pair.engine.full("~a")[0] == 0
    assert pair.play("b", "send", b"x") == [1, None]
    assert pair.engine.full("~a")[0] == 1


def test_a_port_that_is_closed_has_no_message_no_memory_and_takes_none(pair):
    pair.call("b", "send", bytes(9000))
    free = pair.engine.free_blocks()
    pair.engine.call("~a.mailbox.port.close")
    assert pair.engine.free_blocks() == free + 3
    assert pair.engine.call("~a.mailbox.port.receive", 0, 0, False) is None
    full = pair.engine.full("~a")[0]
    assert pair.play("b", "send", b"x") == [1, None]
    assert pair.engine.full("~a") == [full + 1, 0]


def test_a_queue_grows_by_a_single_byte(case):
    case.socket("a")
    case.play("a", "bind", [ANY, 700])
    promised = case.engine.stack.store.promised()
    assert case.engine.call("~a.mailbox.port.promise", 212993) is True
    assert case.engine.full("~a")[1] == 212993
    assert case.engine.stack.store.promised() == promised + 1


def test_a_message_arrives_without_heap(expanded):
    case = Case(expanded)
    case.socket("a")
    case.call("a", "bind", [ANY, 700])
    for n in (0, 3000, 9000, w.MAX_DATA):
        head = expanded.host.heads()[0]
        kind = w.TYPE_DGRAM | w.OP_RW << w.OP_SHIFT
        header = [HOST, 0, CID, 0, 9, 700, n, kind, 0, 0, 0]
        expanded.host.give([[head, header, bytes(n), w.HEADER_LEN + n]])
        assert expanded.without_memory("device.poll") == 1
        assert case.play("a", "recvfrom", 70_000) == [[bytes(n), [HOST, 9]], None]


def test_who_watches_is_told_of_messages(pair):
    pair.call("a", "getsockname")
    assert pair.play("a", "watch") == [None, None]
    pair.call("b", "send", b"x")
    pair.packet((CID, 700), b"y")
    assert pair.engine.program.woken() == ["~a"]
    assert pair.engine.program.woken() == []


def test_a_device_that_breaks_is_told_once_to_who_waits_for_messages(pair):
    engine = pair.engine
    pair.socket("near")
    pair.call("near", "bind", [LOCAL, 701])
    engine.many(["host.put", 127, 0], ["device.poll"])
    assert pair.play("near", "recvfrom", 9) == [None, errno.EAGAIN]  # it waits for no device
    assert pair.play("a", "ioctl", 3, 0x23FF)[0] & num.POLLERR
    assert pair.play("a", "recvfrom", 9) == [None, errno.EIO]
    assert pair.play("a", "recvfrom", 9) == [None, errno.EAGAIN]
    assert pair.play("b", "sendto", b"x", [HOST, 1]) == [None, errno.EIO]
    assert pair.play("b", "send", b"still here") == [10, None]
    assert pair.call("b", "getpeername") == [LOCAL, 700]
    engine.reopen()
    assert pair.play("b", "sendto", b"x", [HOST, 1]) == [1, None]


def test_a_full_transmit_queue_is_eagain_and_no_out(case):
    """The device takes nothing."""
    case.socket("a")
    taken = 0
    while case.play("a", "sendto", bytes(5000), [HOST, 1])[1] is None:
        taken += 1
    assert case.play("a", "sendto", b"x", [HOST, 1]) == [None, errno.EAGAIN]
    assert taken > 40
    assert case.play("a", "ioctl", 3, 0x23FF) == [0, None]
    assert [len(payload) for _, _, payload, _ in case.engine.host.collect(True)] == [5000] * taken
    assert case.play("a", "ioctl", 3, 0x23FF) == [num.POLL_WRITE, None]
    assert case.play("a", "sendto", b"x", [HOST, 1]) == [1, None]


def test_a_program_may_use_its_buffer_again_at_once(case):
    """Buffers that change are copied: to a spare receive buffer, or without any to the heap."""
    engine = case.engine
    case.socket("a")
    case.call("a", "connect", [HOST, 1])
    data = random.Random(1).randbytes(9000)
    taken: list[int] = []
    for _ in range(2):
        assert engine.program.write_once("~a", data) == len(data)
        case.call("a", "send", b"")
        went = [payload for _, _, payload, _ in engine.host.collect(True)]
        assert went == [data, b""]
        engine.device.reap()
        while (segment := engine.stack.store.take_large()) >= 0:
            taken.append(segment)
    engine.many(*[["stack.store.release", segment] for segment in taken])
    case.model.sent = []
    case.over()


def test_a_message_that_found_no_room_holds_no_memory(case):
    engine = case.engine
    case.socket("a")
    case.call("a", "connect", [HOST, 1])
    while case.play("a", "send", b"x")[1] is None:
        pass
    spare = engine.stack.store.spare()
    assert engine.attempt("program.write_once", "~a", bytes(9000)) == [None, errno.EAGAIN]
    assert engine.stack.store.spare() == spare


def test_an_automatic_port_is_one_that_nobody_has(case):
    for name in "abc":
        case.socket(name)
    case.call("a", "sendto", b"", [LOCAL, 9])
    case.call("b", "bind", [LOCAL, case.model.sockets["a"].port + 1])
    case.call("c", "sendto", b"", [LOCAL, 9])


def test_times_out_as_cpython_and_as_linux_do(pair):
    pair.engine.clock.looks_take(100)
    pair.play("a", "settimeout", 0.02)
    assert pair.play("a", "recvfrom", 9) == [None, "TimeoutError"]
    pair.play("a", "settimeout", None)
    assert pair.play("a", "recvfrom", 9, num.MSG_DONTWAIT) == [None, errno.EAGAIN]
    pair.call("a", "shutdown", 0)
    assert pair.play("a", "recvfrom", 9) == [[b"", None], None]


def test_messages_of_several_buffers_go_out_as_one(pair):
    assert pair.play("b", "sendmsg", [b"ab", b"", b"c"]) == [3, None]
    assert pair.play("a", "recvfrom", 9)[0][0] == b"abc"


def test_sizes_that_cannot_be_are_valueerror(pair):
    assert pair.play("a", "recvfrom", -1) == [None, "ValueError"]
    assert pair.play("a", "recv", -1) == [None, "ValueError"]
    assert pair.play("a", "recvfrom_into", bytearray(3), 4) == [None, "ValueError"]


def test_read_gives_one_message(pair):
    pair.call("b", "send", b"one")
    pair.call("b", "send", b"two")
    assert [pair.play("a", "read", 2), pair.play("a", "read")] == [[b"on", None], [b"two", None]]
    assert pair.play("a", "read") == [None, None]
