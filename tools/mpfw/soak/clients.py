# SPDX-License-Identifier: MIT
"""Clients of the echo, each in a thread: random sizes, read while they write, some killed.

A transfer is healthy if its client was never silent for SILENCE seconds: the echo may give up one
that was (docs/security.md). A healthy one that does not come back whole is a failure.
"""

import hashlib
import random
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

SILENCE = 2.0  # seconds
STUCK = 30.0  # seconds without a byte after which a transfer has failed
LARGEST = 4 << 20  # bytes
_LOOK = 0.25  # seconds
_PIECE = 1 << 18  # bytes
_ADMITTED = 20.0  # seconds that a client tries to connect


class Broken(Exception):
    """A transfer did not come back whole: one sentence."""


@dataclass
class Tally:
    """What all clients have done so far; `lock` guards it."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    moved: int = 0  # bytes that came back
    whole: int = 0  # transfers
    killed: int = 0
    late: int = 0  # that failed after their client was silent
    failures: list[str] = field(default_factory=list)


class Transfer:
    """`data` through the echo; `kill_at`: bytes sent and received after which the client goes."""

    def __init__(self, connection: socket.socket, data: memoryview, kill_at: int | None = None):
        self.sent = self.received = 0
        self.silent = 0.0  # seconds at most between two looks of ours
        self._connection = connection
        self._data = data
        self._kill_at = kill_at
        self._came = hashlib.sha256()

    def run(self) -> bool:
        """True: it came back whole, False: it was killed. Raises Broken, OSError."""
        self._connection.setblocking(False)
        poll = select.poll()
        looked = moved = time.monotonic()
        while self.received < len(self._data):
            if self._kill_at is not None and self.sent + self.received >= self._kill_at:
                return False
            sending = select.POLLOUT if self.sent < len(self._data) else 0
            poll.register(self._connection, select.POLLIN | sending)
            ready = poll.poll(1000 * _LOOK)
            now = time.monotonic()
            self.silent = max(self.silent, now - looked)
            looked = now
            if ready:
                self._move(ready[0][1])
                moved = now
            elif now - moved > STUCK:
                raise Broken(f"nothing moved for {STUCK:.0f} s")
        if self._came.digest() != hashlib.sha256(self._data).digest():
            raise Broken("other bytes came back")
        return True

    def _move(self, events: int) -> None:
        try:
            if events & select.POLLOUT:
                piece = self._data[self.sent : self.sent + _PIECE]
                self.sent += self._connection.send(piece)
            if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
                some = self._connection.recv(_PIECE)
                if not some:
                    raise Broken("the guest ended it")
                self._came.update(some)
                self.received += len(some)
        except BlockingIOError:
            pass  # what was ready is no more

    def __str__(self) -> str:
        return f"{self.received} of {len(self._data)} bytes back, {self.sent} sent"


class Client(threading.Thread):
    """One transfer after the other, until `over` is set."""

    def __init__(
        self,
        dial: Callable[[], socket.socket],
        tally: Tally,
        over: threading.Event,
        kill: float,
        seed: int,
    ):
        """`dial` makes one attempt; `kill` is the share of transfers that end in the middle."""
        super().__init__(name=f"client {seed}", daemon=True)
        self._dial = dial
        self._tally = tally
        self._over = over
        self._kill = kill
        self._random = random.Random(seed)
        self._source = memoryview(self._random.randbytes(2 * LARGEST))

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self.one()
            except Exception as error:
                self._note(f"{error!r}")

    def one(self) -> None:
        """One transfer, which is counted."""
        size = round(2 ** self._random.uniform(0, LARGEST.bit_length() - 1))  # 1 B to LARGEST
        start = self._random.randrange(LARGEST)
        killed = self._random.random() < self._kill
        kill_at = self._random.randrange(2 * size) if killed else None
        connection = self._connected()
        if connection is None:
            return
        with connection:
            transfer = Transfer(connection, self._source[start : start + size], kill_at)
            try:
                whole = transfer.run()
            except (Broken, OSError) as error:
                if transfer.silent < SILENCE:
                    self._note(f"{error} ({transfer})")
                else:
                    with self._tally.lock:
                        self._tally.late += 1
                return
            with self._tally.lock:
                self._tally.moved += transfer.received
                self._tally.whole += whole
                self._tally.killed += not whole

    def _connected(self) -> socket.socket | None:
        """A connection; the guest may refuse some before, but not for long."""
        end = time.monotonic() + _ADMITTED
        while True:
            try:
                return self._dial()
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() > end:
                    self._note(f"no connection in {_ADMITTED:.0f} s: {error}")
                    return None
            if self._over.wait(0.05):
                return None

    def _note(self, what: str) -> None:
        with self._tally.lock:
            self._tally.failures.append(what)
