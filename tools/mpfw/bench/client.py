# SPDX-License-Identifier: MIT
"""Runs the host's measuring program (ci/bench/client.c) against one guest and reads its results.

Every run has a time limit, so that a guest which hangs becomes an error that says where.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from mpfw.guest.programs import pipe

Result = dict[str, Any]  # one line of JSON, as client.c describes it

MARGIN = 30.0  # seconds that a run may take beyond what it measures


class MeasurementError(Exception):
    """A guest did not answer as it should; the message says at what."""


class Client:
    """The measuring program and the socket of one guest's vhost-device-vsock."""

    def __init__(self, program: Path, socket: Path):
        self._command = [str(program), str(socket)]

    def run(self, *arguments: str | float, seconds: float = 0.0) -> Result:
        """One measurement, as client.c describes it, that lasts about `seconds`; its results."""
        command = [*self._command, *map(str, arguments)]
        what = " ".join(command[2:])
        try:
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + MARGIN, check=False
            )
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"{what}: not done after {seconds + MARGIN:.0f} s") from None
        return _parse(what, result.returncode, result.stdout, result.stderr)

    def start(self, *arguments: str | float) -> "Running":
        """A measurement that goes on beside others; it waits for its stdin where it says so."""
        return Running([*self._command, *map(str, arguments)])


class Running:
    """A measurement under way. Use as a context manager."""

    def __init__(self, command: list[str]):
        self._what = " ".join(command[2:])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._stdin = pipe(self._process.stdin)
        self._stdout = pipe(self._process.stdout)
        self._stderr = pipe(self._process.stderr)

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for stream in (self._stdin, self._stdout, self._stderr):
            stream.close()

    def line(self) -> Result:
        """The results it has written, one line, while it goes on."""
        text = self._stdout.readline()
        if not text:
            raise MeasurementError(f"{self._what}: {self._stderr.read().strip()}")
        result: Result = json.loads(text)
        return result

    def go(self, timeout: float) -> Result:
        """Write a line to its stdin, wait for its end; its results."""
        try:
            output, error = self._process.communicate("\n", timeout)
        except subprocess.TimeoutExpired:
            raise MeasurementError(f"{self._what}: not done after {timeout:.0f} s") from None
        return _parse(self._what, self._process.returncode, output, error)


def _parse(what: str, code: int, output: str, error: str) -> Result:
    if code != 0:
        raise MeasurementError(f"{what}: {error.strip() or f'ended with {code}'}")
    result: Result = json.loads(output)
    return result
