# SPDX-License-Identifier: MIT
"""Hands connections on from one Address to another: what `mpfw forward` does.

Bytes pass as they come. Whoever does not read holds the sender up: a connection has no more than a
chunk of bytes here each way. Standard library alone, as addresses.py.
"""

import asyncio
import resource
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from mpfw.guest.addresses import TCP, Address, AddressError, at_once

CHUNK = 65536  # bytes
DIALS = 64  # connections that are being made at a time: a device's backlog is short
MOST = 65536  # open sockets
OTHERS = 32  # descriptors that are not connections
PAUSE = 0.1  # seconds without accepting, when that fails

Say = Callable[[str], None]


class Slots:
    """How many connections there may be at once, of all forwarders together."""

    def __init__(self) -> None:
        """As many as this process may have open sockets for."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.count = max(1, (min(hard, MOST) - OTHERS) // 2)
        self.free = asyncio.Semaphore(self.count)


class Forwarder:
    """Accepts connections for one Address and hands them on to another; `say` gets sentences."""

    def __init__(self, listen: Address, target: Address, slots: Slots, say: Say):
        """Listens at once. Raises AddressError."""
        self.listen = listen
        self.target = target
        self._slots = slots
        self._say = say
        self._said = ""
        self._dials = asyncio.Semaphore(DIALS)
        self._listener = listen.listen()

    def __str__(self) -> str:
        return f"{self.listen.bound(self._listener)} -> {self.target}"

    def close(self) -> None:
        """Stop listening."""
        self.listen.close(self._listener)

    async def run(self) -> None:
        """Hand connections on until cancelled."""
        async with asyncio.TaskGroup() as connections:
            while True:
                if self._slots.free.locked():
                    open_now = f"{self._slots.count} connections are open"
                    self._tell(f"{open_now}, as many as fit: others wait (ulimit -n)")
                await self._slots.free.acquire()
                connections.create_task(self._serve(await self._accept()))

    async def _accept(self) -> socket.socket:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, peer = await loop.sock_accept(self._listener)
            except OSError as error:
                self._tell(f"{self.listen}: {error.strerror}")
                await asyncio.sleep(PAUSE)
                continue
            if self.listen.admits(peer):
                at_once(client)
                return client
            client.close()

    async def _serve(self, client: socket.socket) -> None:
        try:
            async with self._dials:
                target = await self.target.dial()
            self._said = ""
            await relay(client, target)
        except AddressError as error:
            self._tell(str(error))
            _reset(client)
        finally:
            client.close()
            self._slots.free.release()

    def _tell(self, sentence: str) -> None:
        """Say it, once until a connection works again."""
        if sentence != self._said:
            self._said = sentence
            self._say(sentence)


async def relay(one: socket.socket, other: socket.socket) -> None:
    """Hand on what comes from either socket to the other until both have ended; closes them.

    The end of one direction is handed on as such (half-close). A connection that breaks is a reset
    for the other side, where there is such a thing.
    """
    broken = True
    try:
        async with asyncio.TaskGroup() as both:
            both.create_task(_pump(one, other))
            both.create_task(_pump(other, one))
        broken = False
    except* OSError:
        pass
    finally:
        for sock in (one, other):
            _reset(sock) if broken else sock.close()


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """One direction, to its end. Raises OSError if `source` breaks."""
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, CHUNK):
        if source.family in TCP:
            # Who writes twice before it reads, as mpremote does, else waits 40 ms for this.
            source.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        try:
            await loop.sock_sendall(sink, data)
        except OSError:
            # It does not listen any more, but may have something to say: the other direction goes
            # on. What is sent to it is lost; left unread it would have `source` reset at the end.
            while await loop.sock_recv(source, CHUNK):
                pass
            return
    _shut(sink, socket.SHUT_WR)


def _shut(sock: socket.socket, how: int) -> None:
    with suppress(OSError):  # it has ended by itself
        sock.shutdown(how)


def _reset(sock: socket.socket) -> None:
    """Close so that the peer sees a broken connection rather than an end, if it is TCP."""
    if sock.family in TCP:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def forward_all(
    pairs: Sequence[tuple[Address, Address]], say: Say, started: Callable[[str], None]
) -> None:
    """Forward between the pairs (from, to) until a signal ends it; raises AddressError.

    `started` gets a line for each pair once all listen.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    slots = Slots()
    with ExitStack() as stack:
        forwarders = []
        for listen, target in pairs:
            forwarders.append(Forwarder(listen, target, slots, say))
            stack.callback(forwarders[-1].close)
        for forwarder in forwarders:
            started(str(forwarder))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(forwarder.run()) for forwarder in forwarders]
            await ended.wait()
            for task in tasks:
                task.cancel()
