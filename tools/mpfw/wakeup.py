# SPDX-License-Identifier: MIT
"""A signal wakes a program that is about to wait.

Python runs a signal's handler between two instructions of the main thread. A signal that comes
after the last of those before a poll() interrupts nothing: the poll waits on, and the handler with
it, until something else happens. What Python writes to `signal.set_wakeup_fd` ends such a poll.
"""

import signal
import socket

_CHUNK = 4096  # bytes: one for each signal


class Wakeup:
    """Readable from a signal on until `drain`; one at a time, for the main thread."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """What to poll for input, besides what one waits for."""
        return self._reader.fileno()

    def drain(self, _events: int = 0) -> None:
        """The signals that have come are known: their handlers have run before this."""
        try:
            self._reader.recv(_CHUNK)
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Signals wake nobody any more, or whom they woke before."""
        signal.set_wakeup_fd(self._before)
        self._writer.close()
        self._reader.close()
