# SPDX-License-Identifier: MIT
"""One conversation as its packets tell it: the state and credit of both ends, and what breaks the
standard (virtio 1.2, 5.10.6).

Packets of both ends cross on their way. What is said to be wrong is wrong however they did.
"""

from dataclasses import dataclass, field
from typing import Any

from mpfw.capture.writer import IN, OUT
from mpfw.device.firmware import vsock as w

_WRAP = 1 << 32
_HALF = 1 << 31
KINDS = {w.TYPE_STREAM: "stream", w.TYPE_SEQPACKET: "seqpacket", w.TYPE_DGRAM: "datagrams"}


@dataclass
class End:
    """One end, as far as its own packets and those to it tell."""

    cid: int
    port: int
    says: str = "?"  # its state, unless it has shut a direction
    shut: int = 0  # SHUTDOWN_* that it has said
    sent: int = 0  # bytes of payload; wraps
    alloc: int = 0
    forwarded: int = 0  # its fwd_cnt; wraps
    edge: int = 0  # the furthest that it ever let its peer send; wraps
    heard: bool = False  # alloc, forwarded and edge are set
    reset: bool = False  # it has sent an RST, and its peer nothing since

    @property
    def name(self) -> str:
        return f"{self.cid}:{self.port}"

    @property
    def state(self) -> str:
        """In a word or two."""
        if self.says != "open" or not self.shut:
            return self.says
        words = {w.SHUTDOWN_RCV: "takes no more", w.SHUTDOWN_SEND: "sends no more"}
        return words.get(self.shut, "shut")


@dataclass
class Step:
    """A packet, and what it led to."""

    seconds: float  # since the capture's first packet
    number: int  # of the conversation
    sender: int  # index of the end
    op: str
    length: int
    credit: str  # in words
    states: tuple[str, str]
    wrong: list[str]
    lost: int  # packets that the capture lost before it


@dataclass
class Conversation:
    """All packets between two ports, until they begin anew."""

    number: int
    ends: tuple[End, End]
    kind: int
    begun: bool = False  # its beginning was seen, and nothing was lost since: counters are known
    wrong: int = 0  # marks so far
    steps: list[Step] = field(default_factory=list)  # kept by who wants them

    def __post_init__(self) -> None:
        if self.kind == w.TYPE_DGRAM:
            for end in self.ends:
                end.says = ""  # there is neither state nor credit

    @property
    def title(self) -> str:
        left, right = self.ends
        kind = KINDS.get(self.kind, f"type {self.kind}")
        return f"{left.name} and {right.name}, {kind}"

    def take(self, packet: Any, sender: int, direction: str, length: int) -> tuple[str, list[str]]:
        """A packet of the end `sender`, with `length` bytes of payload; (credit in words, what is
        wrong). `direction` as the capture has it."""
        me, peer = self.ends[sender], self.ends[1 - sender]
        wrong = _shape(packet, length)
        if self.kind == w.TYPE_DGRAM:
            self.wrong += len(wrong)
            return "", wrong
        answered = peer.reset and packet.op == w.OP_RST and direction != IN
        if answered and (direction == OUT or me.cid == w.CID_HOST):
            wrong.append("RST answered by RST")
        if packet.op == w.OP_RW:
            wrong += self._data(me, peer, packet.len)
        if packet.op != w.OP_RST:
            wrong += self._credit(me, peer, packet)
        self._move(me, peer, packet)
        self.wrong += len(wrong)
        return self._words(me, peer, packet), wrong

    def _data(self, me: End, peer: End, n: int) -> list[str]:
        wrong = []
        if me.shut & w.SHUTDOWN_SEND:
            wrong.append("data after SHUTDOWN")
        if me.says in ("calling", "called"):
            wrong.append("data before the connection is open")
        me.sent = (me.sent + n) % _WRAP
        if self.begun and peer.heard and (beyond := _ahead(me.sent, peer.edge)) > 0:
            wrong.append(f"{beyond:,} bytes more than its credit")
        return wrong

    def _credit(self, me: End, peer: End, packet: Any) -> list[str]:
        wrong = []
        me.alloc, me.forwarded = packet.buf_alloc, packet.fwd_cnt
        edge = (packet.buf_alloc + packet.fwd_cnt) % _WRAP
        if not me.heard or _ahead(edge, me.edge) > 0:
            me.edge = edge
        me.heard = True
        if self.begun and (beyond := _ahead(me.forwarded, peer.sent)) > 0:
            wrong.append(f"fwd_cnt counts {beyond:,} bytes that nobody sent")
        return wrong

    def _move(self, me: End, peer: End, packet: Any) -> None:
        """The states that follow: here is where they change."""
        op = packet.op
        peer.reset = False
        me.reset = op == w.OP_RST
        if op == w.OP_REQUEST:
            me.says, peer.says, self.begun = "calling", "called", True
        elif op == w.OP_RESPONSE:
            me.says = peer.says = "open"
        elif op == w.OP_RST:
            me.says = peer.says = "closed"
        elif w.OP_SHUTDOWN <= op <= w.OP_CREDIT_REQUEST and me.says == "?":
            me.says = peer.says = "open"  # the capture began later than they
        if op == w.OP_SHUTDOWN:
            me.shut |= packet.flags & w.SHUTDOWN_BOTH

    def _words(self, me: End, peer: End, packet: Any) -> str:
        if packet.op == w.OP_RST or not me.heard:
            return ""
        if not self.begun:
            return f"window {me.alloc:,}"
        words = f"peer may send {_left(peer, me):,} more"
        if packet.op == w.OP_RW and peer.heard:
            words += f", it {_left(me, peer):,}"
        return words


def _left(sender: End, receiver: End) -> int:
    """Bytes that an end may send, as its peer last said."""
    in_flight = (sender.sent - receiver.forwarded) % _WRAP
    return max(0, receiver.alloc - in_flight)


def _ahead(a: int, b: int) -> int:
    """How far a counter that wraps is ahead of another; negative: behind."""
    return (a - b + _HALF) % _WRAP - _HALF


def _shape(packet: Any, length: int) -> list[str]:
    """What is wrong with a packet whatever it is about."""
    wrong = []
    if not w.OP_REQUEST <= packet.op <= w.OP_CREDIT_REQUEST:
        wrong.append(f"unknown op {packet.op}")
    if packet.type not in KINDS:
        wrong.append(f"unknown type {packet.type}")
    if packet.type == w.TYPE_DGRAM and (packet.op != w.OP_RW or packet.flags):
        wrong.append("a datagram with another op than RW, or with flags")
    if packet.len != length:
        wrong.append(f"len says {packet.len:,} bytes, {length:,} came")
    if packet.len and packet.op != w.OP_RW:
        wrong.append("data with an op that has none")
    if max(packet.src_cid, packet.dst_cid) > w.CID_ANY:
        wrong.append("a CID of more than 32 bits")
    if packet.op == w.OP_SHUTDOWN and not 0 < packet.flags <= w.SHUTDOWN_BOTH:
        wrong.append(f"SHUTDOWN with flags {packet.flags}")
    return wrong
