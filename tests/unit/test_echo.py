# SPDX-License-Identifier: MIT
"""The built-in echo on a device that refuses, resets, starves and breaks: it serves on."""

import importlib.util
import sys
import types
from errno import ECONNRESET

import pytest
import vsock_bench
from pci_machine import MODULES
from road import CID
from road_model import SIZE, STREAM, w

RX, TX, EVENT = range(3)
PORT = 1234
data = vsock_bench.module("sockets.data")
numbers = vsock_bench.module("sockets.numbers")
options = vsock_bench.module("sockets.options")
ready = vsock_bench.module("sockets.ready")
errnos = vsock_bench.module("errnos")
vsock = vsock_bench.module("vsock")
HELLO = b"hello from micropython\n"


def create_server(address, backlog):
    sock = data.socket()
    sock.bind(address)
    sock.listen(backlog)
    return sock


@pytest.fixture
def echo_module(monkeypatch):
    """apps/echo.py, on the bench's sockets."""
    socket = types.SimpleNamespace(
        socket=data.socket,
        poller=lambda: ready.Ready(vsock.get()),
        create_server=create_server,
        AF_VSOCK=numbers.AF_VSOCK,
        VMADDR_CID_ANY=numbers.VMADDR_CID_ANY,
        VMADDR_CID_HOST=numbers.VMADDR_CID_HOST,
        SO_VM_SOCKETS_LATE_SEND=options.SO_VM_SOCKETS_LATE_SEND,
    )
    for name, module in {
        "socket": socket,
        "_notify": types.SimpleNamespace(tell=print),
        "time": vsock_bench.clock,
        "machine": vsock_bench.bench_machine,
        "vsock": vsock,
        "errnos": errnos,
    }.items():
        monkeypatch.setitem(sys.modules, name, module)
    spec = importlib.util.spec_from_file_location("echo", MODULES / "apps/echo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    vars(module)["OSError"] = vsock_bench.MicroOSError
    spec.loader.exec_module(module)
    return module


class Chat:
    """An echo, and the host that it talks to."""

    step_us = 10_000  # that a turn takes

    def __init__(self, engine, module):
        self.engine = engine
        engine.power_on({})
        assert engine.bring_up() == CID
        engine.clock.looks_take(10)
        engine.host.refresh()
        self.echo = echo = module.Echo()
        self.patience: list[float | None] = []  # that it had, turn by turn
        serve = echo._serve

        def served(patience):
            self.patience.append(patience)
            serve(0)

        echo._serve = served

    def turn(self, *calls):
        """Let it look after everything once; what it sent: (op, port there, payload)."""
        self.engine.many(*calls)
        self.engine.clock.advance(self.step_us)
        self.echo.turn()
        sent = self.engine.host.collect(True)
        return [(h[w.TYPE_OP] >> w.OP_SHIFT, h[w.SRC_PORT], data) for _, h, data, _ in sent]

    def give(self, *packets):
        """Packets to it: (op, its port, the host's port, room, payload)."""
        heads = self.engine.host.heads()
        given = []
        for head, (op, port, peer, alloc, payload) in zip(heads, packets, strict=False):
            kind = STREAM | op << w.OP_SHIFT
            header = [2, 0, CID, 0, peer, port, len(payload), kind, 0, alloc, 0]
            given.append([head, header, payload, w.HEADER_LEN + len(payload)])
        return self.turn(["host.give", given], ["transport.fire", RX])

    def call(self):
        """Wait until it calls; the port that it calls from."""
        for _ in range(2000):
            for op, port, _ in self.turn():
                if op == w.OP_REQUEST:
                    return port
        raise AssertionError("it does not call")

    def echoes(self, peer):
        """A connection from the host's port: what is sent comes back."""
        self.give((w.OP_REQUEST, PORT, peer, SIZE, b""))
        sent = self.give((w.OP_RW, PORT, peer, SIZE, b"again"))
        assert (w.OP_RW, PORT, b"again") in sent + self.turn()


@pytest.fixture
def chat(engines, echo_module):
    return Chat(engines["source"], echo_module)


def answer(op, port, alloc=SIZE):
    return op, port, PORT, alloc, b""


def test_the_host_is_greeted_and_echoed(chat):
    port = chat.call()
    assert (w.OP_RW, port, HELLO) in chat.give(answer(w.OP_RESPONSE, port))
    assert (w.OP_RW, port, b"yes") in chat.give((w.OP_RW, port, PORT, SIZE, b"yes"))
    chat.echoes(5000)


def test_who_answers_and_resets_at_once_is_called_again(chat):
    for _ in range(3):
        port = chat.call()
        chat.give(answer(w.OP_RESPONSE, port), answer(w.OP_RST, port))
        chat.echoes(port)


def test_between_two_calls_it_sleeps_until_the_next(chat, echo_module):
    port = chat.call()
    assert chat.patience[-1] == echo_module.PATIENCE  # the host may answer, or not
    chat.give(answer(w.OP_RST, port))
    chat.turn()
    assert echo_module.PATIENCE < chat.patience[-1] < 1
    chat.call()
    assert all(0 <= patience < 1 for patience in chat.patience)


def test_once_it_is_connected_it_sleeps_for_as_long_as_nothing_comes(chat):
    port = chat.call()
    chat.give(answer(w.OP_RESPONSE, port))
    chat.turn()
    assert chat.patience[-1] is None


def test_who_refuses_is_called_again(chat):
    for _ in range(3):
        port = chat.call()
        chat.give(answer(w.OP_RST, port))
        chat.echoes(port)


def test_who_has_no_room_at_first_is_greeted_later(chat):
    port = chat.call()
    assert not [each for each in chat.give(answer(w.OP_RESPONSE, port, 0)) if each[2]]
    said = b""
    for room in 0, 5, len(HELLO), SIZE:
        sent = chat.give(answer(w.OP_CREDIT_UPDATE, port, room)) + chat.turn()
        said += b"".join(each[2] for each in sent)
        assert said == HELLO[:room]
    chat.echoes(5000)


def test_a_reset_of_the_transport_right_behind_the_answer(chat):
    for cid in 44, 45:
        port = chat.call()
        header = [2, 0, CID if cid == 44 else 44, 0, PORT, port, 0]
        header += [STREAM | w.OP_RESPONSE << w.OP_SHIFT, 0, SIZE, 0]
        head = chat.engine.host.heads()[0]
        chat.turn(
            ["host.give", [[head, header, b"", w.HEADER_LEN]]],
            ["host.have_cid", cid],
            ["host.event", 4],
            ["transport.fire", RX],
            ["transport.fire", EVENT],
        )
    assert chat.call()


def test_a_refusal_that_comes_behind_many_echoes(chat):
    """It is found by the look at the call, and once more in the list of news."""
    port = chat.call()
    for peer in range(5000, 5250):
        chat.give((w.OP_REQUEST, PORT, peer, SIZE, b""))
    heads = chat.engine.host.heads()
    kind = STREAM | w.OP_RST << w.OP_SHIFT
    header = [2, 0, CID, 0, PORT, port, 0, kind, 0, SIZE, 0]
    chat.engine.host.give([[heads[0], header, b"", w.HEADER_LEN]])
    chat.engine.transport.fire(RX)
    chat.echo._see_to_call()
    chat.echoes(6000)


def test_who_comes_and_goes_before_it_is_looked_at(chat):
    for peer in range(5000, 5020):
        chat.give(
            answer(w.OP_REQUEST, PORT)[:2] + (peer, SIZE, b""), (w.OP_RST, PORT, peer, 0, b"")
        )
    assert chat.engine.program.connections() <= 1
    chat.echoes(6000)


def test_who_holds_data_and_does_not_move_gives_way_to_who_comes(chat):
    """Not at once, and not who moves, nor who holds nothing."""
    port = chat.call()
    chat.give(answer(w.OP_RESPONSE, port))
    most = chat.engine.stack.budget.connections() - chat.engine.program.connections()
    peers = range(5000, 5000 + most)
    chat.step_us = 500
    for i in range(0, most, 8):
        part = peers[i : i + 8]
        chat.give(*[(w.OP_REQUEST, PORT, peer, 0, b"") for peer in part])
        chat.give(*[(w.OP_RW, PORT, peer, 0, b"held") for peer in part if peer != 5001])
    news = (w.OP_REQUEST, PORT, 99, SIZE, b"")
    assert (w.OP_RST, PORT, b"") in chat.give(news)
    chat.engine.clock.advance(900_000)
    sent = chat.give((w.OP_CREDIT_UPDATE, PORT, 5000, SIZE, b"")) + chat.turn()
    assert sent == [(w.OP_RW, PORT, b"held")]
    chat.engine.clock.advance(900_000)
    assert chat.turn() == []
    assert (w.OP_RST, PORT, b"") in chat.give(news)
    for _ in range(2):  # looks
        chat.engine.clock.advance(2_000_000)
        for _ in range(100):
            chat.turn()
    assert chat.engine.program.connections() == 3  # the one that moved, 5001, and the call
    chat.echoes(99)
    assert chat.give((w.OP_RW, PORT, 5000, SIZE, b"!"), (w.OP_RW, PORT, 5001, SIZE, b"?"))
    assert chat.engine.program.connections() == 4


def test_who_does_not_move_gives_way_when_a_window_could_not_grow(chat):
    """Before anybody is refused: a peer that is stuck may stop a daemon for good."""
    budget = chat.echo._stack.budget
    peer = 5000
    while not budget.below(11):
        chat.give((w.OP_REQUEST, PORT, peer, 0, b""))
        chat.give((w.OP_RW, PORT, peer, 0, b"held"))
        peer += 1
    for _ in range(3):
        chat.engine.clock.advance(2_000_000)
        chat.turn()
    there = chat.engine.program.connections()
    assert there >= peer - 5000  # nobody has to give way yet
    budget.short = True
    for _ in range(20):
        chat.turn()
    assert not budget.short and not budget.below(25)
    assert 0 < chat.engine.program.connections() < there
    chat.echoes(peer)


def opened(chat):
    return chat.engine.transport.opened()


def breaks(chat):
    chat.engine.ring(RX, "put", 127, 0)
    chat.engine.transport.fire(RX)
    for _ in range(3):  # connections that ended come first
        chat.echo.turn()


def until_opened(chat):
    """The seconds until it opens the device."""
    before = opened(chat)
    start = chat.engine.clock.ticks_us()
    chat.engine.clock.looks_take(1000)
    chat.engine.host.refresh()
    for _ in range(2000):
        chat.engine.clock.advance(50_000)
        chat.echo.turn()
        if opened(chat) > before:
            break
    chat.engine.clock.looks_take(10)
    chat.engine.host.refresh()
    chat.engine.host.work()
    return round((chat.engine.clock.ticks_us() - start) / 1e6)


def test_a_device_that_broke_is_opened_again_after_a_pause_that_grows(chat):
    chat.echoes(5000)
    for pause in 1, 2, 4, 8:
        breaks(chat)
        lines = [each for each in chat.engine.machine.logged() if each[1] == "echo"]
        assert lines[-1] == ["WARNING", "echo", f"it broke: the device is opened in {pause} s"]
        assert pause <= until_opened(chat) <= pause + 1
        chat.echoes(5000 + pause)
    chat.engine.clock.advance(65_000_000)
    breaks(chat)
    assert 1 <= until_opened(chat) <= 2


def test_a_device_that_does_not_come_up_is_tried_until_it_does(chat):
    chat.engine.transport.set("offered", 0)
    breaks(chat)
    for pause in 1, 2, 4:
        assert pause <= until_opened(chat) <= pause + 1
    assert "lacks feature bits" in str(chat.engine.machine.logged()[-1])
    chat.engine.transport.set("offered", 1 << 32)
    until_opened(chat)
    chat.echoes(5000)


@pytest.mark.parametrize("begun", [False, True])
def test_a_script_that_watches_a_socket_without_a_connection_sees_an_oserror(engines, begun):
    engine = engines["source"]
    engine.power_on({})
    engine.bring_up()
    if begun:
        engine.program.connect("~a", 2, 99, 2900)
        port = [2, 0, CID, 0, 99, 2900, 0, STREAM | w.OP_RST << w.OP_SHIFT, 0, SIZE, 0]
        head = engine.host.heads()[0]
        engine.many(["host.give", [[head, port, b"", w.HEADER_LEN]]], ["device.poll"])
        assert engine.call("~a.connect_state") == -1
        assert engine.program.woken() == ["~a"]
        assert engine.call("~a.take_error") == ECONNRESET
    else:
        engine.program.socket("~a")
    assert engine.attempt("program.watch", "~a") == [None, errnos.ENOTCONN]
    assert engine.attempt("program.splice", "~a", "~a") == [None, errnos.ENOTCONN]
