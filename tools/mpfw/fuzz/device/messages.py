# SPDX-License-Identifier: MIT
"""A QEMU that lies: vhost-user messages of any size, order and content, with any descriptors."""

import contextlib
import mmap
import os
import socket
import struct
from collections.abc import Sequence

from mpfw.device import vhost_user as u
from mpfw.device.wire import RX, TX
from mpfw.fuzz.device.guest import ENTRIES, USER
from mpfw.fuzz.device.world import LIAR, World

_MEMORY = 1 << 20
_NUMBERS = (0, 1, 2, 255, 256, 0xFFFF, 1 << 16, 1 << 31, (1 << 32) - 1)
_WIDE = (*_NUMBERS, USER, USER + _MEMORY - 1, USER + _MEMORY, 1 << 63, (1 << 64) - 1)
_WITH_KICK = (u.SET_VRING_KICK, u.SET_VRING_CALL, u.SET_VRING_ERR)
_STATES = (u.SET_VRING_NUM, u.SET_VRING_BASE, u.GET_VRING_BASE, u.SET_VRING_ENABLE)
_NEED_REPLY = 8


class Messages:
    """A front end that begins honestly, half of the time, and goes on as it likes."""

    def __init__(self, world: World):
        self.world = world
        self.random = world.random
        for index in (RX, TX):
            world.liar.wire.stop_ring(index)
        self._memory = os.memfd_create("fuzz")
        os.ftruncate(self._memory, _MEMORY)
        self._mapped = mmap.mmap(self._memory, _MEMORY)
        self._event = os.eventfd(0, os.EFD_NONBLOCK)
        self._socket: socket.socket | None = None

    def step(self) -> None:
        if self._socket is None:
            self._connect()
            if self.random.random() < 0.7:
                self._begin()
        if self.random.random() < 0.1:
            self._scribble()
        whole, kinds = self._message()
        self._say(whole, kinds)
        self.world.turn(2)
        request = int.from_bytes(whole[:4], "little")
        if request == u.SET_VRING_ADDR and self.random.random() < 0.5:
            index = struct.pack("<Q", self.random.choice((RX, TX)))
            self._honestly(u.SET_VRING_KICK, index, self._event)  # a queue begins there
        self._hear()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._mapped.close()
        os.close(self._memory)
        os.close(self._event)

    # -- what is said -----------------------------------------------------------------------------

    def _connect(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(self.world.directory / f"vhost-{LIAR}"))
        self._socket.setblocking(False)
        self.world.turn()

    def _begin(self) -> None:
        """Bring both queues up, as QEMU does."""
        features = 1 << 32 | self.random.choice((0, u.F_EVENT_IDX))
        self._honestly(u.SET_FEATURES, struct.pack("<Q", features))
        region = struct.pack("<4Q", 0, _MEMORY, USER, 0)
        self._honestly(u.SET_MEM_TABLE, struct.pack("<II", 1, 0) + region, self._memory)
        for index in (RX, TX):
            at = USER + 0x1000 * index
            self._honestly(u.SET_VRING_NUM, struct.pack("<II", index, ENTRIES))
            self._honestly(u.SET_VRING_BASE, struct.pack("<II", index, 0))
            where = struct.pack("<II4Q", index, 0, at, at + 0x400, at + 0x200, 0)
            self._honestly(u.SET_VRING_ADDR, where)
            self._honestly(u.SET_VRING_CALL, struct.pack("<Q", index), self._event)
            self._honestly(u.SET_VRING_KICK, struct.pack("<Q", index), self._event)

    def _honestly(self, request: int, payload: bytes, *fds: int) -> None:
        self._say(struct.pack("<III", request, 1, len(payload)) + payload, list(fds))
        self.world.turn(2)

    def _scribble(self) -> None:
        """The guest's memory, rings first, says something; both queues are notified."""
        at = self.random.randrange(0x2000)
        for _ in range(self.random.choice((1, 20))):
            struct.pack_into("<H", self._mapped, at, self.random.choice((0, 1, 2, 16, 0xFFFF)))
            at = (at + 2) % 0x2000
        os.eventfd_write(self._event, 1)

    def _message(self) -> tuple[bytes, list[str]]:
        """The bytes, and which descriptors go with them."""
        choice, chance = self.random.choice, self.random.random
        request = choice((*range(26), *range(26), 30, 46, 1 << 31))
        payload = self._payload(request)
        if chance() < 0.1:
            payload = payload[: self.random.randrange(len(payload) + 1)]
        if chance() < 0.05:
            payload += self.random.randbytes(choice((1, 300, 4096)))
        size = len(payload) if chance() < 0.93 else choice(_NUMBERS)
        version = 1 if chance() < 0.97 else choice((0, 2, 3, 5))
        flags = version | choice((0, _NEED_REPLY))
        kinds: list[str] = []
        if request in (*_WITH_KICK, u.SET_MEM_TABLE, u.SET_BACKEND_REQ_FD) or chance() < 0.1:
            right = "memory" if request == u.SET_MEM_TABLE else "event"
            kinds = [right] * choice((1, 1, 1, 0, 2, 8))
            if kinds and chance() < 0.3:
                kinds[0] = choice(("memory", "event", "pipe", "null", "socket", "empty"))
        return struct.pack("<III", request, flags, size) + payload, kinds

    def _payload(self, request: int) -> bytes:
        choice = self.random.choice
        index = choice((RX, TX, RX, TX, *_NUMBERS))
        if request in _STATES:
            return struct.pack("<II", index, choice((ENTRIES, 15, 32769, *_NUMBERS)))
        if request == u.SET_VRING_ADDR:
            where = [choice((USER, USER + 0x200, USER + 0x401, *_WIDE)) for _ in range(4)]
            return struct.pack("<II4Q", index, 0, *where)
        if request in _WITH_KICK:
            return struct.pack("<Q", choice((index, index | 0x100, *_WIDE)))
        if request == u.SET_MEM_TABLE:
            count = choice((0, 1, 1, 1, 2, 8, 9, (1 << 32) - 1))
            regions = [choice(_WIDE) for _ in range(4 * min(count, 9))]
            if self.random.random() < 0.5:
                regions[:4] = [0, _MEMORY, USER, 0][: len(regions)]
            return struct.pack("<II", count, 0) + struct.pack(f"<{len(regions)}Q", *regions)
        if request in (u.GET_CONFIG, u.SET_CONFIG):
            return struct.pack("<III", *(choice((0, 8, *_NUMBERS)) for _ in range(3)))
        return struct.pack("<Q", choice((0, 1 << 32, 1 << 29, 1 << 30, *_WIDE)))

    def _say(self, whole: bytes, kinds: Sequence[str | int]) -> None:
        assert self._socket is not None
        with contextlib.ExitStack() as opened:
            fds = [each if isinstance(each, int) else self._open(opened, each) for each in kinds]
            with contextlib.suppress(OSError):  # it has hung up: _hear() sees that
                if self.random.random() < 0.05 and len(whole) > 1:
                    socket.send_fds(self._socket, [whole[:7]], fds)
                    self.world.turn()
                    self._socket.send(whole[7:])
                else:
                    socket.send_fds(self._socket, [whole], fds)

    def _open(self, opened: contextlib.ExitStack, kind: str) -> int:
        """A descriptor of some kind, ours or one that is closed once it has been sent."""
        if kind in ("memory", "event"):
            return self._memory if kind == "memory" else self._event
        if kind == "pipe":
            kept, found = os.pipe()
        elif kind == "socket":
            kept, found = (each.detach() for each in socket.socketpair())
        elif kind == "null":
            kept, found = -1, os.open(os.devnull, os.O_RDWR)
        else:
            kept, found = -1, os.memfd_create("empty")
        for each in (kept, found):
            if each >= 0:
                opened.callback(os.close, each)
        return found

    def _hear(self) -> None:
        """Read the answers; the device may have hung up."""
        assert self._socket is not None
        try:
            while self._socket.recv(1 << 16):
                pass
        except BlockingIOError:
            if self.random.random() < 0.98:
                return
        except OSError:
            pass
        self._socket.close()
        self._socket = None
        self.world.turn(2)
