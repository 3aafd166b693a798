# SPDX-License-Identifier: MIT
"""The guest of a soak as the host sees it: what its memory and tables hold, second by second."""

import ast
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpfw.device.firmware import vsock as w
from mpfw.guest.driven import DrivenGuest

SCRIPT = {"opt/micropython/main.py": Path(__file__).with_name("inside.py").read_bytes()}
_FIGURES = rb"figures (\{[^\n]*\})\r?\n"
_SLACK = 128 << 10  # bytes of heap: lists that have grown and stay so


@dataclass(frozen=True)
class Figures:
    """What the guest holds. Of the store: blocks of 4 KiB, and large receive buffers."""

    heap_used: int  # bytes of the collector's heap, after a collection; the store lies elsewhere
    heap_free: int
    connections: int
    refused: int
    blocks: int  # in all
    promised: int  # of those, to connections
    holding: int  # of those, with bytes in them
    spare: int  # large buffers that are free

    @classmethod
    def read(cls, said: dict[str, Any]) -> "Figures":
        """What the guest has printed."""
        store = said["store"]
        return cls(
            said["heap_used"],
            said["heap_free"],
            said["connections"],
            said["refused"],
            store[w.STORE_TOTAL],
            store[w.STORE_PROMISED],
            store[w.STORE_MADE] - store[w.STORE_BLOCKS],
            store[w.STORE_SPARE],
        )

    def missing(self, before: "Figures") -> list[str]:
        """What is not back where it was before; sentences."""
        found = []
        for name in ("connections", "promised", "holding"):
            now, then = getattr(self, name), getattr(before, name)
            if now > then:
                found.append(f"{name}: {now}, {then} before")
        if self.spare < before.spare:
            found.append(f"spare buffers: {self.spare}, {before.spare} before")
        if self.heap_used > before.heap_used + _SLACK:
            found.append(f"heap in use: {self.heap_used} bytes, {before.heap_used} before")
        return found


class Watch:
    """Reads what the guest prints."""

    def __init__(self, guest: DrivenGuest):
        self._guest = guest
        guest.console.expect("soak: listening", 60)

    def figures(self, timeout: float = 30) -> Figures:
        """The next ones. Raises ConsoleTimeout if the guest says nothing."""
        self._guest.console.unread()
        match = self._guest.console.expect(_FIGURES, timeout)
        return Figures.read(ast.literal_eval(match.group(1).decode()))

    def settled(self, before: Figures, timeout: float) -> list[str]:
        """Wait until everything is back where it was; what is not after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            missing = self.figures().missing(before)
            if not missing or time.monotonic() > end:
                return missing

    def reopen(self) -> None:
        """Close the guest's device and open it again: every connection ends."""
        self._guest.console.send(b"\x03")
        self._guest.console.expect("soak: reopened", 30)

    def trouble(self) -> list[str]:
        """Tracebacks and reports of exceptions that the guest has printed."""
        text = bytes(self._guest.console.transcript).decode(errors="backslashreplace")
        said = text + self._guest.debugcon()
        return [word for word in ("Traceback", "CPU exception") if word in said]
