# SPDX-License-Identifier: MIT
"""Generated sequences: what they are, what they have reached, how what differs is shrunk."""

import sys

import pytest

from mpfw.differential import catalogue, generate, linux_inside, recorded, states
from mpfw.differential.generate import PRELUDE, Op
from mpfw.differential.generate import generate as sequence_of
from mpfw.differential.scenarios import HOST, LOOPBACK
from mpfw.differential.session import BATCH, Session
from mpfw.differential.shrink import shrink
from mpfw.differential.sides import LinuxSide
from mpfw.differential.table import Call, Row, Table
from mpfw.guest.programs import LocalProgram

CONNECTION = (
    Op(0, "socket", ("socket.SOCK_STREAM",)),
    Op(0, "bind", ("ANY", "0")),
    Op(0, "listen", ("1",)),
    Op(1, "socket", ("socket.SOCK_STREAM",)),
    Op(1, "connect", ("1", "0")),
    Op(0, "accept", ("2",)),
)
CONNECTED = ["ok", "None", "None", "ok", "None", "(1, automatic)"]


def printed(program, results):
    lines = zip(program, results, strict=True)
    return "".join(f"{n} {op.call} s{op.number}: {r}\n" for n, (op, r) in enumerate(lines, 1))


# -- the generator ----------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [LOOPBACK, HOST])
def test_a_seed_gives_the_same_sequences_and_another_seed_others(setting):
    first = [sequence_of(1, index, setting) for index in range(50)]
    assert first == [sequence_of(1, index, setting) for index in range(50)]
    assert first != [sequence_of(2, index, setting) for index in range(50)]


@pytest.mark.parametrize("setting", [LOOPBACK, HOST])
def test_every_sequence_is_a_script(setting):
    for index in range(200):
        program = sequence_of(3, index, setting)
        compile(generate.script(program, 20000), "sequence", "exec")
        if setting == HOST:
            for side in ("guest", "host"):
                compile(generate.part(program, side, 2, 20000), "part", "exec")


def test_both_parts_meet_equally_often():
    for index in range(200):
        program = sequence_of(3, index, HOST)
        counts = {generate.part(program, s, 2, 20000).count("meet()") for s in ("guest", "host")}
        assert len(counts) == 1


def test_a_socket_of_the_host_is_called_by_the_host_only():
    for index in range(200):
        sides: dict[int, str] = {}
        for op in sequence_of(4, index, HOST):
            assert sides.setdefault(op.number, op.side) == op.side
            if op.call == "accept":
                assert sides.setdefault(int(op.arguments[0]), op.side) == op.side


def test_every_call_is_aimed_at_in_every_state(monkeypatch):
    aims = []
    monkeypatch.setattr(generate.Generator, "_aim", lambda self, *aim: aims.append(aim))
    for index in range(3 * 9 * len(generate.CALLS)):
        made = generate.Generator(1, index)
        made._sockets.append(0)  # what _aim would have made
        made.program()
    assert set(aims) == {(state, call) for state in states.STATES[1:] for call in generate.CALLS}


def test_all_calls_and_two_to_four_sockets_come_up():
    programs = [sequence_of(5, index) for index in range(400)]
    calls = {op.call for program in programs for op in program}
    assert {"socket", "connect", "accept", "send", "recv", "shutdown", "setsockopt"} <= calls
    assert {len({op.number for op in program}) for program in programs} <= {2, 3, 4}


def test_parts_are_woven_in_the_order_of_the_calls_until_one_ends():
    program = (Op(0, "a", side="guest"), Op(1, "b", side="host"), Op(0, "c", side="guest"))
    assert generate.woven(program, "1 a s0: x\n2 c s0: z\n", "1 b s1: y\n") == (
        "1 a s0: x\n2 b s1: y\n3 c s0: z\n"
    )
    ended = generate.woven(program, "1 a s0: x\n", "raised RuntimeError\n")
    assert ended == "1 a s0: x\n2 RuntimeError\n"


# -- what they are written in -----------------------------------------------------------------


def test_do_prints_results_and_errors_by_name():
    text = (
        "begin(20000)\ndo(0, 'recv', 1)\n"
        "_sockets[0], _sockets[1] = socket.socketpair()\n"
        "_sockets[1].settimeout(0.05)\n"
        "do(0, 'send', 300)\ndo(1, 'recv', 200)\ndo(1, 'recv_into', 500)\ndo(1, 'recv', 1)\n"
        "do(0, 'poll', 5)\ndo(0, 'getsockopt', socket.SOL_SOCKET, 9999)\n"
        "do(0, 'close')\ndo(1, 'recv', 1)\nend()\n"
    )
    side = LinuxSide(lambda: LocalProgram([sys.executable, "-I", linux_inside.__file__]))
    (out,) = side.run([text], 20, PRELUDE)
    side.close()
    assert out.splitlines() == [
        "1 recv s0: KeyError",
        "2 send s0: 300",
        "3 recv s1: 200 bytes, sum 19900",
        "4 recv_into s1: 100 100 bytes, sum 13686",
        "5 recv s1: timeout",
        "6 poll s0: ['0x4']",
        "7 getsockopt s0: ENOPROTOOPT",
        "8 close s0: None",
        "9 recv s1: 0 bytes, sum 0",
    ]


def test_calls_that_are_no_methods_are_there_as_well():
    text = (
        "begin(20000, 0.2, 0)\n"
        "_sockets[0], _sockets[1] = socket.socketpair()\n"
        "do(0, 'sendmsg', 3, 4)\ndo(1, 'select')\ndo(1, 'recvmsg', 5)\n"
        "do(1, 'recvmsg_into', 1, 10)\ndo(1, 'recv_within', 9)\n"
        "do(1, 'set_time', socket.SOL_SOCKET, socket.SO_RCVTIMEO, 1, 0)\n"
        "do(1, 'get_bytes', socket.SOL_SOCKET, socket.SO_RCVTIMEO, 8)\n"
        "do(1, 'set_time', socket.SOL_SOCKET, socket.SO_RCVTIMEO, 0, -1)\n"
        "do(1, 'ioctl', 0x541B)\ndo(1, 'close')\ndo(1, 'recv_within', 9)\nend()\n"
    )
    side = LinuxSide(lambda: LocalProgram([sys.executable, "-I", linux_inside.__file__]))
    (out,) = side.run([text], 20, PRELUDE)
    side.close()
    assert out.splitlines() == [
        "1 sendmsg s0: 7",
        "2 select s1: [1, 1, 0]",
        "3 recvmsg s1: (5 bytes, sum 4, [], 0, None)",
        "4 recvmsg_into s1: (2, [], 0, None) 11 bytes, sum 5",
        "5 recv_within s1: EAGAIN",
        "6 set_time s1: None",
        "7 get_bytes s1: 0100000000000000",
        "8 set_time s1: EDOM",
        "9 ioctl s1: 0",
        "10 close s1: None",
        "11 recv_within s1: EBADF",
    ]


# -- states -----------------------------------------------------------------------------------


def test_each_call_is_told_its_sockets_state():
    rest = (Op(1, "send", ("5",)), Op(2, "shutdown", ("2",)), Op(1, "recv", ("7",)))
    program = (*CONNECTION, *rest, Op(2, "close"), Op(2, "recv", ("1",)), Op(3, "recv", ("1",)))
    results = [*CONNECTED, "5", "None", "timeout", "None", "EBADF", "KeyError"]
    found = states.calls(program, printed(program, results))
    assert [call.state for call in found] == [
        "none",
        "fresh",
        "bound",
        "none",
        "fresh",
        "listening",
        "connected",
        "connected",
        "peer ended",
        "shut",
        "closed",
        "none",
    ]
    assert found[8] == Call("recv", "peer ended", 7)


def test_a_connect_that_fails_or_waits_is_told():
    program = (CONNECTION[3], CONNECTION[4], Op(1, "recv", ("1",)))
    for result, state in (("ECONNRESET", "failed"), ("EINPROGRESS", "connecting")):
        found = states.calls(program, printed(program, ["ok", result, "EAGAIN"]))
        assert found[-1].state == state


def test_coverage_counts_connections_and_both_ends():
    coverage = states.Coverage()
    talk = (*CONNECTION, Op(1, "send", ("5",)), Op(2, "send", ("5",)))
    coverage.add(talk, printed(talk, [*CONNECTED, "5", "5"]))
    coverage.add(talk, printed(talk, [*CONNECTED, "5", "EPIPE"]))
    coverage.add(CONNECTION[:1], "1 socket s0: ok\n")
    assert (coverage.sequences, coverage.established, coverage.talking) == (3, 2, 1)
    assert "66 % with a connection, 33 % with both ends active" in coverage.table()[0]


@pytest.mark.parametrize("release", ["bookworm", "trixie", "sid"])
def test_recorded_sequences_reach_connections_data_both_ways_and_most_calls_in_most_states(
    release,
):
    coverage = states.Coverage()
    for each in catalogue.sequences(LOOPBACK):
        coverage.add(each.program, recorded.printed(each, "script")[release])
    assert coverage.established >= coverage.sequences / 2
    assert coverage.talking >= coverage.sequences / 3
    pairs = {(call, state) for call in generate.CALLS for state in states.STATES[1:]}
    assert len(pairs & set(coverage.pairs)) > 0.85 * len(pairs)


# -- shrinking, and a run ---------------------------------------------------------------------


def test_what_is_left_is_needed():
    program = sequence_of(1, 0)
    needed = Op(9, "send", ("300000", "0"))
    longer = (*program[:5], needed, *program[5:])

    def differ(batch):
        return [any(op.number == 9 and (op.argument or 0) > 70 for op in each) for each in batch]

    assert shrink(longer, differ) == (Op(9, "send", ("73",)),)


class Sides:
    """A Linux and a firmware that differ in what they print of one call."""

    def __init__(self, wrong="shutdown", times=None):
        self.wrong, self.left = wrong, times

    def linux(self, programs):
        return [printed(each, ["None"] * len(each)) for each in programs]

    def firmware(self, programs):
        texts = []
        for each in programs:
            bad = any(op.call == self.wrong for op in each) and self.left != 0
            if bad and self.left is not None:
                self.left -= 1
            results = ["EIO" if bad and op.call == self.wrong else "None" for op in each]
            texts.append(printed(each, results))
        return texts


def session(sides, rows=(), others=()):
    linuxes = [sides.linux, *others]
    table = Table(list(rows), {})
    return Session(LOOPBACK, linuxes, sides.firmware, table, lambda line: None)


def test_a_difference_is_found_and_shrunk_to_its_call():
    run = session(Sides())
    run.run(1, range(2 * BATCH))
    assert run.coverage.sequences == 2 * BATCH
    assert run.found
    for kind, each in run.found.items():
        assert (kind.call, kind.ours, each.program[-1].call) == ("shutdown", "EIO", "shutdown")
    assert min(len(each.program) for each in run.found.values()) == 1
    assert sum(run.seen.values()) >= len(run.found)


def test_what_another_kernel_prints_is_right_too():
    sides = Sides()
    run = session(sides, others=[sides.firmware])
    run.run(1, range(BATCH))
    assert not run.found


def test_what_is_not_seen_again_is_counted_apart():
    run = session(Sides(times=1))
    run.run(1, range(BATCH))
    assert (run.passing, run.found) == (1, {})


def test_a_row_excuses_its_calls_only():
    rows = [Row("shutdown", state, "so", "None", "EIO", generated=True) for state in states.STATES]
    run = session(Sides(), rows)
    run.run(1, range(BATCH))
    assert not run.found and sum(row.used for row in rows) > 0
    other = session(Sides("close"), rows)
    other.run(1, range(BATCH))
    assert other.found
