# SPDX-License-Identifier: MIT
"""A running guest: the one implementation that launches QEMU, for tests, `mpfw run` and the rest.

A Guest owns its QEMU process, a directory of its own for logs and sockets, the console and QMP.
The guardian (mpfw.guest.guardian) starts the processes, so that they and the directory are gone
when this process is, however it ends. What not every guest needs is imported when it does.
"""

import atexit
import re
import socket
import time
import weakref
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

from mpfw import paths
from mpfw.guest import channel, guarded
from mpfw.guest.errors import GuestError, GuestTimeout, NotPossible
from mpfw.guest.machine import Machine, escape, qemu_program
from mpfw.guest.vsockhost import VsockHost

if TYPE_CHECKING:
    from mpfw.guest.console import Console
    from mpfw.guest.programs import Process
    from mpfw.guest.qmp import Qmp

running: "weakref.WeakSet[Guest]" = weakref.WeakSet()
departed: "deque[tuple[str, str]]" = deque(maxlen=8)  # name and report of those an exception ended


class Guest:
    """Context manager: boots `machine` on entry, ends QEMU on exit.

    `vsock` is the host's side of a vsock device, or None for a machine without.
    `console` is "socket" (self.console talks to it), "pty" (self.pty names the terminal that
    other programs open) or "stream" (self.serial is its socket, for whoever joins streams).
    `program`: it has a channel for a program's streams (mpfw.guest.channel), self.io and self.err.
    `log` is where the guest's log goes, if not into a file that ends with the guest.
    `captures`: it sends a capture of its vsock packets, which self.capture gives.
    `keep`: others may connect to QEMU's monitor, at the socket `qmp` in its directory.
    """

    serial: socket.socket
    io: socket.socket
    err: socket.socket
    capture: socket.socket
    no_device = "the guest has no vsock device"  # why it has none, a sentence
    first_channel = 100  # the channels' descriptors in QEMU have numbers from here on

    def __init__(
        self,
        machine: Machine | None = None,
        vsock: VsockHost | None = None,
        console: str = "socket",
        program: bool = False,
        log: Path | None = None,
        keep: bool = False,
        captures: bool = False,
    ):
        self.machine = machine or Machine()
        self.flash = self.machine.image  # where this machine has it
        self._vsock = vsock
        self._console_kind = console
        self._console: Console | None = None
        self._qmp: Qmp | None = None
        self._process: Process | None = None
        self._is_program = program
        self._log = log
        self._keep = keep
        self._captures = captures
        self._ours: list[socket.socket] = []  # our ends of the channels
        self._passed: dict[int, socket.socket] = {}  # number in QEMU -> its end of a channel
        self.started_at = 0.0  # time.perf_counter() just before QEMU was started

    def __enter__(self) -> "Guest":
        self.directory = guarded.make_directory()
        running.add(self)
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        if exception and exception[0] is not None:
            departed.append((self.name, self.report()))
        self.close()

    def _start(self) -> None:
        machine = self.machine
        if self._vsock is not None:
            self._vsock.start(self.directory)
            machine = machine.with_options(
                devices=(*machine.devices, *self._vsock.devices),
                extra=(*self._vsock.options, *machine.extra),
                share_memory=machine.share_memory or self._vsock.shares_memory,
            )
            for lock in self._vsock.held:
                self._passed[self.first_channel + len(self._passed)] = lock
        options, extra = self._streams()
        if extra:
            machine = machine.with_options(extra=(*machine.extra, *extra))
        self.command = machine.command(
            ("-serial", "chardev:console", "-monitor", "none", *options),
            self.debugcon_path,
            self.directory,
        )
        self.started_at = time.perf_counter()
        self._process = self._launch()
        for end in self._passed.values():
            end.close()
        self._passed.clear()
        if self._console_kind == "socket":
            from mpfw.guest.console import Console

            self._console = Console(self.serial)

    def _streams(self) -> tuple[list[str], list[str]]:
        """QEMU's options for what joins the guest with us: the usual ones, then a program's."""
        options: list[str] = []
        extra: list[str] = []
        self._monitor, number = self._channel()
        options += ["-chardev", f"socket,id=qmp,fd={number}", "-mon", "chardev=qmp,mode=control"]
        if self._console_kind == "pty":
            options += ["-chardev", "pty,id=console"]
        else:
            self.serial, number = self._channel()
            options += ["-chardev", f"socket,id=console,fd={number}"]
        if self._is_program:
            self.io, number = self._channel()
            extra += ["-chardev", f"socket,id={channel.IO_PORT},fd={number}"]
            self.err, number = self._channel()
            extra += ["-chardev", f"socket,id={channel.ERR_PORT},fd={number}"]
            extra += channel.devices(*channel.PORTS)
        if self._captures:
            self.capture, number = self._channel()
            extra += ["-chardev", f"socket,id={channel.CAPTURE_PORT},fd={number}"]
            extra += channel.capture()
        if self._keep:
            path = escape(self.directory / "qmp")
            extra += ["-qmp", f"unix:{path},server=on,wait=off"]
        return options, extra

    def _channel(self) -> tuple[socket.socket, int]:
        """Our end of a stream to QEMU, and the number that QEMU will know its end by."""
        ours, theirs = socket.socketpair()
        number = self.first_channel + len(self._passed)
        self._passed[number] = theirs
        self._ours.append(ours)
        return ours, number

    def _launch(self) -> "Process":
        """Start self.command with the channels' ends."""
        passed = {number: end.fileno() for number, end in self._passed.items()}
        with open(self.directory / "qemu.log", "wb") as log:
            return guarded.the_guardian().start(self.command, log.fileno(), passed)

    @property
    def name(self) -> str:
        """What it is called in reports: its directory's name."""
        return self.directory.name

    # -- what tests ask ---------------------------------------------------------------------------

    @property
    def console(self) -> "Console":
        """COM1; GuestError if it is a terminal."""
        if self._console is None:
            raise GuestError("the guest has no console here: it was not started, or has a pty")
        return self._console

    @property
    def without_vsock(self) -> bool:
        """Whether it has no vsock device."""
        return self._vsock is None

    @property
    def vsock(self) -> VsockHost:
        """The host's side of its vsock device. Raises NotPossible for a machine without."""
        if self._vsock is None:
            raise NotPossible(self.no_device)
        return self._vsock

    @vsock.setter
    def vsock(self, host: VsockHost) -> None:
        """Another host's side, before the guest is started."""
        self._vsock = host

    @property
    def qmp(self) -> "Qmp":
        """QEMU's machine protocol."""
        if self._process is None:
            raise GuestError("the guest was not started")
        if self._qmp is None:
            from mpfw.guest.qmp import Qmp

            self._qmp = Qmp(self._monitor)
        return self._qmp

    @property
    def process(self) -> "Process":
        """The QEMU process."""
        if self._process is None:
            raise GuestError("the guest was not started")
        return self._process

    @property
    def pty(self) -> str:
        """Path of the terminal that COM1 is connected to."""
        for chardev in self.qmp("query-chardev"):
            if chardev["label"] == "console":
                filename: str = chardev["filename"]
                return filename.removeprefix("pty:")
        raise GuestError("QEMU has no console")

    @property
    def debugcon_path(self) -> Path:
        """The file that takes what the guest writes to port 0x402."""
        return self._log or self.directory / "debugcon.log"

    def debugcon(self) -> str:
        """Everything the guest has logged so far."""
        if not self.debugcon_path.exists():
            return ""
        return self.debugcon_path.read_text(errors="backslashreplace")

    def qemu_log(self) -> str:
        """What QEMU itself printed; nothing once the guest is closed and its directory gone."""
        try:
            return (self.directory / "qemu.log").read_text(errors="backslashreplace")
        except FileNotFoundError:
            return ""

    def cpu_seconds(self) -> float:
        """Processor time that the QEMU process has used."""
        return guarded.cpu_seconds(Path(f"/proc/{self.process.pid}/stat").read_text())

    def elapsed_ms(self) -> float:
        """Milliseconds of wall time since QEMU was started."""
        return (time.perf_counter() - self.started_at) * 1000

    def wait(self, timeout: float = 10) -> int:
        """Wait until QEMU ends by itself (power-off); its exit code. Raises GuestError."""
        from subprocess import TimeoutExpired

        try:
            return self.process.wait(timeout)
        except TimeoutExpired:
            raise GuestTimeout(f"QEMU still runs after {timeout} s", self.report()) from None

    def report(self, lines: int = 30) -> str:
        """The tails of everything the guest said, for a failure's message."""
        parts = [("command", " ".join(self.command)), ("qemu", self.qemu_log())]
        if self._console is not None:
            text = bytes(self._console.transcript).decode(errors="backslashreplace")
            parts.append(("console", text.replace("\r\n", "\n")))
        parts += [*self._said(), ("debugcon", self.debugcon())]
        if self._vsock is not None:
            parts.append(("vsock host", self._vsock.log()))
        if self.flash is not None:
            said = next((text for _, text in reversed(parts) if "CPU exception" in text), "")
            parts.append(("CPU exceptions", _explained(said, self.flash)))
        return "\n".join(
            f"--- {name} ---\n" + "\n".join(text.splitlines()[-lines:])
            for name, text in parts
            if text
        )

    def _said(self) -> list[tuple[str, str]]:
        """Further parts of a report, each with its name."""
        return []

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """End QEMU and what belongs to it; does nothing the second time."""
        running.discard(self)
        try:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()  # it has nothing to save
                self._process.wait()
        except OSError:
            pass  # it was never started
        for part in (self._qmp, self._console, *self._ours, *self._passed.values()):
            if part is not None:
                part.close()
        if self._vsock is not None:
            self._vsock.stop()
        if hasattr(self, "directory"):  # it was started
            guarded.remove_directory(self.directory)


def _explained(said: str, image: Path) -> str:
    """The last report of a CPU exception in what was said, with functions and lines."""
    if not said or not paths.IN_TREE:
        return ""  # what has the symbols is the build
    from mpfw.guest.symbolise import explanation

    return explanation(said, image)


def qemu_version(program: str | None = None) -> tuple[int, ...]:
    """Version of a QEMU, by default of the one that guests run in, such as (7, 2, 18)."""
    import subprocess

    qemu = program or qemu_program()
    text = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version ([\d.]+)", text)
    if found is None:
        raise GuestError(f"{qemu} --version: {text.strip()!r}")
    return tuple(int(part) for part in found.group(1).split("."))


@atexit.register
def _close_all() -> None:
    for guest in list(running):
        guest.close()
