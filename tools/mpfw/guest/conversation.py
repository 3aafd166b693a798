# SPDX-License-Identifier: MIT
"""A conversation between the guest's echo payload and socat on the host, both ways, and its cost.

Knows the echo payload's contract (the README's table) and nothing of what carries the bytes.
"""

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from mpfw.guest.guarded import the_guardian
from mpfw.guest.guest import Guest
from mpfw.readable import readable

ECHO_PORT = 1234  # of the guest, and of the host, which the guest calls
GREETING = b"hello from micropython\n"
READY = rb"READY vsock cid=(\d+) port=(\d+)\r?\n"
PROMPT = rb">>> "

Say = Callable[[str], object]  # what takes each line of a conversation


class ConversationFailed(Exception):
    """One side did not say what it should have; the message tells which."""


class Socat:
    """One socat process; what it receives is read here, what is written here it sends."""

    def __init__(self, address: str):
        self.address = address
        stdin, self._stdin = os.pipe()
        self._stdout, stdout = os.pipe()
        self._stderr, stderr = os.pipe()
        words = ["socat", "-", address]
        self.process = the_guardian().start(words, stdout, {0: stdin, 2: stderr})
        for number in (stdin, stdout, stderr):
            os.close(number)
        self._buffer = b""
        try:
            self.process.pid  # noqa: B018
        except FileNotFoundError:
            raise ConversationFailed("socat is not there: install it (Debian: socat)") from None

    def __enter__(self) -> "Socat":
        return self

    def __exit__(self, *exception: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        for number in (self._stdin, self._stdout, self._stderr):
            os.close(number)

    def send(self, data: bytes) -> None:
        """Have socat send `data`."""
        while data:
            data = data[os.write(self._stdin, data) :]

    def readline(self, timeout: float = 10) -> bytes:
        """The next line that socat received; raises ConversationFailed if there is none."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = max(0, deadline - time.monotonic())
            if not readable([self._stdout], left):
                raise ConversationFailed(f"socat - {self.address}: no line in {timeout} s")
            data = os.read(self._stdout, 65536)
            if not data:
                error = os.read(self._stderr, 65536).decode(errors="backslashreplace").strip()
                raise ConversationFailed(f"socat - {self.address}: closed. {error}")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"


@dataclass(frozen=True)
class Cost:
    """What the conversation cost, in milliseconds."""

    ready: float  # from starting QEMU to the READY line
    round_trips: list[float]  # one line there and back, through socat


def _echo(socat: Socat, line: bytes, say: Say) -> float:
    started = time.perf_counter()
    socat.send(line)
    answer = socat.readline()
    elapsed = (time.perf_counter() - started) * 1000
    if answer != line:
        raise ConversationFailed(f"sent {line!r}, came back {answer!r}")
    say(f"    > {line.decode().rstrip()}\n    < {answer.decode().rstrip()}   ({elapsed:.2f} ms)")
    return elapsed


def wait_ready(guest: Guest, timeout: float = 30) -> float:
    """Wait for the READY line; milliseconds since QEMU was started."""
    match = guest.console.expect(READY + b"|" + PROMPT, timeout)
    elapsed = guest.elapsed_ms()
    if match.group(1) is None:
        raise ConversationFailed("the guest shows its prompt, it did not say READY")
    if (int(match.group(1)), int(match.group(2))) != (guest.vsock.cid, ECHO_PORT):
        raise ConversationFailed(f"cid={guest.vsock.cid} was asked for; {match.group()!r}")
    return elapsed


def guest_calls_host(guest: Guest, say: Say) -> list[float]:
    """The guest dials the host's port; a socat that listens there is greeted and echoed."""
    address = guest.vsock.socat_listen(ECHO_PORT)
    say(f"  guest to host: socat - {address}")
    with Socat(address) as socat:
        greeting = socat.readline()
        if greeting != GREETING:
            raise ConversationFailed(f"the guest's greeting is {greeting!r}")
        say(f"    < {greeting.decode().rstrip()}")
        return [_echo(socat, b"line %d to the guest that called\n" % n, say) for n in (1, 2, 3)]


def host_calls_guest(guest: Guest, say: Say) -> list[float]:
    """A socat on the host connects to the guest's port and is echoed."""
    address, first = guest.vsock.socat_dial(ECHO_PORT)
    say(f"  host to guest: socat - {address}")
    with Socat(address) as socat:
        if first:
            socat.send(first)
            answer = socat.readline()
            if not answer.startswith(b"OK "):
                raise ConversationFailed(f"{first!r} was answered by {answer!r}")
            say(f"    > {first.decode().rstrip()}\n    < {answer.decode().rstrip()}")
        return [_echo(socat, b"line %d to the guest's port\n" % n, say) for n in (1, 2, 3)]


def converse(guest: Guest, say: Say = print) -> Cost:
    """Hold the whole conversation; `say` gets each line of it. Raises ConversationFailed."""
    ready = wait_ready(guest)
    say(f"  {ready:.0f} ms after power-on: the guest listens on port {ECHO_PORT}")
    return Cost(ready, guest_calls_host(guest, say) + host_calls_guest(guest, say))


def summary(cost: Cost) -> str:
    """One line: what it cost."""
    median = statistics.median(cost.round_trips)
    return (
        f"power-on to READY {cost.ready:.0f} ms; a line there and back through socat "
        f"{median:.2f} ms (median of {len(cost.round_trips)})"
    )
