# SPDX-License-Identifier: MIT
"""QEMU's gdb stub: a guest that waits for gdb, and the command line that attaches it.

gdb knows the functions of the payload and of the IPL, those of frozen Python code among the
payload's (mpfw.image.frozen). It need not be installed where the guest is.
"""

import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mpfw import paths
from mpfw.guest.programs import Process
from mpfw.image.built import Build


@dataclass(frozen=True)
class Stub:
    """A gdb stub on a Unix socket."""

    socket: Path

    @property
    def options(self) -> tuple[str, ...]:
        """QEMU's options: listen there, and stop before the first instruction."""
        return ("-S", "-gdb", f"unix:{self.socket},server=on,wait=off")

    def listens(self, qemu: Process) -> bool:
        """Wait until somebody may attach; False if QEMU has ended before that."""
        while not self.socket.exists():
            if qemu.poll() is not None:
                return False
            time.sleep(0.005)
        return True

    def command(self, build: Build | None = None) -> list[str]:
        """gdb's command line, with the symbols of the payload and of the IPL."""
        payload, ipl = (_from_top(elf) for elf in (build or Build()).symbols)
        orders = [
            "set confirm off",  # add-symbol-file asks
            f"add-symbol-file {ipl}",
            f"target remote {self.socket}",
        ]
        words = [word for each in orders for word in ("-ex", each)]
        # Sources are found from the project's top directory (port/Makefile).
        return ["gdb", "-q", "-cd", str(paths.ROOT), str(payload), *words]

    def __str__(self) -> str:
        return shlex.join(self.command())


@contextmanager
def stub() -> Iterator[Stub]:
    """A stub whose socket is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mpfw-") as directory:
        yield Stub(Path(directory) / "gdb")


def _from_top(path: Path) -> Path:
    """A path as it is in the project's top directory."""
    return path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path
