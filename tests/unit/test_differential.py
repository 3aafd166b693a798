# SPDX-License-Identifier: MIT
"""The differential test's own parts: comparison, table, records, and the scripts as files."""

import subprocess
import sys
from functools import partial
from typing import Any, cast

import pytest

from mpfw import paths
from mpfw.differential import (
    catalogue,
    compare,
    dialogues,
    linux_inside,
    outcomes,
    recorded,
    scenarios,
    table,
    unmended,
)
from mpfw.differential.generate import Op
from mpfw.differential.scenarios import Scenario
from mpfw.differential.sides import TIMEOUT, FirmwareSide, LinuxSide
from mpfw.differential.table import Call, Row, Table
from mpfw.guest.errors import GuestTimeout
from mpfw.guest.programs import LocalProgram

EMPTY = Table([], {})


def names():
    return {each.name for each in catalogue.load()}


def row(**fields):
    usual = dict(call="recv", state="connected", why="so", linux="a", ours="b")
    return Row(**{**usual, **fields})


# -- comparison -------------------------------------------------------------------------------


def test_same_lines_do_not_differ():
    assert compare.first_difference(["a\nb\n"], "a\nb\n", "s", EMPTY) is None


def test_the_first_line_that_no_kernel_printed_is_the_difference():
    found = compare.first_difference(["a\nb\nc\n", "a\nx\nc\n"], "a\ny\nz\n", "s", EMPTY)
    assert found == compare.Difference(2, ("b", "x"), "y")


def test_either_kernel_is_right_in_each_line():
    assert compare.first_difference(["a\nb\n", "c\nd\n"], "a\nd\n", "s", EMPTY) is None


def test_a_line_too_few_and_a_line_too_many_differ():
    assert compare.first_difference(["a\nb\n"], "a\n", "s", EMPTY) is not None
    assert compare.first_difference(["a\n"], "a\nb\n", "s", EMPTY) is not None


def test_what_differs_has_to_differ_again(monkeypatch):
    monkeypatch.setattr(recorded, "printed", lambda scenario, part: {"sid": "a\n"})
    found = []
    for first, second in (("a\n", "b\n"), ("b\n", "a\n"), ("b\n", "c\n")):
        again = partial(dict[str, str], script=second)
        found.append(compare.confirmed(SCENARIO, {"script": first}, again, EMPTY))
    assert found == [[], [], [("script", compare.Difference(1, ("a",), "c"))]]
    known = Table([], {SCENARIO.name: "so"})
    (told,) = compare.confirmed(SCENARIO, {"script": "b\n"}, lambda: {"script": "a\n"}, known)
    assert told == ("script", compare.Difference(1, ("a",), "b"))


def test_a_row_excuses_its_scenarios_line_and_counts_it():
    rows = Table([row(scenarios=("s",))], {})
    assert compare.first_difference(["a\nc\n"], "b\nc\n", "s", rows) is None
    assert rows.rows[0].used == 1
    assert compare.first_difference(["a\n"], "b\n", "another", rows) is not None
    assert compare.first_difference(["a\nc\n"], "b\nd\n", "s", rows) is not None


def test_a_row_for_calls_needs_call_state_argument_and_both_outputs():
    mine = row(low=0, high=3, generated=True)
    assert mine.excuses("1 recv s0: a", "1 recv s0: b", Call("recv", "connected", 3))
    assert not mine.excuses("1 recv s0: a", "1 recv s0: b", Call("recv", "connected", 4))
    assert not mine.excuses("1 recv s0: a", "1 recv s0: b", Call("recv", "connected"))
    assert not mine.excuses("1 recv s0: a", "1 recv s0: b", Call("send", "connected", 3))
    assert not mine.excuses("1 recv s0: a", "1 recv s0: b", Call("recv", "bound", 3))
    assert not mine.excuses("1 recv s0: aa", "1 recv s0: b", Call("recv", "connected", 3))
    assert not row(scenarios=("s",)).excuses(
        "1 recv s0: a", "1 recv s0: b", Call("recv", "connected", 3)
    )


def test_a_row_of_a_dialogue_needs_its_name_the_call_and_the_state():
    mine = row(scenarios=("half.one",))
    lines = ("7 recv s1: a", "7 recv s1: b")
    assert mine.excuses(*lines, Call("recv", "connected", 1, "half.one"))
    assert not mine.excuses(*lines, Call("recv", "connected", 1, "half.two"))
    assert not mine.excuses(*lines, Call("recv", "shut", 1, "half.one"))
    assert not row(generated=True).excuses(*lines, Call("recv", "connected", 1, "half.one"))


# -- the table --------------------------------------------------------------------------------


def test_the_tree_s_table_is_what_docs_errno_md_shows():
    document = (paths.ROOT / "docs/errno.md").read_text()
    assert table.rendered_into(document, table.load()) == document


def test_the_calls_outcomes_are_what_docs_errno_md_shows():
    document = (paths.ROOT / "docs/errno.md").read_text()
    assert outcomes.rendered_into(document, catalogue.load()) == document


def test_an_outcome_is_an_error_s_name_or_that_it_went_well():
    given = {"None": "ok", "0": "ok", "3 bytes, sum 3": "ok", "EPIPE": "EPIPE", "['0x4']": "ok"}
    assert {text: outcomes.outcome("send", text) for text in given} == given
    assert outcomes.outcome("recv", "timeout") == "timed out"
    assert outcomes.outcome("connect_ex", "104") == "ECONNRESET"
    assert outcomes.outcome("poll", "ValueError") == "ValueError"


def test_outcomes_are_told_by_call_and_state_and_name_the_kernels_if_few(tmp_path):
    program = (Op(0, "socket", ("socket.SOCK_STREAM",)), Op(0, "recv", ("1",)))
    one = dialogues.Dialogue.of("one", scenarios.LOOPBACK, program)
    for release, result in (("sid", "ENOTCONN"), ("trixie", "EPIPE"), ("bookworm", "ENOTCONN")):
        text = f"1 socket s0: ok\n2 recv s0: {result}\n"
        recorded.write(one, release, "7", {"script": text}, tmp_path)
    found = outcomes.collect([one], scenarios.LOOPBACK, tmp_path)
    assert found["recv", "fresh"] == {"ENOTCONN": {"sid", "bookworm"}, "EPIPE": {"trixie"}}
    assert "| `recv` | ENOTCONN (bookworm, sid), EPIPE (trixie) | |" in outcomes.table_of(found)


def test_rows_are_rendered_with_their_ranges():
    text = table.render(Table([row(low=1, high=1, generated=True), row(scenarios=("s",))], {}))
    assert "| `recv` | connected | 1 | so |\n| `recv` | connected | any | so |" in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[row]]\ncall='a'\n", "row 1 of .* has no linux, ours, state, why"),
        ("[[row]]\ncal='a'\ncall='a'\nstate='b'\nwhy='c'\nlinux=''\nours=''\n", "know cal"),
        ("[[row]]\ncall='a'\nstate='b'\nwhy='c'\nlinux=''\nours=''\n", "for no scenario"),
        (
            "[[row]]\ncall='a'\nstate='b'\nwhy='c'\nlinux=''\nours=''\narguments=[2,1]\n",
            "lowest, highest",
        ),
        ("[[row]", "not TOML"),
    ],
)
def test_a_wrong_table_says_which_row_and_why(tmp_path, text, says):
    path = tmp_path / "differences.toml"
    path.write_text(text)
    with pytest.raises(table.TableError, match=says):
        table.load(path)


def test_unmended_scenarios_exist():
    assert set(table.load().unmended) <= names()


def test_what_is_to_be_mended_is_grouped_by_how_it_differs_and_what_did_not_run_stays(tmp_path):
    path = tmp_path / "differences.toml"
    path.write_text('# rows\n\n[unmended]\n"old" = ["one", "two"]\n')
    difference = compare.Difference(7, ("7 recv s1: timeout", "9 recv s0: EIO"), "7 recv s1: b")
    why = unmended.reason(difference)
    assert why == "recv: Linux timeout or EIO, here b"
    assert unmended.reason(compare.Difference(1, ("x", None), "y")) == "Linux x or nothing, here y"
    unmended.note(["two", "three", "four"], {"three": why, "four": why}, path)
    assert path.read_text().startswith('# rows\n\n[unmended]\n"recv: Linux')
    assert table.load(path).unmended == {"one": "old", "three": why, "four": why}
    unmended.note(["one", "three"], {}, path)
    assert table.load(path).unmended == {"four": why}


# -- records ----------------------------------------------------------------------------------

SCENARIO = Scenario("one", scenarios.LOOPBACK, "print(1)\n")


def test_a_record_is_read_as_it_was_written(tmp_path):
    recorded.write(SCENARIO, "sid", "7.2", {"script": "1\n\n  two\n"}, tmp_path)
    recorded.write(SCENARIO, "bookworm", "6.1", {"script": "1\n"}, tmp_path)
    recorded.write(SCENARIO, "bookworm", "6.1", {"script": "2\n"}, tmp_path)
    assert recorded.printed(SCENARIO, "script", tmp_path) == {
        "bookworm": "2\n",
        "sid": "1\n\n  two\n",
    }


def test_a_changed_script_has_no_record(tmp_path):
    recorded.write(SCENARIO, "sid", "7.2", {"script": "1\n"}, tmp_path)
    changed = Scenario("one", scenarios.LOOPBACK, "print(2)\n")
    with pytest.raises(recorded.RecordError, match="changed .* --record one"):
        recorded.printed(changed, "script", tmp_path)
    with pytest.raises(recorded.RecordError, match="not recorded .* --record one"):
        recorded.printed(SCENARIO, "guest", tmp_path)


def test_recording_a_changed_script_drops_what_other_releases_printed_before(tmp_path):
    recorded.write(SCENARIO, "sid", "7.2", {"script": "1\n"}, tmp_path)
    changed = Scenario("one", scenarios.LOOPBACK, "print(2)\n")
    recorded.write(changed, "trixie", "6.12", {"script": "2\n"}, tmp_path)
    assert recorded.printed(changed, "script", tmp_path) == {"trixie": "2\n"}


def test_releases_that_print_the_same_share_what_they_print(tmp_path):
    two = Scenario("one.two", scenarios.LOOPBACK, "print(2)\n")
    for release, text in (("sid", "1\n"), ("bookworm", ""), ("trixie", "1\n")):
        recorded.write(two, release, "7", {"script": text}, tmp_path)
    recorded.write(SCENARIO, "sid", "7", {"script": "1\n"}, tmp_path)
    assert (tmp_path / "one.txt").read_text().count("\n  1\n") == 2
    assert recorded.known(two, "sid", tmp_path) and not recorded.known(two, "buster", tmp_path)
    assert not recorded.known(Scenario("one.two", "loopback", "other"), "sid", tmp_path)
    found = recorded.printed(two, "script", tmp_path)
    assert found == {"bookworm": "", "sid": "1\n", "trixie": "1\n"}
    recorded.prune("one", {"one"}, tmp_path)
    assert [entry.name for entry in recorded.read("one", tmp_path)] == ["one"]


def test_a_line_that_is_no_record_is_named(tmp_path):
    (tmp_path / "one.txt").write_text("== one script 0\nwhat?\n")
    with pytest.raises(recorded.RecordError, match="one.txt:2 "):
        recorded.read("one", tmp_path)


def test_every_record_belongs_to_a_scenario():
    files = {path.stem for path in recorded.FOLDER.glob("*")}
    assert {entry.name for file in files for entry in recorded.read(file)} <= names()


def test_no_scenario_failed_of_itself():
    """What a scenario must not have done on Linux: a name it lacks, a time-out of the test's."""
    wrong = ("raised NameError", "raised SyntaxError", "raised AttributeError", TIMEOUT.strip())
    for path in recorded.FOLDER.glob("*"):
        for entry in recorded.read(path.stem):
            assert not any(each in entry.printed for each in wrong), entry.name


RECORDED = {
    scenarios.LOOPBACK: ("bookworm", "trixie", "sid"),
    scenarios.HOST: ("bookworm", "trixie", "sid"),
}


@pytest.mark.parametrize("setting", RECORDED)
def test_every_scenario_has_its_kernels_records(setting):
    found = catalogue.load(setting)
    for release in RECORDED[setting]:
        missing = [each.name for each in found if not recorded.known(each, release)]
        assert missing == [], f"mpfw differential --record --missing --release {release}"


# -- scenarios and sides ----------------------------------------------------------------------


def test_a_script_with_both_parts_is_for_the_host_setting():
    assert scenarios.setting("def guest(c, p, m): pass\ndef host(c, p, m): pass\n") == "host"
    assert scenarios.setting("def guest(c, p, m): pass\n") == "loopback"


GROUP = """
def _own(port):
    print(port)

def alone_first(port):
    _own(port)

def guest_second(cid, port, meet):
    print("guest")

def host_second(cid, port, meet):
    print("host")
"""


def test_a_group_is_a_scenario_for_each_function_with_what_they_share():
    first, second = scenarios.of_file("group", GROUP)
    assert (first.name, first.setting) == ("group.first", "loopback")
    assert (second.name, second.setting) == ("group.second", "host")
    assert first.script(7).endswith("\nalone_first(7)\n")
    assert "def _own" in first.text
    assert "guest_second" not in first.text
    assert "alone_first" not in second.text
    assert "take_part_in_host(host_second, 3, 7)" in second.part("host", 3, 7)


def _talk(caller, accepted):
    caller.send(3)
    accepted.recv(dialogues.SOCKET.MSG_PEEK)


def test_a_dialogue_runs_over_the_loopback_and_with_either_end_in_the_guest():
    alone, guest, host = dialogues.settings_of("talk", _talk)
    assert [str(op) for op in alone.program[-3:]] == [
        "do(0, 'accept', 2)",
        "do(1, 'send', 3)",
        "do(2, 'recv', socket.MSG_PEEK)",
    ]
    assert {op.side for op in alone.program} == {""}
    sides = {op.number: op.side for op in guest.program}
    assert sides == {0: "host", 1: "guest", 2: "host"}
    assert {op.number: op.side for op in host.program} == {0: "guest", 1: "host", 2: "guest"}
    assert "do(1, 'connect', 2, 0)" in map(str, guest.program)
    assert "do(1, 'connect', 33, 0)" in map(str, host.program)


def test_what_both_parts_of_a_dialogue_printed_is_one_text_in_the_order_of_the_calls():
    _, guest, _ = dialogues.settings_of("talk", _talk)
    parts = {"guest": "1 socket s1: ok\n", "host": "1 socket s0: ok\n2 bind s0: None\n"}
    lines = guest.joined(parts)["both"].splitlines()
    assert lines[:2] == ["1 socket s0: ok", "2 bind s0: None"]


def test_each_scenario_of_a_run_has_ports_of_its_own():
    ports = [scenarios.port_of(number) for number in range(100)]
    assert len({port + n for port in ports for n in range(scenarios.PORTS)}) == 300


@pytest.fixture
def linux():
    side = LinuxSide(lambda: LocalProgram([sys.executable, "-I", linux_inside.__file__]))
    yield side
    side.close()


def test_linux_runs_each_script_in_a_process_of_its_own(linux):
    scripts = ["import sys\nsys.x = 1\nprint(1)", "import sys\nprint(hasattr(sys, 'x'))"]
    assert linux.run(scripts, 20) == ["1\n", "False\n"]
    assert linux.release


def test_what_a_script_raises_is_its_last_line(linux):
    texts = ["print(1)\nraise OSError(104, 'x')", "1 +", "raise SystemExit(3)"]
    expected = ["1\nraised ConnectionResetError ECONNRESET\n", "raised SyntaxError\n"]
    assert linux.run(texts, 20) == [*expected, "raised SystemExit\n"]


def test_a_script_that_does_not_end_is_ended(linux):
    hangs = "import time\nprint('here', flush=True)\ntime.sleep(60)"
    assert linux.run([hangs, "print(2)"], 1) == ["here\n" + TIMEOUT, "2\n"]


def test_bytes_pass_cpython_s_refusal_for_vsock():
    """The kernel is asked either way: AF_VSOCK may not be there, so by the calls' errors."""
    text = (
        "import socket\nfrom mpfw.differential import linux_inside\nlinux_inside.install()\n"
        "a, b = socket.socketpair()\n"
        "second = (1).to_bytes(8, 'little') + bytes(8)\n"
        "a.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, second)\n"
        "print(a.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)[:8].hex())\n"
        "print(socket.VMADDR_CID_LOCAL, socket.socket.setsockopt.refusing is not None)\n"
    )
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert ran.stdout == "0100000000000000\n1 True\n"


class Guest:
    """Stands for a guest: runs what it can, and hangs at "hang"."""

    booted = 0

    def __init__(self):
        Guest.booted += 1

    def run(self, program):
        pass

    def call(self, function, scripts, prelude, timeout):
        if "hang" in scripts:
            raise GuestTimeout("it hangs", "")
        return [text.upper() for text in scripts]

    def close(self):
        pass


def test_a_firmware_that_hangs_is_started_again_and_the_others_of_its_batch_run():
    side, before = FirmwareSide(cast(Any, Guest)), Guest.booted
    assert side.run(["a", "hang", "b"], 1) == ["A", TIMEOUT, "B"]
    assert Guest.booted == before + 3


def test_a_script_that_faults_has_the_firmware_s_log_behind_it():
    class Faulty(Guest):
        log = "[0.1] ERROR exception: page fault"

        def call(self, function, scripts, prelude, timeout):
            return ["raised OSError EFAULT\n", "fine\n"]

    side = FirmwareSide(cast(Any, Faulty))
    assert side.run(["a", "b"], 1) == ["raised OSError EFAULT\n" + Faulty.log, "fine\n"]
