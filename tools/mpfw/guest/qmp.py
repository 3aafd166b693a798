# SPDX-License-Identifier: MIT
"""QEMU's machine protocol for programs that are not asynchronous: qemu.qmp on a thread."""

import asyncio
import socket
import threading

from qemu.qmp import QMPClient


class Qmp:
    """A QMP session over a connected socket, set up at the first command."""

    def __init__(self, stream: socket.socket):
        self._stream = stream
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: QMPClient | None = None

    def __call__(self, command: str, timeout: float = 10, **arguments):
        """Execute a command (underscores for hyphens are not translated); its return value.

        Raises qemu.qmp.ExecuteError with QEMU's message, TimeoutError.
        """
        if self._client is None:
            self._connect(timeout)
        return self._run(self._client.execute(command, arguments or None), timeout)

    def close(self) -> None:
        """End the session, if there is one."""
        if self._client is None:
            self._stream.close()
            return
        try:
            self._run(self._client.disconnect(), 5)
        except Exception:
            pass  # QEMU is going away as well, and which of its deaths this is does not matter
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._client = None

    def _connect(self, timeout: float) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="qmp")
        self._thread.start()
        client = QMPClient("mpfw")
        self._run(client.connect(self._stream), timeout)
        self._client = client

    def _run(self, coroutine, timeout: float):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)
