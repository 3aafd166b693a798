# SPDX-License-Identifier: MIT
"""In which state each call of a sequence met its socket, told from what Linux printed.

So a row of the table knows where it is, and a run can say what its sequences have reached.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from mpfw.differential import generate
from mpfw.differential.generate import Op, Program
from mpfw.differential.table import Call

STATES = ("none", *generate.AIMS)
ENDS = ("connected", "shut", "peer ended")  # of a connection that was established
_LINE = re.compile(r"\d+ (\w+) s\d+: (.*)")
_OK = ("None", "0")


@dataclass
class Replay:
    """Goes through a sequence and its results."""

    state: dict[int, str] = field(default_factory=dict)
    peer: dict[int, int] = field(default_factory=dict)
    waiting: list[int] = field(default_factory=list)  # connected, not yet accepted
    active: set[int] = field(default_factory=set)  # ends that have moved data

    def step(self, op: Op, result: str) -> str:
        """The state before the call; the one after it is kept."""
        before = self.state.get(op.number, "none")
        after = getattr(self, f"_{op.call}", None)
        if after is not None:
            after(op, result, before)
        return before

    def _socket(self, op: Op, result: str, _before: str) -> None:
        if result == "ok":
            self.state[op.number] = "fresh"

    def _bind(self, op: Op, result: str, before: str) -> None:
        if result in _OK and before == "fresh":
            self.state[op.number] = "bound"

    def _listen(self, op: Op, result: str, _before: str) -> None:
        if result in _OK:
            self.state[op.number] = "listening"

    def _connect(self, op: Op, result: str, before: str) -> None:
        if result in _OK or result == "EISCONN" and before == "connecting":
            self.state[op.number] = "connected"
            self.waiting.append(op.number)
        elif result in ("EINPROGRESS", "115"):
            self.state[op.number] = "connecting"
            self.waiting.append(op.number)
        elif before in ("fresh", "bound"):
            self.state[op.number] = "failed"

    _connect_ex = _connect

    def _accept(self, op: Op, result: str, _before: str) -> None:
        if result.startswith("("):
            number = int(op.arguments[0])
            self.state[number] = "connected"
            if self.waiting:
                other = self.waiting.pop(0)
                self.peer[number], self.peer[other] = other, number
                if self.state[other] == "connecting":
                    self.state[other] = "connected"
                if self.state[other] == "closed":
                    self.state[number] = "peer ended"

    _accept_within = _accept

    def _shutdown(self, op: Op, result: str, before: str) -> None:
        if result in _OK and before in ENDS:
            self.state[op.number] = "shut"
            self._tell_peer(op.number)

    def _close(self, op: Op, _result: str, before: str) -> None:
        if before != "none":
            self.state[op.number] = "closed"
            self._tell_peer(op.number)

    def _tell_peer(self, number: int) -> None:
        other = self.peer.get(number)
        if other is not None and self.state.get(other) == "connected":
            self.state[other] = "peer ended"

    def _send(self, op: Op, result: str, before: str) -> None:
        if before in ENDS and not result[:1].isupper() and result != "timeout":
            self.active.add(op.number)

    _sendall = _sendmsg = _send_within = _send


def calls(program: Program, printed: str) -> list[Call]:
    """What each line of a sequence's output is about."""
    return _walk(program, printed)[0]


def _walk(program: Program, printed: str) -> tuple[list[Call], Replay]:
    replay, found = Replay(), []
    for op, line in zip(program, printed.splitlines(), strict=False):
        match = _LINE.fullmatch(line)
        if match is None:
            break
        found.append(Call(op.call, replay.step(op, match.group(2)), op.argument))
    return found, replay


@dataclass
class Coverage:
    """What a run's sequences have reached."""

    sequences: int = 0
    established: int = 0
    talking: int = 0  # both ends of a connection have sent
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, program: Program, printed: str) -> None:
        """Count one sequence."""
        found, replay = _walk(program, printed)
        self.sequences += 1
        self.established += bool(replay.peer) or "connected" in replay.state.values()
        self.talking += any(replay.peer.get(end) in replay.active for end in replay.active)
        self.pairs.update((call.name, call.state) for call in found)

    def table(self) -> list[str]:
        """Lines for a reader: shares, then how often each call met each state."""
        of, calls = max(1, self.sequences), generate.CALLS
        lines = [
            f"{self.sequences} sequences, {100 * self.established // of} % with a connection, "
            f"{100 * self.talking // of} % with both ends active",
            f"{sum((call, state) in self.pairs for call in calls for state in STATES[1:])} of "
            f"{len(calls) * len(STATES[1:])} pairs of call and state",
            f"{'':12}" + "".join(f"{state:>11}" for state in STATES),
        ]
        for name in sorted({name for name, _ in self.pairs}):
            counts = "".join(f"{self.pairs[name, state]:11}" for state in STATES)
            lines.append(f"{name:12}{counts}")
        return lines
