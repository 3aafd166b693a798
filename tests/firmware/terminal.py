# SPDX-License-Identifier: MIT
"""Reading a terminal that a program under test writes to."""

import os
import pty
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mpfw.readable import readable


@contextmanager
def on_terminal(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None
) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run a program on a terminal: our end of that and the process, which ends with the block."""
    ours, theirs = pty.openpty()
    streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
    process = subprocess.Popen(command, env=environment, **streams)
    os.close(theirs)
    try:
        yield ours, process
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def read_until(fd: int, wanted: bytes, timeout: float = 20) -> bytes:
    """Read a terminal until `wanted` occurs; everything read."""
    data, deadline = b"", time.monotonic() + timeout
    while wanted not in data:
        left = deadline - time.monotonic()
        assert left > 0 and readable([fd], left), f"no {wanted!r} in {data!r}"
        try:
            data += os.read(fd, 4096)
        except OSError:  # EIO: the program has ended
            raise AssertionError(f"no {wanted!r} before the end of {data!r}") from None
    return data


def type_until(fd: int, keys: bytes, wanted: bytes, timeout: float = 20) -> bytes:
    """Type `keys` every half second until `wanted` occurs: a program that has just started may
    still be about to take its terminal over, and what was typed before is lost."""
    deadline = time.monotonic() + timeout
    while True:
        os.write(fd, keys)
        try:
            return read_until(fd, wanted, 0.5)
        except AssertionError:
            if time.monotonic() > deadline:
                raise


def has_a_repl(
    command: Sequence[str | Path], greeting: bytes, environment: Mapping[str, str] | None = None
) -> None:
    """A program is a terminal of the guest's REPL: Ctrl-C gets out of an endless loop, Ctrl-] out
    of the program."""
    with on_terminal(command, environment) as (ours, process):
        read_until(ours, greeting)
        type_until(ours, b"\r", b">>> ")
        os.write(ours, b"while True: pass\r\r")
        time.sleep(1)
        os.write(ours, b"\x03")
        read_until(ours, b"KeyboardInterrupt: \r\n>>> ")
        os.write(ours, b"6 * 7\r")
        read_until(ours, b"42\r\n>>> ")
        os.write(ours, b"\x1d")  # Ctrl-]
        assert process.wait(20) == 0
