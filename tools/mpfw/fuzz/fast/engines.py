# SPDX-License-Identifier: MIT
"""The unit tests' engines, for batches: CPython with the sources, the unix port with the rest.

Each is given a time: what a batch may take of a processor, not of the clock on the wall, since
the machine may be busy.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from mpfw import paths
from mpfw.expand import frozen_texts
from mpfw.guest.programs import pipe
from mpfw.readable import readable

UNIT = paths.ROOT / "tests/unit"
SHIM = Path(__file__).with_name("arena.c")
GUEST = Path(__file__).parents[1] / "guest"
HEAP = "24M"  # of MicroPython; to look through it takes a while
ARENA = "1000000000:40000:80 1010000000:400000:18 1020000000:1400000:6"  # see arena.c
LIMIT = 60.0  # seconds of a processor that a batch may take

if str(UNIT) not in sys.path:
    sys.path.append(str(UNIT))

import bench_memory  # noqa: E402
import engines  # noqa: E402
import vsock_bench  # noqa: E402

vsock_bench.FOLDERS.append(GUEST)
_module: Any = vsock_bench.module
_PINNED = 1 << 20  # buffers of a batch whose addresses stay good: of all that it sends
Answer = tuple[int, bytes, str | None, int]  # inputs, transcript, what went wrong, heap in use


class TooLong(Exception):
    """A batch did not come to its end."""


class Source:
    """The sources, in this process: one for all classes."""

    def __init__(self) -> None:
        self._batch = _module("fuzz_batch")

    def run(self, kind: str, data: bytes, count: int) -> Answer:
        """A batch. Raises TooLong."""
        before = signal.signal(signal.SIGVTALRM, _too_long)
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT)
        pinned, bench_memory.PINNED = bench_memory.PINNED, _PINNED
        try:
            inputs, text, failure, heap = self._batch.fuzz(kind, data, count)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
            bench_memory.PINNED = pinned
        return inputs, text, failure, heap


def _too_long(_number: int, _frame: types.FrameType | None) -> None:
    raise TooLong("the sources did not come to an end")


class Expanded:
    """What is frozen, in MicroPython's unix port: a batch is begun, then its end is waited for."""

    def __init__(self) -> None:
        self._codec = _module("bench_codec")
        self._modules = tempfile.TemporaryDirectory(prefix="mpfw-fuzz-")
        self._process: subprocess.Popen[bytes] | None = None
        root = Path(self._modules.name)
        guest = root / "guest"
        shutil.copytree(vsock_bench.GUEST, guest, ignore=shutil.ignore_patterns("__pycache__"))
        for each in GUEST.glob("*.py"):
            shutil.copy(each, guest)
        texts = frozen_texts(vsock_bench.MODULES, guest)
        texts.pop(Path("os.py"))  # the unix port's own has what the modules under test take
        self._tree = root / "tree"
        for place, text in texts.items():
            written = self._tree / place
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(text, encoding="utf-8")
        self._arena = root / "arena.so"
        subprocess.run(["gcc", "-O1", "-shared", "-fPIC", "-o", self._arena, SHIM], check=True)

    def begin(self, kind: str, data: bytes, count: int) -> None:
        """Begin a batch."""
        if self._process is None:
            self._process = subprocess.Popen(
                [engines.unix_port(), "-X", f"heapsize={HEAP}", "bench_agent.py"],
                cwd=self._tree,
                env=os.environ | {"LD_PRELOAD": str(self._arena), "MPFW_ARENA": ARENA},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            self._send([["load", "fuzz_batch"]])
            self._receive()
        self._send([["fuzz", kind, data, count]])

    def end(self) -> Answer:
        """What the batch came to. Raises TooLong, EOFError if MicroPython died."""
        inputs, text, failure, heap = self._receive()
        return inputs, text, failure, heap

    def _send(self, calls: list[Any]) -> None:
        assert self._process is not None
        stream = pipe(self._process.stdin)
        self._codec.send(stream, calls)
        stream.flush()

    def _receive(self) -> Any:
        process = self._process
        assert process is not None
        stream = pipe(process.stdout)
        limit = _used(process.pid) + LIMIT
        while not readable([stream], 1.0):
            if _used(process.pid) > limit:
                self.close(forget=False)
                raise TooLong("the expanded modules did not come to an end")
        try:
            values, failure = self._codec.receive(stream)
        except (EOFError, OSError, ValueError) as error:
            status = process.wait()
            self._process = None
            raise EOFError(f"MicroPython ended with status {status}") from error
        if failure is not None:
            raise AssertionError(*failure)
        return values[0]

    def close(self, forget: bool = True) -> None:
        """End the process; it is started again when it is needed, unless all is forgotten."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            pipe(process.stdin).close()
            pipe(process.stdout).close()
        if forget:
            self._modules.cleanup()


def _used(pid: int) -> float:
    """Seconds that a process has had of a processor."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
