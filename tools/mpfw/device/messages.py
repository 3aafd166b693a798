# SPDX-License-Identifier: MIT
"""Seqpacket connections: as stream.py has streams, but the borders of messages stay."""

import socket
from array import array
from typing import TYPE_CHECKING, Any

from mpfw.device import loop
from mpfw.device.chains import behind, lay, scatter
from mpfw.device.firmware import control
from mpfw.device.firmware import vsock as w
from mpfw.device.rings import Chain, RingError
from mpfw.device.stream import Stream, waiting

if TYPE_CHECKING:
    from mpfw.device.wire import Wire

_HEADER, _MOST = w.HEADER_LEN, w.MAX_DATA
_SPEAKS = loop.IN | loop.RDHUP | loop.EDGE | loop.OUT


class Messages(Stream):
    """A seqpacket connection: the program's socket keeps the borders of messages, too.

    A message goes out whole once its last packet has come. One that the socket cannot take, or
    that the guest's window will never hold, ends the connection: nobody can be told EMSGSIZE.
    """

    __slots__ = ("_parts", "_message", "_sent")

    def __init__(
        self,
        wire: "Wire",
        block: "array[int]",
        connection: socket.socket,
        readable: bool = False,
    ):
        super().__init__(wire, block, connection, readable)
        self._parts = bytearray()  # of the guest's message that is coming
        self._message: memoryview | None = None  # of the program's that is going
        self._sent = 0  # bytes of it

    def _no_backlog(self) -> Any:
        return list[bytes]()

    def _deliver(self, views: list[memoryview], n: int, flags: int) -> None:
        self._parts += b"".join(views)
        if not flags & w.SEQ_EOM:
            return
        self.block[w.MESSAGES] = 0  # nobody reads them here
        message, self._parts = bytes(self._parts), bytearray()
        self.backlog.append(message)
        if len(self.backlog) == 1:
            done = self._write_backlog()
            if self._broken:
                return
            if done:
                self._forwarded(done)
        if self.backlog:
            assert self._socket is not None
            self._wire.loop.change(self._socket.fileno(), _SPEAKS)

    def _write_backlog(self) -> int:
        done = 0
        while self.backlog:
            n = len(self.backlog[0])
            if self._write([memoryview(self.backlog[0])]) != n or self._broken:
                break
            self.backlog.pop(0)
            done += n
        return done

    def _pull(self, chain: Chain, room: int) -> int:
        if self._message is None and not self._next():
            return self._no_more(chain) if self._readable or self._broken else 0
        assert self._message is not None
        most = min(room, _MOST, chain.room - _HEADER)
        if most <= 0:
            raise RingError(f"a receive buffer of {chain.room} bytes")
        part = self._message[self._sent : self._sent + most]
        scatter(behind(chain, _HEADER), part)
        self._sent += len(part)
        whole = self._sent == len(self._message)
        if whole:
            self._message = None
        control.send(self.at, len(part), w.SEQ_EOM if whole else 0)
        return lay(chain, self.header) + len(part)

    def _holds_more(self) -> bool:
        return self._message is not None or super()._holds_more()

    def _next(self) -> bool:
        """Take a message from the program; False: there is none, or none that can be sent."""
        assert self._socket is not None
        data = b""
        try:
            while not data:
                there = waiting(self._socket)
                if not there and self._socket.recv(1, socket.MSG_PEEK):
                    continue  # it has just come, and is whole only with its own length
                data = self._socket.recv(there or 1)
                if not data and not there:
                    self._readable = self._ending  # else its event comes, or it was an empty one
                    return False
        except BlockingIOError:
            self._readable = False
            return False
        except OSError:
            self._broken = True
            return False
        if len(data) > self.block[w.PEER_ALLOC]:
            self._broken = True
            return False
        self._message, self._sent = memoryview(data), 0
        return True
