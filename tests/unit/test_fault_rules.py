# SPDX-License-Identifier: MIT
"""Fault rules without a device: which packets they are about, that a seed repeats them, what is
said of rules that cannot be, and the order in which packets leave a lane."""

import heapq
import itertools
import time
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from profiles import examples

from mpfw.device.command import device
from mpfw.device.faults import lane as lanes
from mpfw.device.faults.actions import ACTIONS, Pace, Passing
from mpfw.device.faults.files import from_file, from_tables
from mpfw.device.faults.injector import Injector
from mpfw.device.faults.rules import FROM_GUEST, TO_GUEST, RuleError, from_mapping
from mpfw.device.packets import make
from mpfw.trace.tracer import OPS

GUEST, HOST = 3, 2


def to_guest(op="RW", peer=5000, port=1234, data=b"", cid=GUEST, **fields):
    return TO_GUEST, make(OPS[op], peer, port, data, dst_cid=cid, **fields)


def from_guest(op="RW", peer=5000, port=1234, data=b"", cid=GUEST, **fields):
    return FROM_GUEST, make(OPS[op], port, peer, data, src_cid=cid, dst_cid=HOST, **fields)


def rule(do="drop", seed=0, number=1, **keys):
    return from_mapping({"do": do, **keys}, "here", number, seed)


def through(injector, packets):
    """What is left of packets: headers and payloads, in their order."""
    found = []
    for direction, packet in packets:
        verdict = injector.take(direction, packet)
        left = [(bytes(one.packet.header), one.packet.payload()) for one in verdict.packets]
        found.append((left, [bytes(one.header) for one in verdict.answers], verdict.stall))
    return found


# -- which packets --------------------------------------------------------------------------------

few = st.integers(1, 2)
ops = st.sampled_from(["RW", "SHUTDOWN"])
some = st.one_of(few, st.lists(few, min_size=1, max_size=3))
matches = st.fixed_dictionaries(
    {},
    optional={
        "direction": st.sampled_from(["to-guest", "from-guest"]),
        "guest_cid": some,
        "guest_port": some,
        "peer_port": some,
        "op": st.one_of(ops, st.lists(ops, min_size=1, max_size=3)),
        "nth": some,
        "after": st.integers(0, 3),
        "times": st.integers(1, 3),
    },
)
packets = st.lists(st.tuples(st.booleans(), ops, few, few, few), min_size=1, max_size=12)


def listed(value):
    return value if isinstance(value, list) else [value]


@settings(deadline=None, max_examples=examples(1000))
@given(matches, packets)
def test_a_rule_is_about_what_all_its_keys_say(keys, passing):
    """Beside a model that is written the other way round: key by key."""
    one = rule(**keys)
    seen = done = 0
    for to, op, cid, port, peer in passing:
        facts = {"guest_cid": cid, "guest_port": port, "peer_port": peer, "op": op}
        facts["direction"] = "to-guest" if to else "from-guest"
        wanted = all(facts[key] in listed(keys[key]) for key in facts if key in keys)
        seen += wanted
        wanted = wanted and seen > keys.get("after", 0)
        wanted = wanted and ("nth" not in keys or seen in listed(keys["nth"]))
        wanted = wanted and done < keys.get("times", 100)
        done += wanted
        packet = (to_guest if to else from_guest)(op, peer, port, cid=cid)
        assert one.applies(*packet, "open") == wanted
    assert (one.seen, one.done) == (seen, done)


def test_a_state_is_the_senders_before_the_packet():
    injector = Injector(0, [rule("drop", state="open", op="SHUTDOWN")])
    several = [
        from_guest("SHUTDOWN"),  # nobody has this connection
        from_guest("REQUEST"),
        from_guest("SHUTDOWN"),
        to_guest("RESPONSE"),
        from_guest("SHUTDOWN", flags=2),  # the one
        from_guest("SHUTDOWN", flags=1),  # it sends no more by now
        to_guest("RST"),
        from_guest("SHUTDOWN"),
    ]
    left = [len(found) for found, _, _ in through(injector, several)]
    assert left == [1, 1, 1, 1, 0, 1, 1, 1]


def test_states_of_connections_that_have_ended_are_forgotten():
    injector = Injector(0)
    for port in range(1000):
        through(injector, [from_guest("REQUEST", port=port), to_guest("RST", port=port)])
    assert not injector._states._open


def test_a_probability_is_about_that_often():
    one = rule(probability=0.25)
    done = sum(one.applies(*to_guest(), "open") for _ in range(4000))
    assert 850 < done < 1150


# -- repeatable -----------------------------------------------------------------------------------

keys_of: dict[str, dict[str, Any]] = {
    "delay": {"seconds": 0.1},
    "truncate": {"bytes": 1},
    "corrupt": {"field": "payload"},
    "replace": {"fields": {"op": "RST"}},
    "credit": {"ahead": 5},
    "slow": {"packets_per_second": 5},
    "used": {"id": 7},
    "config": {"cid": 9},
    "interrupt": {"count": 0},
}
actions = st.sampled_from(sorted(ACTIONS))
tables = st.lists(st.tuples(actions, matches, st.sampled_from([0.3, 0.7, 1.0])), max_size=4)


def made(several: list[Any], seed):
    return Injector(
        seed,
        [
            rule(do, seed, number, probability=probability, **keys_of.get(do, {}), **keys)
            for number, (do, keys, probability) in enumerate(several, 1)
        ],
    )


def those(passing):
    return [
        (to_guest if to else from_guest)(op, peer, port, bytes(20), cid=cid)
        for to, op, cid, port, peer in passing
    ]


@settings(deadline=None)
@given(tables, packets, st.integers(0, 1 << 32))
def test_the_same_seed_does_the_same(several, passing, seed):
    one, two = made(several, seed), made(several, seed)
    assert through(one, those(passing)) == through(two, those(passing))
    assert one.log == two.log


def test_another_seed_does_something_else():
    passing = [(True, "RW", 1, 1, 1)] * 40
    several: list[Any] = [("corrupt", {}, 0.5)]
    assert through(made(several, 1), those(passing)) != through(made(several, 2), those(passing))


def test_a_rule_more_changes_nothing_for_the_others():
    passing = [(True, "RW", 1, 1, 1)] * 40
    last: Any = ("corrupt", {}, 0.5)
    alone, behind = made([last], 1), made([last, ("drop", {"op": "RST"}, 0.5)], 1)
    assert through(alone, those(passing)) == through(behind, those(passing))


def test_the_log_is_told_as_it_is_written():
    injector = Injector(0, [rule()])
    told: list[str] = []
    injector.tell = told.append
    through(injector, [to_guest()])
    assert told == list(injector.log)
    assert told[0].startswith("fault 1, drop, 1: to the guest <Packet RW 2:5000 > 3:1234 ")


# -- rules that cannot be -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "keys, says",
    [
        ({}, "do is missing: it may be drop, delay,"),
        ({"do": "explode"}, "do is 'explode': it may be drop,"),
        ({"do": "drop", "port": 1}, "no key 'port' with do = 'drop': there are direction,"),
        ({"do": "delay"}, "do = 'delay' needs seconds"),
        ({"do": "delay", "seconds": "a"}, "seconds is 'a', which is no number"),
        ({"do": "delay", "seconds": float("nan")}, "seconds is nan: from 0 to 86400 it may be"),
        ({"do": "delay", "seconds": -1}, "seconds is -1: from 0 to 86400"),
        ({"do": "duplicate", "copies": 1.5}, "copies is 1.5, which is no whole number"),
        ({"do": "duplicate", "copies": True}, "copies is True, which is no whole number"),
        ({"do": "truncate", "bytes": 70000}, "bytes is 70000: from 0 to 65536"),
        ({"do": "corrupt", "field": "port"}, "field is 'port': it may be src_cid,"),
        ({"do": "corrupt", "field": "op", "value": 65536}, "value is 65536: from 0 to 65535"),
        ({"do": "corrupt", "field": "payload", "value": 1}, "value goes with a field of the"),
        ({"do": "replace", "fields": 5}, "fields is 5: it is to be a table, such as"),
        ({"do": "replace", "fields": {}}, "fields is {}: it is to be a table"),
        ({"do": "replace", "fields": {"ops": 1}}, "fields: no field 'ops': there are src_cid"),
        ({"do": "replace", "fields": {"op": "X"}}, "fields: op is 'X': it may be INVALID,"),
        ({"do": "replace", "fields": {"payload": 1}}, "fields: payload is 1, which is no text"),
        ({"do": "slow"}, "do = 'slow' needs bytes_per_second or packets_per_second"),
        ({"do": "used"}, "do = 'used' needs id or length"),
        ({"do": "drop", "direction": "up"}, "direction is 'up': it may be to-guest, from-guest"),
        ({"do": "drop", "direction": ["to-guest"]}, "direction is ['to-guest']: it may be"),
        ({"do": "drop", "op": ["RW", "X"]}, "op is 'X': it may be"),
        ({"do": "drop", "op": 5}, "op is 5: it may be"),
        ({"do": "drop", "nth": 0}, "nth is 0: from 1 to"),
        ({"do": "drop", "guest_port": -1}, "guest_port is -1: from 0 to"),
        ({"do": "drop", "probability": 1.1}, "probability is 1.1: from 0 to 1"),
        ({"do": "drop", "state": "asleep"}, "state is 'asleep': it may be closed, calling,"),
    ],
)
def test_a_rule_that_cannot_be_is_one_sentence_with_its_place(keys, says):
    with pytest.raises(RuleError) as raised:
        from_tables({"fault": [{"do": "drop"}, keys]}, "file")
    said = str(raised.value)
    assert said.startswith(f"file: rule 2: {says}") and "\n" not in said


@pytest.mark.parametrize(
    "text, says",
    [
        ("[[fault]\n", "(at line 1, column 8)"),
        ("", "there is no rule: each is a table below [[fault]]"),
        ("fault = 5", "there is no rule"),
        ("fault = [5]", "rule 1: a rule is a table below [[fault]], not 5"),
        ("[fault]\ndo = 'drop'", "there is no rule"),
        ("seed = 'x'\n[[fault]]\ndo = 'drop'", "seed is 'x': a whole number"),
        ("[[rule]]\n", "no key 'rule': there are seed and, for each rule, [[fault]]"),
    ],
)
def test_a_file_that_cannot_be_is_one_sentence_of_the_command(tmp_path, text, says):
    path = tmp_path / "a.toml"
    path.write_text(text)
    words = ["--socket", tmp_path / "s", "--uds-path", tmp_path / "u", "--faults", path]
    result = CliRunner().invoke(device, list(map(str, words)))
    assert result.exit_code == 1 and result.output.count("\n") == 1
    assert str(path) in result.output and says in result.output


def test_a_file_that_is_not_there_or_is_no_text(tmp_path):
    with pytest.raises(RuleError, match="No such file"):
        from_file(tmp_path / "none")
    (tmp_path / "a").write_bytes(b"\xff\xfe")
    with pytest.raises(RuleError, match="it is not text"):
        from_file(tmp_path / "a")


def test_keys_may_have_dashes():
    assert rule("drop", **{"guest-port": 5}).match.guest_port == {5}


# -- the order in which packets leave -------------------------------------------------------------


class Clock:
    """A loop's `after`, with a time of its own."""

    def __init__(self, monkeypatch):
        self.now, self._times, self._count = 100.0, [], itertools.count()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def after(self, seconds, function):
        heapq.heappush(self._times, (self.now + seconds, next(self._count), function))

    def run(self):
        while self._times:
            self.now = max(self.now, self._times[0][0])
            heapq.heappop(self._times)[2]()


@pytest.fixture
def leaving(monkeypatch):
    """leaving(*passings): (when, payload) of each as it leaves the lane; all came at 0."""

    def leaving(*passings):
        clock = Clock(monkeypatch)
        found: list[tuple[float, str]] = []

        def take():
            while lane.is_due:
                left = lane.take()
                found.append((round(clock.now - 100, 3), left.packet.payload().decode()))

        lane = lanes.Lane(clock, take)  # type: ignore[arg-type]  # all that it asks of a loop
        for each in passings:
            lane.add(each)
        take()
        clock.run()
        assert not len(lane)
        return found

    return leaving


def passing(name, port=1, **more):
    return Passing(make(OPS["RW"], port, 1234, name.encode()), **more)


def test_what_nothing_holds_leaves_at_once(leaving):
    assert leaving(passing("a"), passing("b")) == [(0, "a"), (0, "b")]


def test_a_connection_keeps_its_order_and_another_one_goes_ahead(leaving):
    held = passing("a", delay=2)
    assert leaving(held, passing("b"), passing("x", 2)) == [(0, "x"), (2, "a"), (2, "b")]


def test_who_is_overtaken_leaves_behind_the_others(leaving):
    found = leaving(passing("a", overtaken=2), passing("b"), passing("c"), passing("d"))
    assert found == [(0, "b"), (0, "c"), (0, "a"), (0, "d")]


def test_who_waits_for_others_in_vain_leaves(leaving):
    assert leaving(passing("a", overtaken=1, patience=3)) == [(3, "a")]


def test_a_line_carries_so_much_a_second(leaving):
    line = Pace(per_packet=0.5)
    found = leaving(*(passing(name, port, paces=[line]) for port, name in enumerate("abc")))
    assert found == [(0.5, "a"), (1.0, "b"), (1.5, "c")]


def test_a_line_counts_headers_too(leaving):
    line = Pace(per_byte=0.01)
    assert leaving(passing("a" * 56, paces=[line])) == [(1.0, "a" * 56)]
