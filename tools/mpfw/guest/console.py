# SPDX-License-Identifier: MIT
"""A guest's serial console as a byte stream: wait for text, type, run code in the raw REPL.

Works on any connected stream socket. A thread drains it all the time, so the guest never waits
for its reader. Knows nothing of QEMU.
"""

import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from mpfw.guest.errors import RemoteError
from mpfw.guest.literals import literal

RAW_PROMPT = rb"raw REPL; CTRL-B to exit\r\n>"
CTRL_A, CTRL_B, CTRL_C, CTRL_D, CTRL_E = b"\x01", b"\x02", b"\x03", b"\x04", b"\x05"
TAIL = 2000  # bytes of console shown in errors

Found = TypeVar("Found")


class ConsoleError(Exception):
    """The console did not say what was expected; the message shows what it said."""


class ConsoleTimeout(ConsoleError):
    """The expected text did not come in time."""


class ConsoleClosed(ConsoleError):
    """The other end is gone: the machine is off."""


class Console:
    """One end of a serial line to a MicroPython."""

    def __init__(self, stream: socket.socket):
        self._stream = stream
        self._lock = threading.Condition()
        self._unread = bytearray()
        self._closed = False
        self._raw = False
        self.transcript = bytearray()  # everything ever received
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._reader = threading.Thread(target=self._drain, daemon=True, name="console")
        self._reader.start()

    def _drain(self) -> None:
        poll = select.poll()
        poll.register(self._stream, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while self._stop not in dict(poll.poll()):
            try:
                data = self._stream.recv(65536)
            except OSError:
                data = b""
            with self._lock:
                self._unread += data
                self.transcript += data
                self._closed = not data
                self._lock.notify_all()
            if not data:
                return

    @property
    def closed(self) -> bool:
        """Whether the line is down and everything that came before has been read."""
        with self._lock:
            return self._closed and not self._unread

    def close(self) -> None:
        """Hang up. What had come until then is still there to be read."""
        try:
            self._stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self._stop >= 0:
            self._reader.join()
            self._end()
        self._stream.close()

    def release(self) -> tuple[socket.socket, bytes]:
        """Leave the line to somebody else: its socket, and what had come and was not read."""
        os.eventfd_write(self._stop, 1)
        self._reader.join()
        self._end()
        return self._stream, self.unread()

    def _end(self) -> None:
        os.close(self._stop)
        self._stop = -1

    def send(self, data: bytes | str) -> None:
        """Type `data`."""
        self._stream.sendall(data.encode() if isinstance(data, str) else data)

    def expect(self, pattern: bytes | str, timeout: float = 10) -> re.Match[bytes]:
        """Wait until the regular expression occurs in what has not been read; read up to its end.

        Raises ConsoleTimeout after `timeout` seconds, ConsoleClosed if the line went down.
        """
        if isinstance(pattern, str):
            pattern = pattern.encode()
        regex = re.compile(pattern, re.DOTALL)
        with self._lock:
            match = self._await(lambda: regex.search(bytes(self._unread)), pattern, timeout)
            del self._unread[: match.end()]
            return match

    def read_until(self, ending: bytes, timeout: float = 10) -> bytes:
        """Everything up to and including `ending`; for long output. Raises as expect()."""
        searched = 0

        def find() -> int | None:
            nonlocal searched
            at = self._unread.find(ending, max(0, searched - len(ending)))
            searched = len(self._unread)
            return at + len(ending) if at >= 0 else None

        with self._lock:
            end = self._await(find, ending, timeout)
            data = bytes(self._unread[:end])
            del self._unread[:end]
            return data

    def _await(self, find: Callable[[], Found | None], wanted: bytes, timeout: float) -> Found:
        """Call find() after every arrival until it gives something; the lock is held."""
        deadline = time.monotonic() + timeout
        while True:
            found = find()
            if found:
                return found
            if self._closed:
                raise ConsoleClosed(f"{wanted!r} expected, but it hung up;{self._tail()}")
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConsoleTimeout(f"no {wanted!r} in {timeout} s;{self._tail()}")
            self._lock.wait(left)

    def read(self, count: int, timeout: float = 10) -> bytes:
        """Exactly `count` bytes."""
        return self.expect(b".{%d}" % count, timeout).group()

    def unread(self) -> bytes:
        """What has come in and was not read, which this reads."""
        with self._lock:
            data = bytes(self._unread)
            self._unread.clear()
        return data

    def _tail(self) -> str:
        text = bytes(self.transcript[-TAIL:]).decode(errors="backslashreplace")
        return f" the console's last words:\n{text}"

    # -- REPL -----------------------------------------------------------------------------------

    def wait_prompt(self, timeout: float = 10) -> None:
        """Wait for the friendly REPL's prompt."""
        self.expect(rb">>> ", timeout)
        self._raw = False

    def interrupt(self, timeout: float = 10) -> None:
        """Ctrl-C out of whatever runs, to a fresh friendly prompt."""
        self.unread()
        self.send(b"\r" + CTRL_C + CTRL_B)
        self.expect(rb"Type \"help\(\)\" for more information.\r\n>>> ", timeout)
        self._raw = False

    def enter_raw_repl(self, timeout: float = 10) -> None:
        """Interrupt what runs and go to the raw REPL."""
        self.unread()
        self.send(b"\r" + CTRL_C + CTRL_A)
        self.expect(RAW_PROMPT, timeout)
        self._raw = True

    def leave_raw_repl(self, timeout: float = 10) -> None:
        """Back to the friendly prompt."""
        self.send(CTRL_B)
        self.wait_prompt(timeout)

    def soft_reset(self, timeout: float = 10) -> None:
        """Ctrl-D at the friendly prompt; returns at the next one."""
        self.interrupt(timeout)
        self.send(CTRL_D)
        self.expect(rb"soft reboot\r\n", timeout)
        self.wait_prompt(timeout)

    def exec(self, code: str | bytes, timeout: float = 30) -> str:
        """Run code in the raw REPL; returns what it printed, with \\n line ends.

        Raises RemoteError with the guest's traceback if the code raised.
        """
        self.start(code, timeout)
        return self.finish(timeout)

    def eval(self, expression: str, timeout: float = 30) -> Any:
        """The value of an expression of plain literals (numbers, strings, tuples, ...)."""
        return literal(self.exec(f"print(repr({expression}))", timeout))

    def start(self, code: str | bytes, timeout: float = 30) -> None:
        """Hand code to the raw REPL and return while it runs; finish() collects its output."""
        if isinstance(code, str):
            code = code.encode()
        if not self._raw:
            self.enter_raw_repl(timeout)
        self.send(CTRL_E + b"A" + CTRL_A)
        self.expect(rb"R\x01", timeout)
        window = int.from_bytes(self.read(2, timeout), "little")
        allowed = window
        while code:
            while allowed == 0:
                if self.read(1, timeout) != b"\x01":
                    raise ConsoleError(f"raw paste was broken off;{self._tail()}")
                allowed += window
            self.send(code[:allowed])
            code, allowed = code[allowed:], max(0, allowed - len(code))
        self.send(CTRL_D)
        self.expect(rb"\x04", timeout)  # also reads the window increments not waited for

    def start_endless(self, timeout: float = 30) -> None:
        """Start a loop without an end; returns once it runs. What start() begins is compiled
        first, and until then Ctrl-C is a character like others."""
        self.start("print('endless')\nwhile True: pass", timeout)
        self.expect(rb"endless\r\n", timeout)

    def finish(self, timeout: float = 30) -> str:
        """Wait for the end of what start() began; as exec()."""
        output = self.read_until(CTRL_D, timeout)[:-1]
        error = self.read_until(CTRL_D + b">", timeout)[:-2]
        text = output.decode(errors="backslashreplace").replace("\r\n", "\n")
        if error:
            raise RemoteError(error.decode(errors="backslashreplace").replace("\r\n", "\n"), text)
        return text
