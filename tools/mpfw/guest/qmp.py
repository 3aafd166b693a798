# SPDX-License-Identifier: MIT
"""QEMU's machine protocol for programs that are not asynchronous: qemu.qmp on a thread."""

import asyncio
import socket
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from qemu.qmp import QMPClient

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class _Session:
    """A client and the thread whose loop it lives in."""

    client: QMPClient
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

    def run(self, coroutine: Coroutine[Any, Any, Answer], timeout: float) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout)


class Qmp:
    """A QMP session over a connected socket, set up at the first command."""

    def __init__(self, stream: socket.socket):
        self._stream = stream
        self._session: _Session | None = None
        self._first = threading.Lock()  # one thread sets the session up

    def __call__(self, command: str, timeout: float = 10, **arguments: object) -> Any:
        """Execute a command (underscores for hyphens are not translated); its return value.

        Raises qemu.qmp.ExecuteError with QEMU's message, TimeoutError.
        """
        with self._first:
            session = self._session = self._session or self._connect(timeout)
        client = session.client
        return session.run(client.execute(command, arguments or None), timeout)

    def close(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is None:
            self._stream.close()
            return
        try:
            session.run(session.client.disconnect(), 5)
        except Exception:
            pass  # QEMU is going away as well, and which of its deaths this is does not matter
        session.loop.call_soon_threadsafe(session.loop.stop)
        session.thread.join()
        session.loop.close()

    def _connect(self, timeout: float) -> _Session:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True, name="qmp")
        thread.start()
        session = _Session(QMPClient("mpfw"), loop, thread)
        session.run(session.client.connect(self._stream), timeout)
        return session
