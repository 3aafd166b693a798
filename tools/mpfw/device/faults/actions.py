# SPDX-License-Identifier: MIT
"""What a rule can do to a packet. An action changes a `Verdict`, which `Injector` then follows.

Each action names its keys with what they may be; rules.py checks them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from mpfw.device.firmware import vsock as w
from mpfw.device.packets import Packet

FIELDS = {  # of a header, and their bits
    "src_cid": 64,
    "dst_cid": 64,
    "src_port": 32,
    "dst_port": 32,
    "len": 32,
    "type": 16,
    "op": 16,
    "flags": 32,
    "buf_alloc": 32,
    "fwd_cnt": 32,
}
PAYLOAD = "payload"
_LATEST = 1.0  # s that a packet or a buffer waits for others, which may not come


@dataclass
class Completion:
    """What is wrong with how a chain is given back to the driver."""

    head: int | None = None  # in the used entry, in place of the chain's
    length: int | None = None
    behind: int = 0  # others that are given back before
    seconds: float = _LATEST  # s that it waits for those
    interrupts: int | None = None  # how many follow; None: as the driver wants


@dataclass
class Passing:
    """A packet under way. What the header says of the payload need not be so."""

    packet: Any
    delay: float = 0.0  # s
    overtaken: int = 0  # by so many later packets of its direction
    patience: float = _LATEST  # s that it waits for those
    paces: list["Pace"] = field(default_factory=list)
    completion: Completion | None = None  # of the buffer that carries it


@dataclass
class Pace:
    """A line of so much a second; `free` is when it is, by the clock of who sends."""

    per_byte: float = 0.0  # s
    per_packet: float = 0.0
    free: float = 0.0

    def take(self, packet: Any, now: float) -> float:
        """When a packet that begins now is through."""
        size = w.HEADER_LEN + sum(map(len, packet.data))
        self.free = max(now, self.free) + self.per_packet + size * self.per_byte
        return self.free


CONFIG, TRANSPORT_RESET, NEEDS_RESET = "config", "transport-reset", "needs-reset"
EVENTS = (CONFIG, TRANSPORT_RESET, NEEDS_RESET)  # and the actions of those names


@dataclass
class Verdict:
    """What becomes of one packet."""

    packets: list[Passing]
    answers: list[Any] = field(default_factory=list)  # back to its sender
    stall: float | None = None  # s that its queue is left alone
    disconnect: bool = False
    cid: int | None = None  # that the configuration says from now on
    events: list[str] = field(default_factory=list)  # that QEMU is to pass on, of EVENTS


Given = Mapping[str, Any]


@dataclass(frozen=True)
class Key:
    """What a key of an action may be: `kind` is int, float, "field" or "fields"."""

    kind: Any
    least: float = 0
    most: float = 0xFFFFFFFF
    default: Any = None


@dataclass(frozen=True)
class Action:
    """`do` changes a verdict, with the rule's keys, its random numbers and what it keeps."""

    do: Callable[[Verdict, Given, Random], None]
    keys: Mapping[str, Key] = field(default_factory=dict)
    needs: tuple[str, ...] = ()  # one of these keys must be there


def _drop(verdict: Verdict, given: Given, random: Random) -> None:
    verdict.packets.clear()


def _delay(verdict: Verdict, given: Given, random: Random) -> None:
    for each in verdict.packets:
        each.delay += given["seconds"]


def _duplicate(verdict: Verdict, given: Given, random: Random) -> None:
    verdict.packets = [
        replace(each, packet=_copy(each.packet), completion=each.completion if not i else None)
        for each in verdict.packets
        for i in range(given["copies"] + 1)
    ]


def _reorder(verdict: Verdict, given: Given, random: Random) -> None:
    for each in verdict.packets:
        each.overtaken, each.patience = given["by"], given["seconds"]


def _truncate(verdict: Verdict, given: Given, random: Random) -> None:
    for each in verdict.packets:
        each.packet.data = _views(each.packet.payload()[: given["bytes"]])


def _corrupt(verdict: Verdict, given: Given, random: Random) -> None:
    name = given["field"]
    for each in verdict.packets:
        if name == PAYLOAD:
            data = bytearray(each.packet.payload())
            if data:
                data[random.randrange(len(data))] ^= 1 << random.randrange(8)
            each.packet.data = _views(bytes(data))
        elif given["value"] is None:
            value = getattr(each.packet, name) ^ 1 << random.randrange(FIELDS[name])
            setattr(each.packet, name, value)
        else:
            setattr(each.packet, name, given["value"])


def _replace(verdict: Verdict, given: Given, random: Random) -> None:
    for each in verdict.packets:
        fields = dict(given["fields"])
        if PAYLOAD in fields:
            data = fields.pop(PAYLOAD)
            each.packet.data = _views(data)
            each.packet.len = len(data)
        for name, value in fields.items():
            setattr(each.packet, name, value)


def _refuse(verdict: Verdict, given: Given, random: Random) -> None:
    for each in verdict.packets:
        asked = each.packet
        answer = Packet(op=w.OP_RST, type=asked.type)
        answer.src_cid, answer.dst_cid = asked.dst_cid, asked.src_cid
        answer.src_port, answer.dst_port = asked.dst_port, asked.src_port
        verdict.answers.append(answer)
    verdict.packets.clear()


def _credit(verdict: Verdict, given: Given, random: Random) -> None:
    for each in verdict.packets:
        if given["buf_alloc"] is not None:
            each.packet.buf_alloc = given["buf_alloc"]
        each.packet.fwd_cnt = each.packet.fwd_cnt + given["ahead"] & 0xFFFFFFFF


def _stall(verdict: Verdict, given: Given, random: Random) -> None:
    verdict.stall = given["seconds"]


def _slow(verdict: Verdict, given: Given, random: Random) -> None:
    for each in verdict.packets:
        each.paces.append(given["pace"])


def _late(verdict: Verdict, given: Given, random: Random) -> None:
    for completion in _completions(verdict):
        completion.behind, completion.seconds = given["by"], given["seconds"]


def _used(verdict: Verdict, given: Given, random: Random) -> None:
    for completion in _completions(verdict):
        completion.head, completion.length = given["id"], given["length"]


def _interrupt(verdict: Verdict, given: Given, random: Random) -> None:
    for completion in _completions(verdict):
        completion.interrupts = given["count"]


def _disconnect(verdict: Verdict, given: Given, random: Random) -> None:
    verdict.disconnect = True


def _config(verdict: Verdict, given: Given, random: Random) -> None:
    verdict.cid = given["cid"]
    verdict.events.append(CONFIG)


def _transport_reset(verdict: Verdict, given: Given, random: Random) -> None:
    verdict.events.append(TRANSPORT_RESET)


def _needs_reset(verdict: Verdict, given: Given, random: Random) -> None:
    verdict.events.append(NEEDS_RESET)


_SECONDS = Key(float, 0, 86400)
ACTIONS = {
    "drop": Action(_drop),
    "delay": Action(_delay, {"seconds": _SECONDS}, ("seconds",)),
    "duplicate": Action(_duplicate, {"copies": Key(int, 1, 1000, 1)}),
    "reorder": Action(
        _reorder, {"by": Key(int, 1, 1000, 1), "seconds": replace(_SECONDS, default=_LATEST)}
    ),
    "truncate": Action(_truncate, {"bytes": Key(int, 0, 65536)}, ("bytes",)),
    "corrupt": Action(
        _corrupt, {"field": Key("field"), "value": Key(int, 0, (1 << 64) - 1)}, ("field",)
    ),
    "replace": Action(_replace, {"fields": Key("fields")}, ("fields",)),
    "refuse": Action(_refuse),
    "credit": Action(
        _credit,
        {"buf_alloc": Key(int), "ahead": Key(int, -0xFFFFFFFF, default=0)},
        ("buf_alloc", "ahead"),
    ),
    "slow": Action(
        _slow,
        {"bytes_per_second": Key(float, 1, 1e12), "packets_per_second": Key(float, 0.01, 1e9)},
        ("bytes_per_second", "packets_per_second"),
    ),
    "stall": Action(_stall, {"seconds": replace(_SECONDS, default=float("inf"))}),
    "late": Action(
        _late, {"by": Key(int, 1, 1000, 1), "seconds": replace(_SECONDS, default=_LATEST)}
    ),
    "used": Action(_used, {"id": Key(int), "length": Key(int)}, ("id", "length")),
    "interrupt": Action(_interrupt, {"count": Key(int, 0, 10000)}, ("count",)),
    CONFIG: Action(_config, {"cid": Key(int, 0, (1 << 64) - 1)}, ("cid",)),
    TRANSPORT_RESET: Action(_transport_reset),
    NEEDS_RESET: Action(_needs_reset),
    "disconnect": Action(_disconnect),
}


def _completions(verdict: Verdict) -> list[Completion]:
    for each in verdict.packets:
        each.completion = each.completion or Completion()
    return [each.completion for each in verdict.packets if each.completion is not None]


def _copy(packet: Any) -> Any:
    made = Packet(packet.payload())
    made.header[:] = packet.header
    return made


def _views(data: bytes) -> list[memoryview]:
    return [memoryview(data)] if data else []
