# SPDX-License-Identifier: MIT
"""Takes packets through the rules, one by one: what becomes of each, and a log of what was done.

It knows no clock and no queue. The same packets in the same order have the same done to them, if
the seed is the same.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from mpfw.device.faults.actions import Passing, Verdict
from mpfw.device.faults.rules import TO_GUEST, Rule
from mpfw.device.faults.states import States

_KEPT = 10_000  # lines of the log


class Injector:
    """The rules of a device; they may be added to at any time, from any thread."""

    def __init__(self, seed: int, rules: list[Rule] | None = None):
        self.seed = seed
        self.rules = rules or []
        self.log: deque[str] = deque(maxlen=_KEPT)  # what was done, a line each
        self.tell: Callable[[str], None] | None = None  # is given each line, too
        self._states = States()

    def take(self, direction: int, packet: Any) -> Verdict:
        """What becomes of a packet. Each rule gets what those before it have left."""
        state = self._states.take(packet)
        verdict = Verdict([Passing(packet)])
        for rule in self.rules:
            if not verdict.packets:
                break
            first = verdict.packets[0].packet
            if rule.applies(direction, first, state):
                self._note(rule, direction, first)
                rule.do(verdict)
        return verdict

    def _note(self, rule: Rule, direction: int, packet: Any) -> None:
        arrow = "to the guest" if direction == TO_GUEST else "from the guest"
        line = f"fault {rule.number}, {rule.name}, {rule.done}: {arrow} {packet!r}"
        self.log.append(line)
        if self.tell is not None:
            self.tell(line)
