# SPDX-License-Identifier: MIT
"""Many byte streams over one: what joins a test process to the lab guest's agent.

Both ends run this file, so it needs nothing but the standard library's smallest part. Each
stream is bridged to a local descriptor, has its own credit window (a reader that sleeps stalls
its own stream only), and ends one direction at a time. After a CLOSE the local end still gets what
was sent before it, and what it sends meanwhile is thrown away: an echo takes nothing before it is
rid of what it has. The peer is ours and is trusted.

A frame is a header (type, stream, length) and a payload. A stream's life: CALL with a JSON
request -> REPLY; then DATA and WINDOW both ways; EOF ends one direction, CLOSE both; EVENT carries
JSON that belongs to no direction (an exit code, a new connection).
"""

from __future__ import annotations

import errno
import json
import os
import select
import selectors
import socket
import struct
import time

# What only the checker needs is not imported: in the lab each import costs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Message: TypeAlias = dict[str, Any]  # JSON of CALL, REPLY and EVENT
    Local: TypeAlias = int | socket.socket  # what a selector watches
    Ready: TypeAlias = Callable[[int], object]  # called with the selector's events

CALL, REPLY, DATA, WINDOW, EOF, CLOSE, EVENT = range(1, 8)

_HEADER = struct.Struct("<BII")
_CHUNK = 64 * 1024  # bytes per DATA frame, at most
_CREDIT = 512 * 1024  # bytes under way in one direction of one stream, at most
_LINK_HIGH = 1024 * 1024  # stop reading local descriptors while the link holds more than this
_LINGER = 8.0  # seconds that one may send after a CLOSE and take nothing; as long as Linux's vsock
_FATAL_WRITE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN)


class Stream:
    """One stream and its local end, a non-blocking socket (None: nothing to bridge yet)."""

    def __init__(self, mux: Mux, number: int):
        self.mux = mux
        self.number = number
        self.sock: socket.socket | None = None
        self.on_reply: Callable[[Message], object] | None = None
        self.on_event: Callable[[Message], object] | None = None
        self.on_close: Callable[[], object] | None = None
        self._credit = _CREDIT  # what the peer lets us send
        self._owed = 0  # what we took from the peer and have not told it
        self._out = bytearray()  # from the peer, not yet written to sock
        self._reading = True  # sock may still give bytes
        self._peer_done = False  # the peer sent EOF: shut down writing once _out is empty
        self._closing = False  # the peer sent CLOSE: close once _out is empty
        self._discarding: float | None = None  # since this time.monotonic() in vain for _out
        self._interest = 0

    def attach(self, sock: socket.socket) -> None:
        """Bridge the stream to `sock`, which now belongs to the stream."""
        sock.setblocking(False)
        self.sock = sock
        self._flush()
        self.update()

    def send(self, kind: int, payload: bytes = b"") -> None:
        self.mux.send(kind, self.number, payload)

    def reply(self, **answer: Any) -> None:
        self.send(REPLY, json.dumps(answer).encode())

    def event(self, **what: Any) -> None:
        self.send(EVENT, json.dumps(what).encode())

    def close(self) -> None:
        """End both directions here and at the peer."""
        if self.number in self.mux.streams:
            self.send(CLOSE)
            self._drop()

    def abandon(self) -> None:
        """The link has gone: end here without a word to the peer."""
        self._drop()

    def update(self) -> None:
        """Ask the selector for just what can make progress now."""
        if self.sock is None:
            return
        want = 0
        if self._reading and (self._closing or (self._credit and self.mux.has_room())):
            want |= selectors.EVENT_READ
        if self._out:
            want |= selectors.EVENT_WRITE
        if want != self._interest:
            self.mux.watch(self.sock, self._interest, want, self._ready)
            self._interest = want

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:  # an earlier callback may have ended us: sock is None
            self._flush()
        if events & selectors.EVENT_READ and self.sock is not None:
            if self._closing:
                self._discard(self.sock)
            else:
                self._read(self.sock)
        self.update()

    def _read(self, sock: socket.socket) -> None:
        try:
            chunk = sock.recv(min(_CHUNK, self._credit))
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if chunk:
            self._credit -= len(chunk)
            self.send(DATA, chunk)
            return
        self._reading = False
        if _hung_up(sock):
            self.close()
        else:
            self.send(EOF)
            self._flush()

    def _discard(self, sock: socket.socket) -> None:
        """Throw away what comes after a CLOSE, which makes the local end take what is its own."""
        try:
            self._reading = sock.recv(_CHUNK) != b""
        except BlockingIOError:
            return
        except OSError:
            self._drop()
            return
        now = time.monotonic()
        if self._discarding is None:
            self._discarding = now
        elif now - self._discarding > _LINGER:
            self._drop()

    def _flush(self) -> None:
        while self._out and self.sock is not None:
            try:
                count = self.sock.send(memoryview(self._out)[:_CHUNK])
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno not in _FATAL_WRITE:
                    raise
                self.close()
                return
            del self._out[:count]
            self._owed += count
            self._discarding = None
        if self._owed >= _CREDIT // 4 and not self._peer_done:
            self.send(WINDOW, struct.pack("<I", self._owed))
            self._owed = 0
        if self._closing:
            self._drop()
        elif self._peer_done and self.sock is not None:
            try:
                self.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it is gone altogether; reading tells
            if not self._reading:  # both directions have ended, and the peer sees the same
                self._drop()

    def received(self, kind: int, payload: bytes) -> None:
        """A frame of this stream has arrived."""
        if kind == DATA:
            self._out += payload
            self._flush()
        elif kind == WINDOW:
            self._credit += struct.unpack("<I", payload)[0]
        elif kind == EOF:
            self._peer_done = True
            self._flush()
        elif kind == CLOSE:
            self._closing = True
            self._flush()
            if self.sock is None:
                self._drop()
        elif kind == REPLY and self.on_reply:
            self.on_reply(json.loads(payload))
        elif kind == EVENT and self.on_event:
            self.on_event(json.loads(payload))
        self.update()

    def _drop(self) -> None:
        if self.mux.streams.pop(self.number, None) is None:
            return
        if self.sock is not None:
            self.mux.watch(self.sock, self._interest, 0, None)
            self.sock.close()
            self.sock = None
        if self.on_close:
            self.on_close()


def _hung_up(sock: socket.socket) -> bool:
    """True if the local peer has closed altogether, not only its sending direction."""
    poll = select.poll()
    poll.register(sock, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


class Mux:
    """The link: frames in, frames out, and the loop that moves them.

    `link` is a non-blocking descriptor; `first` is 1 on one side and 2 on the other, so that both
    can number new streams; on_call(stream, request) serves the peer's requests.
    """

    def __init__(
        self,
        link: int,
        first: int,
        on_call: Callable[[Stream, Message], object] | None = None,
    ):
        self.streams: dict[int, Stream] = {}
        self.selector = selectors.DefaultSelector()
        self._link = link
        self._next = first
        self._on_call = on_call
        self._in = bytearray()
        self._out = bytearray()
        self._full = False
        self._interest = selectors.EVENT_READ
        self.selector.register(link, selectors.EVENT_READ, self._link_ready)

    def open(self, request: Message) -> Stream:
        """A new stream, asked for by `request` (JSON-able); the answer comes to on_reply."""
        stream = self.add(self.reserve())
        stream.send(CALL, json.dumps(request).encode())
        return stream

    def reserve(self) -> int:
        """A stream number that no one else will use."""
        number = self._next
        self._next += 2
        return number

    def add(self, number: int) -> Stream:
        """The stream of that number, which begins here."""
        stream = self.streams[number] = Stream(self, number)
        return stream

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Queue one frame for the peer."""
        self._out += _HEADER.pack(kind, number, len(payload))
        self._out += payload
        self._write()

    def has_room(self) -> bool:
        """Whether local descriptors may be read: the link does not hold too much already."""
        return len(self._out) < _LINK_HIGH

    def watch(self, fileobj: Local, before: int, after: int, callback: Ready | None) -> None:
        """Change what the selector watches for on fileobj from the events before to after."""
        if not after:
            if before:
                self.selector.unregister(fileobj)
        elif before:
            self.selector.modify(fileobj, after, callback)
        else:
            self.selector.register(fileobj, after, callback)

    def step(self, timeout: float | None = None) -> None:
        """Wait for something to happen (seconds; None: for ever) and move what can move."""
        for key, events in self.selector.select(timeout):
            key.data(events)

    def _write(self) -> None:
        while self._out:
            try:
                count = os.write(self._link, memoryview(self._out)[: 16 * _CHUNK])
            except BlockingIOError:
                break
            del self._out[:count]
        want = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        if want != self._interest:
            self.selector.modify(self._link, want, self._link_ready)
            self._interest = want
        if self._full != (not self.has_room()):
            self._full = not self._full
            for stream in list(self.streams.values()):
                stream.update()

    def _link_ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write()
        if not events & selectors.EVENT_READ:
            return
        self._fill()
        start = 0
        while len(self._in) - start >= _HEADER.size:
            kind, number, length = _HEADER.unpack_from(self._in, start)
            end = start + _HEADER.size + length
            if len(self._in) < end:
                break
            self._dispatch(kind, number, bytes(self._in[start + _HEADER.size : end]))
            start = end
        del self._in[:start]

    def _fill(self) -> None:
        """Read the link: a virtio-serial port gives a page at a time, so ask it often."""
        for _ in range(32):
            try:
                data = os.read(self._link, 16 * _CHUNK)
            except BlockingIOError:
                return
            if not data:
                raise EOFError("the other end of the link has gone")
            self._in += data

    def _dispatch(self, kind: int, number: int, payload: bytes) -> None:
        if kind == CALL and self._on_call is not None:
            self._on_call(self.add(number), json.loads(payload))
        elif number in self.streams:  # frames cross a CLOSE on the way: they are for nobody
            self.streams[number].received(kind, payload)
