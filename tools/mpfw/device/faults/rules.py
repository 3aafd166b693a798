# SPDX-License-Identifier: MIT
"""A fault rule: which packets it is about, and what is done to them.

A rule is made of keys, from TOML or from Python alike; what is wrong with one is one sentence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from mpfw.device.faults import states
from mpfw.device.faults.actions import ACTIONS, FIELDS, PAYLOAD, Key, Pace, Verdict
from mpfw.device.settings import SettingsError
from mpfw.trace.tracer import OPS

TO_GUEST, FROM_GUEST = 0, 1
DIRECTIONS = {"to-guest": TO_GUEST, "from-guest": FROM_GUEST}
_PORT = Key(int)
_CID = Key(int)
_COUNT = Key(int, 1)
_MATCHES = (
    *("direction", "guest_cid", "guest_port", "peer_port", "op", "state"),
    *("nth", "after", "times", "probability"),
)


class RuleError(SettingsError):
    """A rule that cannot be: one sentence, with the place."""


@dataclass(frozen=True)
class Match:
    """Which packets a rule is about; None and empty sets are any. `nth` and `after` count those
    that everything else lets through."""

    direction: int | None = None
    guest_cid: frozenset[int] = frozenset()
    guest_port: frozenset[int] = frozenset()
    peer_port: frozenset[int] = frozenset()  # the other end's
    op: frozenset[int] = frozenset()
    state: frozenset[str] = frozenset()  # of the sender, before the packet
    nth: frozenset[int] = frozenset()  # from 1
    after: int = 0  # so many are let alone first
    times: int | None = None  # at most
    probability: float = 1.0

    def wants(self, direction: int, packet: Any, state: str) -> bool:
        """Whether all but the counts say yes."""
        if self.direction is not None and direction != self.direction:
            return False
        guest = packet.dst_cid, packet.dst_port
        peer = packet.src_port
        if direction == FROM_GUEST:
            guest, peer = (packet.src_cid, packet.src_port), packet.dst_port
        return (
            (not self.guest_cid or guest[0] in self.guest_cid)
            and (not self.guest_port or guest[1] in self.guest_port)
            and (not self.peer_port or peer in self.peer_port)
            and (not self.op or packet.op in self.op)
            and (not self.state or state in self.state)
        )


class Rule:
    """A rule at work: `seen` packets were what it is about, `done` had it done to them.

    Its random numbers are its own, so that other rules change nothing for it.
    """

    def __init__(self, number: int, do: str, match: Match, given: Mapping[str, Any], seed: int):
        self.number = number
        self.name = do
        self.match = match
        self.given = given
        self.random = Random(f"{seed}:{number}")
        self.seen = self.done = 0

    def __repr__(self) -> str:
        return f"<rule {self.number}: {self.name}, done {self.done} of {self.seen}>"

    def applies(self, direction: int, packet: Any, state: str) -> bool:
        """Whether the action is due for this packet; counts it."""
        match = self.match
        if not match.wants(direction, packet, state):
            return False
        self.seen += 1
        if self.seen <= match.after or (match.nth and self.seen not in match.nth):
            return False
        if match.times is not None and self.done >= match.times:
            return False
        if match.probability < 1 and self.random.random() >= match.probability:
            return False
        self.done += 1
        return True

    def do(self, verdict: Verdict) -> None:
        """Do it to a packet."""
        ACTIONS[self.name].do(verdict, self.given, self.random)


def from_mapping(keys: Mapping[str, Any], where: str, number: int, seed: int) -> Rule:
    """A rule from its keys, with - or _ between words. `where` begins a RuleError."""
    values = {str(key).replace("-", "_"): value for key, value in keys.items()}
    do = values.pop("do", None)
    if not isinstance(do, str) or do not in ACTIONS:
        says = "do is missing" if do is None else f"do is {do!r}"
        raise RuleError(f"{where}: {says}: it may be {', '.join(ACTIONS)}")
    action = ACTIONS[do]
    for key in values:
        if key not in _MATCHES and key not in action.keys:
            known = ", ".join((*action.keys, *_MATCHES))
            raise RuleError(f"{where}: no key {key!r} with do = {do!r}: there are {known}")
    given = {
        name: _of(values[name], key, f"{where}: {name}") if name in values else key.default
        for name, key in action.keys.items()
    }
    if action.needs and not any(name in values for name in action.needs):
        raise RuleError(f"{where}: do = {do!r} needs {' or '.join(action.needs)}")
    _fits(given, where)
    if do == "slow":
        given["pace"] = Pace(
            1 / (given["bytes_per_second"] or float("inf")),
            1 / (given["packets_per_second"] or float("inf")),
        )
    return Rule(number, do, _match(values, where), given, seed)


def matching(keys: Mapping[str, Any], where: str) -> Match:
    """The keys that say which packets, alone and but for counts and states. Raises RuleError."""
    known = _MATCHES[:5]
    for key in keys:
        if key not in known:
            raise RuleError(f"{where}: no key {key!r}: there are {', '.join(known)}")
    return _match(keys, where)


def _match(values: Mapping[str, Any], where: str) -> Match:
    def several(name: str, key: Key) -> frozenset[int]:
        return frozenset(_of(one, key, f"{where}: {name}") for one in _listed(values, name))

    def named(name: str, known: Any) -> list[str]:
        return [_named(one, known, f"{where}: {name}") for one in _listed(values, name)]

    direction = values.get("direction")
    if direction is not None:
        direction = DIRECTIONS[_named(direction, DIRECTIONS, f"{where}: direction")]
    times = values.get("times")
    return Match(
        direction,
        several("guest_cid", _CID),
        several("guest_port", _PORT),
        several("peer_port", _PORT),
        frozenset(OPS[name] for name in named("op", OPS)),
        frozenset(named("state", states.NAMES)),
        several("nth", _COUNT),
        _of(values.get("after", 0), _PORT, f"{where}: after"),
        None if times is None else _of(times, _COUNT, f"{where}: times"),
        _of(values.get("probability", 1.0), Key(float, 0, 1), f"{where}: probability"),
    )


def _listed(values: Mapping[str, Any], name: str) -> list[Any]:
    """The values of a key that takes one or several."""
    found = values.get(name, [])
    return list(found) if isinstance(found, list | tuple | set | frozenset) else [found]


def _named(value: Any, known: Any, where: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise RuleError(f"{where} is {value!r}: it may be {', '.join(known)}")
    return value


def _of(value: Any, key: Key, where: str) -> Any:
    """A value that a key may have. Raises RuleError."""
    if key.kind == "field":
        return _named(value, (*FIELDS, PAYLOAD), where)
    if key.kind == "fields":
        return _fields(value, where)
    right = int if key.kind is int else int | float
    if isinstance(value, bool) or not isinstance(value, right):
        raise RuleError(f"{where} is {value!r}, which is no {_NUMBERS[key.kind]}")
    if not key.least <= value <= key.most:
        raise RuleError(f"{where} is {value}: from {key.least:g} to {key.most:.15g} it may be")
    return value


_NUMBERS = {int: "whole number", float: "number"}


def _fields(value: Any, where: str) -> dict[str, Any]:
    """Header fields by their names, and a payload. Raises RuleError."""
    if not isinstance(value, Mapping) or not value:
        raise RuleError(f"{where} is {value!r}: it is to be a table, such as {{ op = 'RST' }}")
    found: dict[str, Any] = {}
    for name, one in value.items():
        at = f"{where}: {name}"
        if name == PAYLOAD and isinstance(one, str | bytes):
            found[name] = one.encode() if isinstance(one, str) else one
        elif name == PAYLOAD:
            raise RuleError(f"{at} is {one!r}, which is no text")
        elif name not in FIELDS:
            raise RuleError(f"{where}: no field {name!r}: there are {', '.join(FIELDS)}, payload")
        elif name == "op" and isinstance(one, str):
            found[name] = OPS[_named(one, OPS, at)]
        else:
            found[name] = _of(one, Key(int, 0, (1 << FIELDS[name]) - 1), at)
    return found


def _fits(given: Mapping[str, Any], where: str) -> None:
    """A value for a field has its bits. Raises RuleError."""
    name, value = given.get("field"), given.get("value")
    if value is None or name is None:
        return
    if name == PAYLOAD:
        raise RuleError(f"{where}: value goes with a field of the header, not with payload")
    _of(value, Key(int, 0, (1 << FIELDS[name]) - 1), f"{where}: value")
