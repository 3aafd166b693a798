# SPDX-License-Identifier: MIT
"""Programs on a host, this machine or the lab: run one to its end, or talk to it meanwhile."""

import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import IO, AnyStr, Protocol


class ProgramError(Exception):
    """A program on a host failed; the message has its exit code and what it complained of."""


@dataclass(frozen=True)
class Result:
    """How a program ended: exit code (negative: signal), stdout, stderr."""

    code: int
    out: bytes
    err: bytes


class Process(Protocol):
    """A running program, on this machine or elsewhere: what subprocess.Popen has of it."""

    @property
    def pid(self) -> int: ...

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


class Program(Process, Protocol):
    """A process to talk to: `stdio` (its stdin and stdout) and `stderr` are sockets here."""

    stdio: socket.socket
    stderr: socket.socket

    def close(self) -> None:
        """Kill it if it runs, and give its sockets back."""


class Programs:
    """What can be done with programs where they can be spawned; hosts inherit it."""

    def spawn(self, argv: list[str]) -> Program:
        """Start a program."""
        raise NotImplementedError

    def run(
        self, argv: list[str], stdin: bytes = b"", timeout: float = 60, check: bool = True
    ) -> Result:
        """Run a program to its end; ProgramError if it fails and `check` is set."""
        process = self.spawn(argv)
        errors: list[bytes] = []
        workers = [
            threading.Thread(target=_feed, args=(process.stdio, stdin), daemon=True),
            threading.Thread(target=lambda: errors.append(drain(process.stderr)), daemon=True),
        ]
        expiry = threading.Timer(timeout, process.kill)
        for thread in (*workers, expiry):
            thread.start()
        try:
            out = drain(process.stdio)
            workers[1].join(timeout)
            result = Result(process.wait(timeout), out, b"".join(errors))
        finally:
            overdue = expiry.finished.is_set()
            expiry.cancel()
            process.close()
        if overdue:
            said = (out + result.err).decode(errors="replace")
            raise TimeoutError(f"{argv[0]} took longer than {timeout} s; it said: {said}")
        if check and result.code != 0:
            said = result.err.decode(errors="replace")
            raise ProgramError(f"{argv}: exit code {result.code}\n{said}")
        return result

    def python(self, script: str, *arguments: str, timeout: float = 60) -> str:
        """Run a Python script; what it printed. ProgramError with its traceback if it fails."""
        return self.run([self.interpreter, "-c", script, *arguments], timeout=timeout).out.decode()

    interpreter = "python3"

    def put(self, path: str, data: bytes) -> None:
        """Write a file there."""
        self.run(["sh", "-c", 'cat >"$0"', path], stdin=data)

    def get(self, path: str) -> bytes:
        """Read a file there."""
        return self.run(["cat", path]).out


class LocalProgram:
    """A Program on this machine."""

    def __init__(self, argv: list[str]):
        self.stdio, stdio_inside = socket.socketpair()
        self.stderr, stderr_inside = socket.socketpair()
        with stdio_inside, stderr_inside:
            both, errors = stdio_inside.fileno(), stderr_inside.fileno()
            self._process = subprocess.Popen(argv, stdin=both, stdout=both, stderr=errors)
        self.pid = self._process.pid
        self.poll = self._process.poll
        self.wait = self._process.wait
        self.send_signal = self._process.send_signal
        self.terminate = self._process.terminate
        self.kill = self._process.kill

    def close(self) -> None:
        """Kill it if it runs, and give its sockets back."""
        if self.poll() is None:
            self.kill()
        self.wait()
        self.stdio.close()
        self.stderr.close()


class LocalPrograms(Programs):
    """Programs on this machine."""

    interpreter = sys.executable

    def spawn(self, argv: list[str]) -> LocalProgram:
        return LocalProgram(argv)

    def put(self, path: str, data: bytes) -> None:
        Path(path).write_bytes(data)

    def get(self, path: str) -> bytes:
        return Path(path).read_bytes()


def pipe(stream: IO[AnyStr] | None) -> IO[AnyStr]:
    """A pipe that Popen was asked for, which its type cannot say."""
    assert stream is not None
    return stream


def drain(sock: socket.socket) -> bytes:
    """Everything that comes until the stream ends."""
    chunks = []
    while chunk := sock.recv(1 << 16):
        chunks.append(chunk)
    return b"".join(chunks)


def _feed(sock: socket.socket, data: bytes) -> None:
    try:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the program ended without reading it all
