# SPDX-License-Identifier: MIT
"""The image in QEMU behind a device of ours, and what must hold after each batch of lies."""

import errno
from pathlib import Path
from typing import Any

from mpfw import paths
from mpfw.device.firmware import vsock as w
from mpfw.device.policy import Polite
from mpfw.guest.console import ConsoleTimeout
from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.errors import RemoteError
from mpfw.guest.machine import Machine
from mpfw.guest.vsockhost import VsockHost

SCRIPT = {"opt/micropython/main.py": ""}  # nothing runs: the prompt
PATIENCE = 20.0  # seconds for anything that the guest is to do
_MOMENT = 1.0  # seconds in which a program that does not wait for ever stops
# What all batches together may leave behind: bytes, and ports of calls that Ctrl-C has ended.
_GROWTH = {"heap": 192 << 10, "ports": 8}
_DATA = b"is anybody there? " * 100
_NEVER = ("CPU exception", "MemoryError", "KeyError", "AttributeError", "TypeError", "ValueError")


class Wrong(Exception):
    """Something that must not be: a sentence."""


class RealGuest:
    """A guest that serves while lies are told; made once, for many batches.

    Raises Wrong, ConsoleError.
    """

    def __init__(self, host: VsockHost, policy: Polite, qemu: str = "", memory: str = "64M"):
        options: dict[str, Any] = {"qemu": qemu} if qemu else {}
        machine = Machine(image=paths.IMAGE, fw_cfg=SCRIPT, memory=memory, **options)
        self.guest = DrivenGuest(machine, host)
        self.policy = policy
        self.guest.__enter__()
        self._read = 0  # bytes of the log that were looked at
        self._serving = False
        self.console = self.guest.console
        try:
            self.console.wait_prompt(PATIENCE)
            self.console.exec(Path(__file__).with_name("real_inside.py").read_text())
            self.console.exec("begin()")
            self.before = self.figures()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it."""
        self.guest.close()

    def serve(self, code: str = "serve()") -> None:
        """Have that run; it says when it does."""
        self.stop()
        self.console.start(code, PATIENCE)
        self.console.expect("serving", PATIENCE)
        self._serving = True

    def stop(self) -> None:
        """Have the prompt back: of a program that waits for ever, by Ctrl-C."""
        if not self._serving:
            return
        self._serving = False
        self.console.send(b"q")
        try:
            try:
                self.console.finish(_MOMENT)
            except ConsoleTimeout:
                self.console.send(b"\x03")
                self.console.finish(PATIENCE)
        except RemoteError as error:
            raise Wrong(f"a program ended: {str(error).splitlines()[-1]}") from error

    def figures(self) -> dict[str, int]:
        """Open the device anew; what memory and tables hold then."""
        said = self.console.eval("figures()", PATIENCE)
        store = said.pop("store")
        said["promised"] = store[w.STORE_PROMISED]
        said["blocks"] = store[w.STORE_MADE] - store[w.STORE_BLOCKS]
        said["spare"] = store[w.STORE_SPARE]
        found: dict[str, int] = said
        return found

    def check(self) -> None:
        """The prompt computes, nothing is missing, an echo works, nothing bad was said.

        Whatever lied is to be honest again. The echo runs afterwards.
        """
        self.stop()
        if self.console.eval("6 * 7", PATIENCE) != 42:
            raise Wrong("the prompt does not compute")
        now = self.figures()
        for name, value in now.items():
            more = value - self.before[name]
            if more > _GROWTH.get(name, 0) or (more and name == "spare"):
                raise Wrong(f"{name}: {value} after the batch, {self.before[name]} before all")
        self.serve()
        self.polite_echo()
        self.said_nothing_bad()

    def polite_echo(self) -> None:
        """A connection by somebody who keeps to the rules."""
        stream = self.policy.connect(ECHO_PORT, PATIENCE)
        stream.send(_DATA)
        data = stream.receive(len(_DATA), PATIENCE)
        if stream.reset:
            raise ConnectionResetError(errno.ECONNRESET, "the echo was reset")
        if data != _DATA:
            raise Wrong("the echo is not what was sent")
        stream.shutdown(w.SHUTDOWN_BOTH)
        stream.wait_reset(PATIENCE)

    def said_nothing_bad(self) -> None:
        """No traceback, but of a program's own OSError; no report of an exception."""
        with open(self.guest.debugcon_path, "rb") as log:
            log.seek(self._read)
            new = log.read()
        self._read += len(new)
        transcript = self.console.transcript
        text = (bytes(transcript) + new).decode(errors="backslashreplace")
        del transcript[:]
        text = text.replace("KeyboardInterrupt", "")
        for line in text.splitlines():
            if any(word in line for word in _NEVER) or line.startswith("Traceback"):
                raise Wrong(f"it said: {line.strip()}")

    def report(self) -> str:
        """The last words of everybody."""
        return self.guest.report()
