# SPDX-License-Identifier: MIT
"""mpfw.AsyncGuest: mpfw.Guest for asyncio. It is bound to no event loop: several may use one."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from mpfw.api import Guest
from mpfw.guest.agent import Request
from mpfw.guest.qmp import Qmp
from mpfw.guest.snapshot import Snapshot

Value = TypeVar("Value")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
_THREADS = 16  # of one guest: so many waits may be under way at once


class AsyncFiles:
    """The files of a guest."""

    def __init__(self, guest: "AsyncGuest"):
        self._guest = guest

    async def put(self, path: str, data: bytes | str | Path, timeout: float | None = None) -> None:
        """As mpfw.guest.driven.Files.put."""
        await self._guest.in_thread(self._guest.sync.files.put, path, data, timeout)

    async def get(self, path: str, timeout: float | None = None) -> bytes:
        """As mpfw.guest.driven.Files.get."""
        return await self._guest.in_thread(self._guest.sync.files.get, path, timeout)


class AsyncGuest:
    """An asynchronous context manager; takes what Guest takes. `sync` is the Guest underneath.

    A call that is cancelled is interrupted in the guest (KeyboardInterrupt).
    """

    def __init__(self, *arguments: Any, **keywords: Any):
        self.sync = Guest(*arguments, **keywords)
        self.files = AsyncFiles(self)
        self._threads = ThreadPoolExecutor(_THREADS, "guest")

    async def __aenter__(self) -> "AsyncGuest":
        await self.in_thread(self.sync.__enter__)
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.in_thread(self.sync.__exit__, *exception)
        self._threads.shutdown(wait=False)

    async def in_thread(self, function: Callable[..., Value], *arguments: Any) -> Value:
        """Call something that blocks in a thread of this guest's own."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(function, *arguments))

    # -- what it is and says --------------------------------------------------------------------

    @property
    def cid(self) -> int:
        """Its CID."""
        return self.sync.cid

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return self.sync.output

    @property
    def output_bytes(self) -> bytes:
        """The same, exactly."""
        return self.sync.output_bytes

    @property
    def errors(self) -> str:
        """All that went to standard error so far."""
        return self.sync.errors

    @property
    def log(self) -> str:
        """The firmware's log so far."""
        return self.sync.log

    @property
    def status(self) -> int | None:
        """The script's exit status, None while it runs."""
        return self.sync.status

    async def wait_status(self, timeout: float | None = None) -> int:
        """Wait for the script's end; its exit status."""
        return await self.in_thread(self.sync.wait_status, timeout)

    async def ready(self, pattern: str | None = None, timeout: float | None = None) -> None:
        """As Guest.ready."""
        await self.in_thread(self.sync.ready, pattern, timeout)

    async def expect(self, pattern: str, timeout: float | None = None) -> re.Match[bytes]:
        """As Guest.expect."""
        return await self.in_thread(self.sync.expect, pattern, timeout)

    # -- what it is asked -----------------------------------------------------------------------

    async def run(self, code: str | Path, timeout: float | None = None) -> str:
        """As Guest.run."""
        begin = partial(self.sync.begin, code)
        return (await self._answered(begin, timeout)).output

    async def call(
        self,
        function: Callable[..., Any] | str,
        *arguments: Any,
        timeout: float | None = None,
        **keywords: Any,
    ) -> Any:
        """As Guest.call."""
        begin = partial(self.sync.start, function, *arguments, **keywords)
        return (await self._answered(begin, timeout)).value

    async def _answered(self, begin: Callable[[], Request], timeout: float | None) -> Request:
        """A request that has its answer."""
        begun: list[Request] = []

        def work() -> Request:
            begun.append(begin())
            begun[0].result(self.sync.limit(timeout))
            return begun[0]

        try:
            return await self.in_thread(work)
        except asyncio.CancelledError:
            for request in begun:
                request.cancel()
            raise

    async def qmp(self, command: str, timeout: float = 10, **arguments: object) -> Any:
        """Execute a command of QEMU's machine protocol; its return value."""
        qmp: Qmp = self.sync.qmp
        return await self.in_thread(partial(qmp, command, timeout, **arguments))

    async def snapshot(self, path: Path | None = None) -> Snapshot:
        """As Guest.snapshot."""
        return await self.in_thread(self.sync.snapshot, path)

    # -- its connections ------------------------------------------------------------------------

    async def connect(self, port: int, timeout: float | None = None) -> socket.socket:
        """As Guest.connect; the socket is non-blocking, for the loop's sock_ methods."""
        connection = await self.in_thread(self.sync.connect, port, timeout)
        connection.setblocking(False)
        return connection

    async def open_connection(
        self, port: int, timeout: float | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The same as asyncio's streams."""
        return await asyncio.open_connection(sock=await self.connect(port, timeout))

    def listen(self, port: int, backlog: int = 128) -> socket.socket:
        """As Guest.listen; the socket is non-blocking."""
        listener = self.sync.listen(port, backlog)
        listener.setblocking(False)
        return listener

    async def start_server(self, handler: Handler, port: int) -> asyncio.Server:
        """asyncio.start_server for the guest's connections to CID 2, `port`."""
        return await asyncio.start_server(handler, sock=self.listen(port))
