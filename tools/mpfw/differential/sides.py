# SPDX-License-Identifier: MIT
"""Sides: a Linux or a firmware that runs scripts and says what they printed.

Both are started once and run many scripts. A script that does not end has TIMEOUT as its last
line; a firmware that stood at it is started again.
"""

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mpfw.differential import firmware_inside, linux_inside
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.errors import GuestEnded, GuestTimeout
from mpfw.guest.programs import Program

T = TypeVar("T")
TIMEOUT = "(it did not end)\n"
_FAULT = "EFAULT"  # what a CPU exception in the firmware becomes
_LOG = 4000  # characters
LINUX_PROGRAM = Path(linux_inside.__file__).read_text()
_FIRMWARE_PROGRAM = Path(firmware_inside.__file__).read_text()
_START = 300  # seconds that a Linux may take until it answers
_END = 30  # seconds that one may take until it has ended


class SideError(Exception):
    """A side did not start or ended; the message says which and why."""


class Side(Protocol):
    """Something that runs scripts."""

    release: str  # of its kernel; "" for the firmware

    def run(self, scripts: list[str], seconds: float, prelude: str = "") -> list[str]:
        """What each of the scripts printed, each after the prelude, in so many seconds at most."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class LinuxSide:
    """linux_inside.py at the other end of a program's standard streams."""

    def __init__(self, start: Callable[[], Program]):
        """`start` begins the program whose streams lead to linux_inside.py."""
        self._program = start()
        self._rest = b""
        self.release: str = self._answer(_START)

    def _answer(self, seconds: float) -> Any:
        self._program.stdio.settimeout(seconds)
        try:
            while b"\n" not in self._rest:
                piece = self._program.stdio.recv(1 << 20)
                if not piece:
                    raise SideError(f"the Linux side ended: {self._complaint()}")
                self._rest += piece
        except TimeoutError:
            raise SideError(f"the Linux side says nothing for {seconds:.0f} s") from None
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def _complaint(self) -> str:
        self._program.stderr.settimeout(1)
        try:
            return self._program.stderr.recv(1 << 16).decode(errors="replace")[-2000:]
        except TimeoutError:
            return "it says no reason"

    def run(self, scripts: list[str], seconds: float, prelude: str = "") -> list[str]:
        """What each of the scripts printed."""
        request = json.dumps({"scripts": scripts, "seconds": seconds, "prelude": prelude})
        self._program.stdio.settimeout(60)
        self._program.stdio.sendall(request.encode() + b"\n")
        answers = self._answer(_START + seconds * len(scripts))
        return [text + (TIMEOUT if ended == "timeout" else "") for text, ended in answers]

    def close(self) -> None:
        """End it; what it held, a guest's CID, is free then."""
        self._program.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._program.wait(_END)
        self._program.close()


class FirmwareSide:
    """Guests with the agent, one at a time."""

    release = ""

    def __init__(self, boot: Callable[[], DrivenGuest]):
        """`boot` gives a guest that was started with drive=AGENT."""
        self._boot = boot
        self._guest: DrivenGuest | None = None

    @property
    def guest(self) -> DrivenGuest:
        """The guest, running."""
        if self._guest is None:
            self._guest = self._boot()
            self._guest.run(_FIRMWARE_PROGRAM)
        return self._guest

    def run(self, scripts: list[str], seconds: float, prelude: str = "") -> list[str]:
        """What each of the scripts printed; those of a batch that hangs run by themselves."""
        try:
            limit = seconds * min(len(scripts), 8)
            texts = list(self.guest.call("differential_run", scripts, prelude, timeout=limit))
            return [text + self._report() if _FAULT in text else text for text in texts]
        except (GuestTimeout, GuestEnded):
            self.close()
            if len(scripts) == 1:
                return [TIMEOUT]
        return [self.run([script], seconds, prelude)[0] for script in scripts]

    def _report(self) -> str:
        """The end of the guest's log, which tells of a CPU exception."""
        return self.guest.log[-_LOG:]

    def close(self) -> None:
        """End the guest."""
        if self._guest is not None:
            self._guest.close()
            self._guest = None


def both(first: Callable[[], T], second: Callable[[], T]) -> tuple[T, T]:
    """Both at once, the first in a thread of its own; what they return. Raises what they raise."""
    results: list[T] = []
    failures: list[BaseException] = []

    def work() -> None:
        try:
            results.append(first())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        answer = second()
    finally:
        thread.join()
    if failures:
        raise failures[0]
    return results[0], answer
