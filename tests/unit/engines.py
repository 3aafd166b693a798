# SPDX-License-Identifier: MIT
"""The two engines that run the firmware's modules for the unit tests.

`Source` runs the sources in this process, on memory that knows its bounds. `Expanded` runs what
`mpfw expand` makes of them, what is frozen, in one long-lived process of MicroPython's unix port.
Both offer the same objects by name (guest/bench_agent.py), so that a test is written once:

    engine.new_queue(8)
    head = engine.q.add1(4096, 100, True)
    assert engine.q.free() == 7         # an attribute, not a method: just its value
"""

import fcntl
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import vsock_bench

from mpfw import paths
from mpfw.expand import frozen_texts
from mpfw.guest.programs import pipe
from mpfw.guest.upstream import build_unix_port, source_tree

HEAP = "128M"


class GuestError(Exception):
    """An exception of the modules under test: its type's name and its arguments."""

    def __init__(self, name: str, arguments: list, traceback: str = ""):
        super().__init__(name, arguments, traceback)
        self.name = name
        self.arguments = arguments
        self.errno = arguments[0] if arguments else None


class Part:
    """An object of the bench, by its path: its attributes are parts, to call it calls it there."""

    def __init__(self, engine: "Engine", path: str):
        self._engine = engine
        self._path = path

    def __getattr__(self, name: str) -> "Part":
        return Part(self._engine, f"{self._path}.{name}")

    def __call__(self, *arguments: Any) -> Any:
        return self._engine.call(self._path, *arguments)


class Engine:
    """What both have in common."""

    native = False  # compiled: addresses are real, the heap is MicroPython's

    def __getattr__(self, name: str) -> Part:
        if name.startswith("_"):
            raise AttributeError(name)
        return Part(self, name)

    def call(self, path: str, *arguments: Any) -> Any:
        """Call an object of the bench; its value. Raises GuestError."""
        return self.many([path, *arguments])[0]

    def many(self, *calls: list) -> list:
        """Several calls, one after the other. Raises GuestError at the first that fails."""
        raise NotImplementedError

    def close(self) -> None:
        """End it."""


class Source(Engine):
    """The sources, in this process."""

    def __init__(self) -> None:
        self._agent = vsock_bench.module("bench_agent")

    def many(self, *calls: list) -> list:
        try:
            return [self._agent.call(*each) for each in calls]
        except AssertionError:
            raise
        except Exception as error:
            arguments = self._agent.plain_arguments(error)
            raise GuestError(type(error).__name__, arguments) from error


class Expanded(Engine):
    """The expanded modules, in MicroPython's unix port. Started when first called."""

    native = True

    def __init__(self) -> None:
        self._codec = vsock_bench.module("bench_codec")
        self._modules: tempfile.TemporaryDirectory | None = None
        self._process: subprocess.Popen | None = None

    def _start(self) -> subprocess.Popen:
        micropython = unix_port()
        if self._modules is None:
            self._modules = tempfile.TemporaryDirectory(prefix="mpfw-expanded-")
            texts = frozen_texts(vsock_bench.MODULES, vsock_bench.GUEST)
            texts.pop(Path("os.py"))  # the unix port's own has what the modules under test take
            for place, text in texts.items():
                written = Path(self._modules.name) / place
                written.parent.mkdir(parents=True, exist_ok=True)
                written.write_text(text, encoding="utf-8")
        return subprocess.Popen(
            [micropython, "-X", f"heapsize={HEAP}", "bench_agent.py"],
            cwd=self._modules.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def many(self, *calls: list) -> list:
        if self._process is None:
            self._process = self._start()
        try:
            self._codec.send(pipe(self._process.stdin), calls)
            pipe(self._process.stdin).flush()
            values, failure = self._codec.receive(pipe(self._process.stdout))
        except (EOFError, OSError) as error:
            status = self._process.wait(10)
            self._process = None  # the next call finds a new one
            raise AssertionError(f"MicroPython ended with status {status} in {calls}") from error
        except BaseException:  # a time-out: it may run for ever
            self._process.kill()
            self._process.wait()
            self._process = None
            raise
        if failure is None:
            return values
        if failure[0] == "AssertionError":
            raise AssertionError(*failure[1:])
        raise GuestError(*failure)

    def close(self) -> None:
        if self._process is not None:
            pipe(self._process.stdin).close()
            self._process.wait(10)
            pipe(self._process.stdout).close()
        if self._modules is not None:
            self._modules.cleanup()


def unix_port() -> Path:
    """MicroPython's unix port, built by one process at a time."""
    paths.BUILD.mkdir(exist_ok=True)
    with open(paths.BUILD / "unix.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return build_unix_port(source_tree())


ENGINES: dict[str, type[Engine]] = {"source": Source, "expanded": Expanded}
