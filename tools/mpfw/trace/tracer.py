# SPDX-License-Identifier: MIT
"""Finds the conversations in a capture's packets, as they come."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mpfw.capture.reader import Record
from mpfw.device.firmware import packet as _packet
from mpfw.device.firmware import vsock as w
from mpfw.trace.conversation import Conversation, End, Step

_NAMES: tuple[str, ...] = _packet.OP_NAMES
OPS = {name: op for op, name in enumerate(_NAMES)}


@dataclass(frozen=True)
class Filters:
    """What is shown; everything else is only heard."""

    ports: frozenset[int] = frozenset()
    cids: frozenset[int] = frozenset()
    ops: frozenset[str] = frozenset()
    wrong: bool = False  # what breaks the standard, and nothing else

    def wants(self, conversation: Conversation, step: Step) -> bool:
        ends = conversation.ends
        return (
            (not self.ports or any(end.port in self.ports for end in ends))
            and (not self.cids or any(end.cid in self.cids for end in ends))
            and (not self.ops or step.op in self.ops)
            and (not self.wrong or bool(step.wrong))
        )


class Tracer:
    """What is known of all conversations."""

    def __init__(self) -> None:
        self._open: dict[tuple[bool, frozenset[tuple[int, int]]], Conversation] = {}
        self._count = 0
        self._start: int | None = None
        self.strange = 0  # packets that belong to no conversation: no header, another transport
        self.wrong = 0  # marks
        self.lost = 0  # packets that the capture says it has lost

    def steps(self, records: Iterable[Record]) -> Iterator[tuple[Conversation | None, Step]]:
        """Each packet and its conversation; None for what is no packet of virtio's."""
        for record in records:
            if self._start is None:
                self._start = record.when_ns
            if record.dropped:
                self._lose(record.dropped)
            seconds = (record.when_ns - self._start) / 1e9
            yield self._step(record, seconds)

    def _lose(self, count: int) -> None:
        """Packets are missing: nobody's counters are known any more."""
        self.lost += count
        for each in self._open.values():
            each.begun = False

    def _step(self, record: Record, seconds: float) -> tuple[Conversation | None, Step]:
        if len(record.header) < w.HEADER_LEN:
            self.strange += 1
            self.wrong += 1
            says = f"a packet of {len(record.header)} bytes: no header"
            return None, Step(seconds, 0, 0, "?", 0, "", ("", ""), [says], record.dropped)
        packet: Any = _packet.Packet()
        packet.header[:] = record.header
        conversation = self._find(packet)
        sender = (packet.src_cid, packet.src_port) != _key(conversation.ends[0])
        credit, wrong = conversation.take(packet, sender, record.direction, record.length)
        self.wrong += len(wrong)
        left, right = conversation.ends
        return conversation, Step(
            seconds,
            conversation.number,
            int(sender),
            _NAMES[packet.op] if packet.op < len(_NAMES) else f"op {packet.op}",
            packet.len,
            credit,
            (left.state, right.state),
            wrong,
            record.dropped,
        )

    def _find(self, packet: Any) -> Conversation:
        source = End(packet.src_cid, packet.src_port)
        target = End(packet.dst_cid, packet.dst_port)
        # Datagrams have ports of their own.
        key = packet.type == w.TYPE_DGRAM, frozenset((_key(source), _key(target)))
        found = self._open.get(key)
        if found is None or packet.op == w.OP_REQUEST:
            self._count += 1
            right_first = source.cid == w.CID_HOST and target.cid != w.CID_HOST
            ends = (target, source) if right_first else (source, target)
            found = self._open[key] = Conversation(self._count, ends, packet.type)
        return found


def _key(end: End) -> tuple[int, int]:
    return end.cid, end.port
