# SPDX-License-Identifier: MIT
"""A guest's state in a file, by QEMU's migration: saved from one guest, restored in another."""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mpfw.guest import guarded
from mpfw.guest.errors import GuestError

if TYPE_CHECKING:
    from mpfw.guest.qmp import Qmp

_LIMIT = 120.0  # seconds


@dataclass(frozen=True)
class Snapshot:
    """A saved state."""

    path: Path

    @property
    def options(self) -> tuple[str, ...]:
        """QEMU's options that restore it."""
        return ("-incoming", f"exec:cat {shlex.quote(str(self.path))}")


def save(qmp: "Qmp", path: Path | None) -> Snapshot:
    """Save a guest's state, to `path` or to a file that ends with this process; it goes on."""
    place = path.absolute() if path else guarded.make_directory() / "state"
    qmp("stop")
    try:
        qmp("migrate", uri=f"exec:cat >{shlex.quote(str(place))}")
        _wait(qmp)
    finally:
        qmp("cont")
    return Snapshot(place)


def wait_restored(qmp: "Qmp") -> None:
    """Wait until a guest that was started with a snapshot's options goes on."""
    _wait(qmp)
    if qmp("query-status")["status"] != "running":
        qmp("cont")


def _wait(qmp: "Qmp") -> None:
    deadline = time.monotonic() + _LIMIT
    while (state := qmp("query-migrate")).get("status") != "completed":
        if state.get("status") in ("failed", "cancelled"):
            why = state.get("error-desc", "QEMU does not say why")
            raise GuestError(f"the guest's state cannot be saved or restored: {why}")
        if time.monotonic() > deadline:
            raise GuestError(f"saving or restoring the guest's state took more than {_LIMIT} s")
        time.sleep(0.01)
