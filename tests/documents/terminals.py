# SPDX-License-Identifier: MIT
"""A reader at terminals: types what a document has typed, and holds what is printed against it."""

import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

from comparing import printed, same
from reading import SHELL, Section, Step

from mpfw.readable import readable

_MARK = "\x1e"  # around the status in the shell's prompt
_PROMPT = re.compile(f"{_MARK}(\\d+){_MARK}")
_FAILS = re.compile(r"error|^mpfw\b.*: |^Traceback|cannot|failed|not ", re.I | re.M)
_TERMINALS = re.compile(r"/dev/pts/\d+")
SECONDS = 120.0  # that a step may take
GRACE = 1.0  # in which a command ends that has said all it says


class Mismatch(AssertionError):
    """A document shows what is not so."""


class Terminal:
    """A shell on a terminal. It shows no prompt but a mark, and does not echo."""

    def __init__(self, directory: Path, environment: dict[str, str]):
        self.master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        attributes = termios.tcgetattr(slave)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        prompts = {"PS1": f"{_MARK}$?{_MARK}", "PS2": "", "TERM": "dumb"}
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env=environment | prompts,
            start_new_session=True,
            preexec_fn=lambda: ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self._text = ""
        self.busy = False  # something may run in the background
        self.status: int | None = None  # of the command that has ended; None while one runs
        while self.status is None:
            self.listen(10)
        self._text = ""

    def type(self, text: str) -> None:
        """Type something; what is printed is kept from here on."""
        self._text = ""
        os.write(self.master, text.encode())

    def command(self, text: str) -> None:
        """Type a command to the shell."""
        assert self.status is not None, f"the terminal is busy: {text}"
        self.status = None
        self.busy = self.busy or text.endswith("&")
        self.type(text + "\n")

    def listen(self, seconds: float) -> bool:
        """Take what is printed next; False if nothing was in that time."""
        if not readable([self.master], seconds):
            return False
        try:
            self._text += os.read(self.master, 65536).decode(errors="backslashreplace")
        except OSError:
            raise Mismatch("the terminal was closed") from None
        for found in _PROMPT.finditer(self._text):
            self.status = int(found[1])
        self._text = _PROMPT.sub("", self._text)
        return True

    @property
    def lines(self) -> list[str]:
        """What was printed since something was typed last."""
        return printed(self._text)

    @property
    def last(self) -> str:
        """The line that the cursor is in."""
        return self._text.rpartition("\n")[2]

    def interrupt(self) -> None:
        """Ctrl-C until the command ends; a console's way out if that is of no use."""
        for keys in [b"\x03"] * 5 + [b"\x01x"]:
            if self.status is not None:
                return
            os.write(self.master, keys)
            deadline = time.monotonic() + 1
            while self.status is None and time.monotonic() < deadline:
                self.listen(0.1)
        assert self.status is not None, f"does not end by Ctrl-C: {self.lines}"

    def close(self) -> None:
        """End the shell and its jobs."""
        try:
            self.interrupt()
            self.command("kill $(jobs -p) 2>/dev/null; wait; exit")
            deadline = time.monotonic() + 10
            while self._shell.poll() is None and time.monotonic() < deadline:
                try:
                    self.listen(0.1)
                except Mismatch:
                    break
        finally:
            os.close(self.master)
            if self._shell.poll() is None:
                os.killpg(self._shell.pid, signal.SIGHUP)
            self._shell.wait(10)


class Reader:
    """Somebody who goes through a section with as many terminals as it takes."""

    def __init__(self, directory: Path, environment: dict[str, str]):
        self._directory = directory
        self._environment = environment
        self._terminals: dict[str, Terminal] = {}
        self._names: dict[str, str] = {}  # of terminals: the document's, and ours

    def go_through(self, section: Section, seconds: float = SECONDS) -> None:
        """Type everything. Raises Mismatch, which says where the document is wrong."""
        following = [*section.steps[1:], None]
        for step, then in zip(section.steps, following, strict=True):
            try:
                self._do(step, then, seconds)
            except Mismatch as mismatch:
                place = f"{section.document}, line {step.line}: {step.prompt}{step.typed}"
                raise Mismatch(f"{place}\n{mismatch}") from None

    def _do(self, step: Step, then: Step | None, seconds: float) -> None:
        terminal = self._terminal(step.terminal)
        deadline = time.monotonic() + seconds
        if step.prompt == SHELL:
            _until(lambda: terminal.status is not None, terminal, deadline, "the shell's prompt")
            terminal.command(_TERMINALS.sub(lambda name: self._names[name[0]], step.typed))
        else:
            prompt = step.prompt
            _until(lambda: terminal.last == prompt, terminal, deadline, f"the prompt {prompt!r}")
            terminal.type(_without_remark(step.typed) + "\r")
        shown = _with_echo(step)
        same_terminal = then is not None and then.terminal == step.terminal
        asks = then.prompt if then and same_terminal else SHELL  # what comes once it is through
        wanted = "\n".join(shown) or "nothing"

        def done() -> bool:
            lines = terminal.lines
            asked = asks != SHELL and terminal.last == asks
            if asked:
                lines.pop()
            ended = terminal.status is not None or asked
            # What is followed by work at another terminal, or by nothing, may go on.
            return same(shown, lines) and (ended or (bool(shown) and not same_terminal))

        _until(done, terminal, deadline, f"shown is\n{wanted}")
        told = _TERMINALS.findall("\n".join(terminal.lines))
        self._names.update(zip(_TERMINALS.findall("\n".join(shown)), told, strict=False))
        grace = time.monotonic() + GRACE  # it may be about to end
        while not same_terminal and terminal.status is None and time.monotonic() < grace:
            terminal.listen(0.1)
        self._judge(step, then, terminal)

    def _judge(self, step: Step, then: Step | None, terminal: Terminal) -> None:
        """A command that fails has to be shown failing."""
        told = _FAILS.search("\n".join(step.shown or [])) or (then and "$?" in then.typed)
        if terminal.status and not told:
            raise Mismatch(f"ends with status {terminal.status}, which is not shown")

    def _terminal(self, name: str) -> Terminal:
        if name not in self._terminals:
            self._terminals[name] = Terminal(self._directory, self._environment)
        return self._terminals[name]

    def close(self) -> None:
        """Leave all terminals."""
        for terminal in self._terminals.values():
            terminal.close()


def _until(condition: Callable[[], bool], terminal: Terminal, deadline: float, what: str) -> None:
    """Listen until something holds. Raises Mismatch if it cannot any more."""
    while not condition():
        left = deadline - time.monotonic()
        if terminal.listen(min(max(left, 0), 0.5)):
            continue
        if left <= 0 or (terminal.status is not None and not terminal.busy):
            said = "\n".join(terminal.lines) or "nothing"
            raise Mismatch(f"{what}\nprinted is\n{said}\nstatus {terminal.status}")


def _without_remark(typed: str) -> str:
    """A line without the remark behind it."""
    return re.sub(r"\s{2,}# .*", "", typed)


def _with_echo(step: Step) -> list[str]:
    """What is to be seen: a program at whose prompt something is typed shows that first."""
    assert step.shown is not None
    if step.prompt == SHELL:
        return step.shown
    return [_without_remark(step.typed), *step.shown]
