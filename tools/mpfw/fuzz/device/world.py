# SPDX-License-Identifier: MIT
"""A device with three guests: one lies, one is its sibling, one has a connection and must not
notice anything of it. The clock is ours, so that all follows from the seed."""

import contextlib
import random
import shutil
import socket
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mpfw.device import loop, switch, wire
from mpfw.device.firmware import vsock as w
from mpfw.device.settings import Settings
from mpfw.device.switch import Switch
from mpfw.fuzz.device.guest import Guest

LIAR, POLITE, SIBLING = 3, 4, 5  # CIDs
CALLED, MESSAGES, CALLING = 5000, 5001, 1234  # the host's ports, the guests'
WINDOW = 1 << 13  # bytes that a program may leave unread: few, so that it is reached
TICK = 0.002  # s that an input takes
_PROGRAMS = 24  # that are alive; the oldest is closed
_TURNS = 50  # of the loop, more than anything needs that ends


class Noticed(AssertionError):
    """Something that must not be: one sentence."""


class World:
    """Use as a context manager."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.now = 1000.0
        self.said: list[str] = []
        self.directory = Path(tempfile.mkdtemp(prefix="mpfw-fuzz-"))
        self._opened = contextlib.ExitStack()
        self._opened.callback(shutil.rmtree, self.directory)

    def __enter__(self) -> "World":
        try:
            self._open()
        except BaseException:
            self._opened.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _open(self) -> None:
        self._opened.enter_context(self._our_clock())
        groups = {LIAR: ("a",), POLITE: ("b",), SIBLING: ("a",)}
        self.switch = Switch(
            [self._settings(cid, groups[cid]) for cid in groups], self.said.append
        )
        self.switch.open()
        self._opened.callback(self.switch.close)
        self.loop = self.switch.loop
        self.liar, self.polite, self.sibling = (Guest(each) for each in self.switch.wires)
        for guest in (self.liar, self.polite, self.sibling):
            self._opened.callback(guest.close)
            guest.begin(guest is self.polite)
        self.programs: list[socket.socket] = []
        self._opened.callback(self._end_programs)
        self._listeners = [
            self.listen(LIAR, CALLED, socket.SOCK_STREAM),
            self.listen(LIAR, MESSAGES, socket.SOCK_SEQPACKET),
        ]
        self._befriend()

    def _settings(self, cid: int, groups: tuple[str, ...]) -> Settings:
        at = str(self.directory / f"vhost-{cid}"), str(self.directory / f"vsock-{cid}")
        return Settings(cid, *at, groups=groups, tx_buffer_size=WINDOW)

    @contextlib.contextmanager
    def _our_clock(self) -> Iterator[None]:
        ours: Any = types.SimpleNamespace(monotonic=lambda: self.now)
        modules: list[Any] = [loop, switch, wire]
        before = [module.time for module in modules]
        for module in modules:
            module.time = ours
        try:
            yield
        finally:
            for module, was in zip(modules, before, strict=True):
                module.time = was

    # -- the device -------------------------------------------------------------------------------

    def turn(self, times: int = 1) -> None:
        """Let the device do what there is to do."""
        for _ in range(times):
            self.loop.soon(_nothing)  # it is not to wait
            self.loop.turn()

    def listen(self, cid: int, port: int, kind: int) -> socket.socket:
        """A program that the guest can call."""
        listener = socket.socket(socket.AF_UNIX, kind)
        self._opened.callback(listener.close)
        listener.bind(str(self.directory / f"vsock-{cid}_{port}"))
        listener.listen(64)
        listener.setblocking(False)
        return listener

    # -- who must not notice ----------------------------------------------------------------------

    def _befriend(self) -> None:
        self.sent = self.taken = 0
        with self.listen(POLITE, CALLED, socket.SOCK_STREAM) as listener:
            self.polite.send(op=w.OP_REQUEST, src_port=1, dst_port=CALLED)
            self.turn()
            self.friend = listener.accept()[0]
        self._opened.callback(self.friend.close)
        self.friend.setblocking(False)
        self.polite.receive()

    def check(self) -> None:
        """The polite guest's connection carries bytes both ways. Raises Noticed."""
        ping, pong = self.random.randbytes(64), self.random.randbytes(200)
        self.friend.sendall(ping)
        came = b""
        for _ in range(_TURNS):
            self.turn()
            for fields, data in self.polite.receive():
                if fields[6] not in (w.OP_RW, w.OP_CREDIT_UPDATE, w.OP_CREDIT_REQUEST):
                    raise Noticed(f"the polite guest hears op {fields[6]}")
                came += data
            if len(came) >= len(ping):
                break
        if came != ping:
            raise Noticed(f"the polite guest reads {len(came)} bytes, not those that were sent")
        self.taken += len(ping)
        packet = {"src_port": 1, "dst_port": CALLED, "fwd_cnt": self.taken}
        self.polite.send(pong, op=w.OP_RW, **packet)
        self.turn(2)
        try:
            came = self.friend.recv(1000)
        except BlockingIOError:
            came = b""
        if came != pong:
            raise Noticed(f"the polite guest's program reads {came[:20]!r}...")

    def revive(self) -> None:
        """If the liar has broken a queue, that was told; its next driver begins.

        Raises Noticed.
        """
        if self.liar.wire.running:
            return
        if not any(line.startswith(f"guest {LIAR}: its ") for line in self.said):
            raise Noticed("a queue stops and nobody is told why")
        self.said.clear()
        self.now += 1  # or the same again would not be told so soon
        self.liar.begin(self.random.random() < 0.5)

    # -- programs of the liar's host --------------------------------------------------------------

    def programs_act(self) -> None:
        """One of them does something, or another one comes."""
        for listener in self._listeners:
            with contextlib.suppress(BlockingIOError):
                self._join(listener.accept()[0])
        chance = self.random.random()
        if chance < 0.1 or not self.programs:
            self._call()
            return
        program = self.random.choice(self.programs)
        with contextlib.suppress(OSError):
            if chance < 0.5:
                program.send(bytes(self.random.choice((1, 100, 5000))))
            elif chance < 0.8:
                program.recv(1 << 16)
            elif chance < 0.87:
                program.shutdown(self.random.randrange(3))
            elif chance < 0.95:
                self.programs.remove(program)
                program.close()

    def _call(self) -> None:
        kind = self.random.choice((socket.SOCK_STREAM, socket.SOCK_SEQPACKET))
        behind = ".seqpacket" if kind == socket.SOCK_SEQPACKET else ""
        program = socket.socket(socket.AF_UNIX, kind)
        program.setblocking(False)
        program.connect(str(self.directory / f"vsock-{LIAR}") + behind)
        program.send(
            self.random.choice((b"CONNECT 1234\n", b"CONNECT 1234\nmore", b"CONN", b"?\n"))
        )
        self._join(program)

    def _end_programs(self) -> None:
        for each in self.programs:
            each.close()

    def _join(self, program: socket.socket) -> None:
        program.setblocking(False)
        self.programs.append(program)
        if len(self.programs) > _PROGRAMS:
            self.programs.pop(0).close()


def _nothing() -> None:
    pass
