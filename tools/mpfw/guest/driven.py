# SPDX-License-Identifier: MIT
"""A guest that a program drives: it runs a script, or waits for code, calls and files (the agent).

What mpfw.Guest and the fixtures of the tests are; mpfw.guest.guest has what starts and ends it.
"""

import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpfw.guest import agent, channel, ending
from mpfw.guest.agent import Agent, Request
from mpfw.guest.errors import GuestEnded, GuestTimeout, NotPossible
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.guest.snapshot import Snapshot, save, wait_restored
from mpfw.guest.talk import Script, text
from mpfw.guest.vsockhost import DeviceVsock, VhostUserVsock, VsockHost

AGENT = "agent"  # it waits for requests
SCRIPT = "script"  # it runs the script in the machine's fw_cfg as a program
_CTRL_C = b"\x03"
_DRIVER_WORKS = re.compile(r"vsock: cid \d+ works$", re.MULTILINE)


class Files:
    """The files of a guest: its RAM disk at /, and /disk if it has one."""

    def __init__(self, guest: "DrivenGuest"):
        self._guest = guest

    def put(self, path: str, data: bytes | str | Path, timeout: float | None = None) -> None:
        """Write a file: bytes, a text, or what the file `data` here holds."""
        if isinstance(data, Path):
            data = data.read_bytes()
        content = data.encode() if isinstance(data, str) else data
        self._guest.agent.put(path, content).result(self._guest.limit(timeout))

    def get(self, path: str, timeout: float | None = None) -> bytes:
        """Read a file."""
        request = self._guest.agent.get(path)
        request.result(self._guest.limit(timeout))
        return bytes(request.data)


class DrivenGuest(Guest):
    """A guest with an agent or a script; every wait takes `timeout` seconds at most (60)."""

    def __init__(
        self,
        machine: Machine | None = None,
        vsock: VsockHost | None = None,
        console: str = "socket",
        program: bool = False,
        log: Path | None = None,
        keep: bool = False,
        drive: str = "",
        stdin: bytes = b"",
        restore: Snapshot | None = None,
    ):
        """`drive`: AGENT, SCRIPT (with `stdin` as its standard input), or "" for neither.
        `restore`: it goes on from a snapshot of a guest with the same machine and drive."""
        machine = machine or Machine()
        if drive == AGENT:
            machine = machine.with_options(fw_cfg={**agent.fw_cfg(), **machine.fw_cfg})
        if restore is not None:
            machine = machine.with_options(extra=(*machine.extra, *restore.options))
        super().__init__(machine, vsock, console, program or drive == SCRIPT, log, keep)
        self.timeout = 60.0
        self.files = Files(self)
        self._drive = drive
        self._stdin = stdin
        self._restore = restore
        self._agent: Agent | None = None
        self._script: Script | None = None
        self._status: int | None = None

    # -- its beginning and end --------------------------------------------------------------------

    def _streams(self) -> tuple[list[str], list[str]]:
        options, extra = super()._streams()
        if self._drive == AGENT:
            self._port, number = self._channel()
            extra += ["-chardev", f"socket,id={agent.PORT},fd={number}"]
            extra += channel.devices(agent.PORT)
        return options, extra

    def _start(self) -> None:
        super()._start()
        if self._drive == AGENT:
            self._agent = Agent(self._port, self.interrupt, self.report)
        elif self._drive == SCRIPT:
            self._script = Script(self.io, self.err, self._stdin)
        if self._restore is not None:
            wait_restored(self.qmp)
            if self._agent is not None:
                self._agent.resume(busy=False)

    def close(self) -> None:
        for talk in (self._agent, self._script):
            if talk is not None:
                talk.close()
        super().close()

    # -- what it says -----------------------------------------------------------------------------

    def limit(self, timeout: float | None) -> float:
        """Seconds that something may take: those given, else the guest's own."""
        return self.timeout if timeout is None else timeout

    @property
    def agent(self) -> Agent:
        """What answers requests. Raises NotPossible if a script runs in its place."""
        if self._agent is None:
            what = "is off" if self._drive == AGENT else "runs a script of its own"
            raise NotPossible(f"the guest {what}, so it takes no code, calls or files")
        return self._agent

    @property
    def _talk(self) -> Agent | Script:
        talk = self._agent or self._script
        if talk is None:
            raise NotPossible("the guest has neither a script nor an agent here")
        return talk

    @property
    def output_bytes(self) -> bytes:
        """All that was printed so far: standard output, exactly."""
        return bytes(self._talk.out)

    @property
    def output(self) -> str:
        """All that was printed so far, as text; what is not UTF-8 is escaped."""
        return text(self._talk.out)

    @property
    def errors(self) -> str:
        """All that went to standard error so far; a script's traceback is there."""
        return text(self._talk.err)

    @property
    def log(self) -> str:
        """The firmware's log so far, a line each: `[seconds.micros] LEVEL where: what`."""
        return self.debugcon()

    @property
    def status(self) -> int | None:
        """The script's exit status, None while it runs; docs/run.md has the table."""
        if self._status is None and self._script is not None and self._ended(self._script):
            self._status = self._learn_status(self._script, 10)
        return self._status

    @staticmethod
    def _ended(script: Script) -> bool:
        return script.complete or script.closed

    def _learn_status(self, script: Script, timeout: float) -> int:
        if script.status is not None:
            return script.status
        return ending.status(self, script.ready, timeout)[0]

    def wait_status(self, timeout: float | None = None) -> int:
        """Wait for the script's end; its exit status. Raises GuestTimeout."""
        script = self._script
        if script is None:
            raise NotPossible("the guest has no script that could end")
        seconds = self.limit(timeout)
        script.wait_for(lambda: self._ended(script) or None, seconds)
        if not self._ended(script):
            raise GuestTimeout(f"the script still runs after {seconds} s", self.report())
        status = self.status
        assert status is not None
        return status

    def ready(self, pattern: str | None = None, timeout: float | None = None) -> None:
        """Wait until the script runs or the agent takes requests; with a regular expression, until
        what was printed has it besides. Raises GuestTimeout, GuestEnded."""
        talk, seconds = self._talk, self.limit(timeout)
        began = time.monotonic()
        if not talk.wait_for(lambda: talk.ready, seconds):
            raise self._missed("the guest did not begin", seconds)
        if pattern is not None:
            self.expect(pattern, max(0.0, began + seconds - time.monotonic()))

    def expect(self, pattern: str, timeout: float | None = None) -> re.Match[bytes]:
        """Wait until the regular expression occurs in what was printed since the last call's
        match; the match. Raises GuestTimeout, GuestEnded."""
        seconds = self.limit(timeout)
        match = self._talk.expect(pattern, seconds)
        if match is None:
            raise self._missed(f"the guest did not print {pattern!r}", seconds)
        return match

    def _missed(self, what: str, seconds: float) -> GuestTimeout | GuestEnded:
        """What has not come in so many seconds, or never will."""
        if self._talk.closed:
            why = ending.status(self, self._talk.ready)[1]
            return GuestEnded(f"{what}: {why or 'it is off'}", self.report())
        return GuestTimeout(f"{what} in {seconds} s", self.report())

    def _said(self) -> list[tuple[str, str]]:
        talk = self._agent or self._script
        if talk is None:
            return []
        return [("output", text(talk.out)), ("errors", text(talk.err))]

    # -- what it is asked -------------------------------------------------------------------------

    def run(self, code: str | Path, timeout: float | None = None) -> str:
        """Run code, or a file's, in the guest; what it printed. Names stay for what runs later.

        Raises RemoteError with the guest's traceback, GuestTimeout, GuestEnded."""
        request = self.begin(code)
        request.result(self.limit(timeout))
        return request.output

    def begin(self, code: str | Path) -> Request:
        """Begin what run() does: result(timeout) of what this gives waits for the end."""
        if isinstance(code, Path):
            return self.agent.run(code.read_text(), code.name)
        return self.agent.run(code)

    def start(
        self, function: Callable[..., Any] | str, *arguments: Any, **keywords: Any
    ) -> Request:
        """Begin what call() does: result(timeout) of what this gives waits for the answer."""
        return self.agent.call(function, arguments, keywords)

    def call(
        self,
        function: Callable[..., Any] | str,
        *arguments: Any,
        timeout: float | None = None,
        **keywords: Any,
    ) -> Any:
        """Call a function in the guest; what it returns.

        `function` is one of this program, whose source is sent: it may use what it imports itself
        and what run() has defined; or the name of one that is there. Arguments and result are what
        JSON has, bytes and tuples. Raises RemoteError, GuestTimeout, GuestEnded."""
        return self.start(function, *arguments, **keywords).result(self.limit(timeout))

    def interrupt(self) -> None:
        """Ctrl-C: KeyboardInterrupt in what runs."""
        self.console.send(_CTRL_C)

    # -- its connections --------------------------------------------------------------------------

    def connect(self, port: int, timeout: float | None = None) -> socket.socket:
        """A connection to the guest's vsock port, tried again while nobody accepts there.

        Raises GuestTimeout, GuestEnded."""
        seconds = self.limit(timeout)
        deadline = time.monotonic() + seconds
        self._await_driver(deadline)
        while True:
            left = deadline - time.monotonic()
            try:
                connection = self.vsock.dial_once(port, max(0.1, left))
                connection.settimeout(None)
                return connection
            except OSError as error:  # also ENODEV, until the kernel's device works
                if self.process.poll() is not None:
                    raise GuestEnded(f"no connection to port {port}", self.report()) from error
                if left <= 0:
                    what = f"nobody accepts at the guest's port {port} in {seconds} s ({error})"
                    raise GuestTimeout(what, self.report()) from error
            time.sleep(0.02)

    def listen(self, port: int, backlog: int = 128) -> socket.socket:
        """A listening socket for the guest's connections to CID 2, `port`; accept() as usual.

        With the kernel's device any guest may connect: its CID is the first of the address.
        """
        return self.vsock.listen(port, backlog)

    def _await_driver(self, deadline: float) -> None:
        """Wait until the guest's driver works: dialled before that, vhost-device-vsock may die."""
        if not isinstance(self.vsock, VhostUserVsock) or isinstance(self.vsock, DeviceVsock):
            return
        while not _DRIVER_WORKS.search(self.log):
            if self.process.poll() is not None:
                raise GuestEnded("the guest ended before it used vsock", self.report())
            if time.monotonic() > deadline:
                raise GuestTimeout("the guest has not used vsock yet", self.report())
            time.sleep(0.005)

    # -- what QEMU can ----------------------------------------------------------------------------

    def snapshot(self, path: Path | None = None) -> Snapshot:
        """The guest's state in a file (`path`, or one that ends with this process). It goes on.

        Raises NotPossible with vhost-user-vsock."""
        if isinstance(self._vsock, VhostUserVsock):
            raise NotPossible(
                "no snapshot of a guest with vhost-user-vsock: the daemon's part of its state "
                "cannot be saved; take host='vhost-vsock' or host='none'"
            )
        return save(self.qmp, path)
