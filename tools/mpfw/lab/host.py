# SPDX-License-Identifier: MIT
"""The lab as a host: firmware guests that run inside it, on the kernel's own vhost-vsock.

Tests use it as they use this machine (mpfw.guest.host): console, QMP, dial and listen are ordinary
sockets here, whose other ends are inside.
"""

import hashlib
import os
import socket
import time
from pathlib import Path
from typing import Any

from mpfw.guest import guarded
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.errors import NotPossible
from mpfw.guest.machine import QEMU, Machine
from mpfw.guest.programs import ProgramError, Programs
from mpfw.guest.snapshot import Snapshot
from mpfw.guest.vsockhost import KernelVsock
from mpfw.lab.image import LabImage
from mpfw.lab.lab import Lab, LabError, Process

_SILENCE = 30  # seconds that a booting guest may say nothing
_FAULTS = (
    "BUG:",
    "Oops",
    "panic",
    "RIP:",
    "lockup",
    "stall",
    "WARNING:",
)  # of a kernel that has one


class LabHost(Programs):
    """Boots guests in a lab, which it boots anew (and says so in `notes`) if it has died."""

    kind = "lab"

    def __init__(self, accel: str = "kvm", image: LabImage | None = None, processors: int = 1):
        """`accel`: what guests run under, "kvm" (with -cpu host) or "tcg", unless they say."""
        self.accel = accel
        self.notes: list[str] = []  # what the lab is, then retries: for a report at the end
        self._image = image
        self._processors = processors
        self._lab: Lab | None = None
        self._inside: set[str] = set()  # digests of flash images that are inside

    @property
    def lab(self) -> Lab:
        """The lab, running."""
        if self._lab is not None and self._lab.failure is not None:
            self.notes.append(f"the lab died and was booted again: {self._lab.failure}")
            self.close()
        if self._lab is None:
            self._lab = Lab(self._image, processors=self._processors)
            self.notes = self.notes or [self._lab.image.describe()]
            self.notes += [f"the lab did not boot at once: {why}" for why in self._lab.retries]
        return self._lab

    def guest(
        self,
        machine: Machine,
        vsock: bool = True,
        console: str = "socket",
        program: bool = False,
        drive: str = "",
        **options: Any,
    ) -> "LabGuest":
        """A guest, not yet started; `options` are those of mpfw.guest.vsockhost.KernelVsock."""
        accel = self.accel if machine.accel == "auto" else machine.accel
        cpu = machine.cpu or ("host" if accel == "kvm" else None)
        flash = machine.image
        inside = flash and self._bring(flash)
        machine = machine.with_options(accel=accel, cpu=cpu, image=inside, qemu=QEMU)
        device = LabVsock(self.lab, **options) if vsock else None
        guest = LabGuest(self, machine, device, console, program, drive)
        guest.flash = flash
        return guest

    def spawn(self, argv: list[str]) -> Process:
        return self.lab.spawn(argv)

    def _bring(self, image: Path) -> Path:
        """Where a flash image lies inside, after putting it there if need be."""
        lab, data = self.lab, image.read_bytes()
        digest = hashlib.sha256(data).hexdigest()[:16]
        path = Path(f"/tmp/image-{digest}.bin")
        if digest not in self._inside:
            lab.put(str(path), data)
            self._inside.add(digest)
        return path

    def last_words(self) -> list[str]:
        """What the lab's console said last of a fault of its kernel; nothing, if it had none."""
        lines = self._lab.console_log() if self._lab is not None else []
        return [line for line in lines if any(word in line for word in _FAULTS)][-6:]

    def close(self) -> None:
        """End the lab."""
        if self._lab is not None:
            self._lab.stop()
            self._lab = None
        self._inside.clear()

    def __enter__(self) -> "LabHost":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LabVsock(KernelVsock):
    """The kernel's vsock inside the lab; dial and listen give sockets here."""

    kind = "lab"

    def __init__(self, lab: Lab, **options: Any):
        super().__init__(**options)
        self.lab = lab

    def dial_once(self, port: int, timeout: float = 10) -> socket.socket:
        connection = self.lab.connect("vsock", self.cid, port)
        connection.settimeout(timeout)
        return connection

    def listen(self, port: int, backlog: int = 128) -> socket.socket:
        return self.lab.listen("vsock", socket.VMADDR_CID_ANY, port, backlog=backlog)


class LabGuest(DrivenGuest):
    """A guest whose QEMU runs inside; its directory lies inside under the same name."""

    first_channel = 1000  # above the numbers of the lab's agent

    def __init__(
        self,
        host: LabHost,
        machine: Machine,
        vsock: LabVsock | None,
        console: str,
        program: bool,
        drive: str = "",
    ):
        super().__init__(machine, vsock, console, program, drive=drive)
        self.host = host
        self.lab = host.lab
        self._program: Process | None = None

    def __enter__(self) -> "LabGuest":
        """Start it; once more if its serial port stays silent, as nested ones rarely do."""
        super().__enter__()
        silent = (
            self._drive or self._console is None or {"-incoming", "-S"} & set(self.machine.extra)
        )
        if not silent and not self._spoke():
            self.host.notes.append(f"a guest stayed silent and was started again: {self.report()}")
            self.close()
            super().__enter__()
        return self

    def _spoke(self) -> bool:
        """Whether the console says anything within _SILENCE seconds."""
        deadline = time.monotonic() + _SILENCE
        while not self.console.transcript:
            if time.monotonic() > deadline or self.process.poll() is not None:
                return False
            time.sleep(0.01)
        return True

    def _launch(self) -> Process:
        self.lab.run(["mkdir", "-p", str(self.directory)])
        for path in self.directory.iterdir():
            self.lab.put(str(path), path.read_bytes())
        log = ["sh", "-c", f'exec "$0" "$@" >{self.directory}/qemu.log 2>&1']
        self._program = self.lab.spawn([*log, *self.command], fds=self._passed)
        self._passed.clear()  # the lab has them now
        return self._program

    def debugcon(self) -> str:
        return self._text("debugcon.log")

    def qemu_log(self) -> str:
        return self._text("qemu.log")

    def _text(self, name: str) -> str:
        try:
            data = self.lab.get(f"{self.directory}/{name}")
        except (LabError, ProgramError) as error:
            data = str(error).encode()
        return data.decode(errors="backslashreplace")

    def snapshot(self, path: Path | None = None) -> Snapshot:
        raise NotPossible("no snapshot of a guest in the lab: its file would be inside")

    def cpu_seconds(self) -> float:
        return guarded.cpu_seconds(self.lab.get(f"/proc/{self.process.pid}/stat").decode())

    def close(self) -> None:
        super().close()
        if self._program is not None:
            self._program.close()
        if self.lab.failure is None:
            self.lab.run(["rm", "-rf", str(self.directory)])


def lab_host() -> LabHost:
    """The lab as a host, as the environment wants it (LAB_SUITE, LAB_ACCEL)."""
    return LabHost(os.environ.get("LAB_ACCEL") or "kvm")
