# SPDX-License-Identifier: MIT
"""The host's end of a guest that waits for requests: run code, call a function, put or get a file.

The guest's end is mpfw.guest.inside, handed in as its script. One request at a time is under way;
those of other threads wait. docs/api.md has the protocol.
"""

import inspect
import socket
import struct
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpfw.guest import inside
from mpfw.guest.errors import GuestEnded, GuestTimeout, RemoteError
from mpfw.guest.literals import literal
from mpfw.guest.talk import Talk, text

PORT = inside.PORT
_HEADER = struct.Struct("<II")
_PIECE = 1 << 16
_START = 60.0  # seconds that a guest may take to boot
_TURN = 60.0  # seconds that requests of other threads may take
_GRACE = 5.0  # seconds that interrupted code may take to end


def fw_cfg() -> dict[str, bytes]:
    """The fw_cfg entries that make a guest answer requests."""
    script = Path(inside.__file__).read_bytes()
    return {"opt/micropython/main.py": script, "opt/micropython/name": PORT.encode()}


class Request:
    """One request under way; result() waits for its answer."""

    def __init__(self, agent: "Agent", printed: int):
        self._agent = agent
        self._printed = printed  # bytes of output before it began
        self.answer: tuple[int, Any] | None = None
        self.data = bytearray()  # a file's
        self.output = ""  # what it has printed, once it has ended
        self.value: Any = None  # what it has returned, once result() has returned it

    def finish(self, kind: int, payload: bytes) -> None:
        """Its answer has come; the lock is held."""
        raw = kind == inside.BYTES
        self.answer = kind, payload if raw else literal(payload.decode())
        self.output = text(self._agent.out[self._printed :])

    def result(self, timeout: float = 60) -> Any:
        """What it returned. Raises RemoteError, GuestEnded, and after `timeout` seconds
        GuestTimeout: then it has been interrupted."""
        self.value = self._agent.result_of(self, timeout)
        return self.value

    def cancel(self) -> None:
        """Interrupt it if it is under way; its result is a RemoteError then."""
        self._agent.cancel(self)


class Agent(Talk):
    """Requests to one guest."""

    def __init__(
        self,
        stream: socket.socket,
        interrupt: Callable[[], object],
        last_words: Callable[[], str],
    ):
        """Our end of its port; `interrupt` types Ctrl-C, `last_words` is for errors."""
        self._stream = stream
        self._interrupt = interrupt
        self._last_words = last_words
        self._turn = threading.Lock()  # held from a request's beginning to its answer
        self._request: Request | None = None
        self._data = bytearray()
        self._starts = 0
        super().__init__({stream: self._feed}, "agent")

    # -- requests ---------------------------------------------------------------------------------

    def run(self, code: str, name: str = "<run>") -> Request:
        """Run code in the namespace that all requests share."""
        return self._begin(inside.RUN, repr((name, code)).encode())

    def call(
        self,
        function: Callable[..., Any] | str,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> Request:
        """Call a function of the host's program, by its source, or one that is there, by name."""
        if isinstance(function, str):
            name, place, source = function, "", None
        else:
            name = function.__name__
            place, source = _source(function)
        words = repr((name, place, source, arguments, keywords))
        try:
            literal(words)
        except (ValueError, SyntaxError):
            raise TypeError(
                f"{name}: a guest takes arguments that JSON has, bytes and tuples: "
                f"{arguments!r}, {keywords!r}"
            ) from None
        return self._begin(inside.CALL, words.encode())

    def put(self, path: str, data: bytes) -> Request:
        """Write a file."""
        request = self._begin(inside.PUT, path.encode())
        for at in range(0, len(data), _PIECE):
            self._send(inside.DATA, data[at : at + _PIECE])
        self._send(inside.DATA, b"")
        return request

    def get(self, path: str) -> Request:
        """Read a file: the request's `data`, once it has its result."""
        return self._begin(inside.GET, path.encode())

    def resume(self, busy: bool = True) -> Request:
        """Take over an agent that was saved in another guest, if `busy` in the middle of a
        request: that."""
        with self.news:
            self.ready = True
            request = Request(self, 0)
            if busy:
                self._turn.acquire()
                self._request = request
        return request

    # -- answers ----------------------------------------------------------------------------------

    def result_of(self, request: Request, timeout: float) -> Any:
        """See Request.result."""
        self.wait_for(lambda: request.answer, timeout)
        late = request.answer is None and not self.closed
        if late:
            self._interrupt()
            self.wait_for(lambda: request.answer, _GRACE)
        if request.answer is None:
            what = "the guest does not answer" if late else "the guest is off"
            error = GuestTimeout if late else GuestEnded
            raise error(what, self._last_words())
        kind, value = request.answer
        if kind in (inside.RETURNED, inside.BYTES) and not late:
            return value
        if late:
            where = value[2] if kind == inside.RAISED else ""
            raise GuestTimeout(f"no answer in {timeout} s\n{where}", self._last_words())
        if kind == inside.READY:
            raise GuestEnded(
                "the guest has started anew, after a reset or a CPU exception", self._last_words()
            )
        name, errno, traceback = value
        raise RemoteError(traceback, request.output, name, errno)

    def cancel(self, request: Request) -> None:
        """See Request.cancel."""
        with self.news:
            if self._request is request:
                self._interrupt()

    def _begin(self, kind: int, payload: bytes) -> Request:
        if not self.wait_for(lambda: self.ready, _START) or self.closed:
            raise GuestEnded("the guest takes no requests", self._last_words())
        if not self._turn.acquire(timeout=_TURN):  # _finish and _over release it
            raise GuestTimeout("an earlier request has not ended", self._last_words())
        with self.news:
            if self.closed:
                self._turn.release()
                raise GuestEnded("the guest is off", self._last_words())
            self._request = request = Request(self, len(self.out))
        self._send(kind, payload)
        return request

    def _send(self, kind: int, payload: bytes) -> None:
        try:
            self._stream.sendall(_HEADER.pack(kind, len(payload)) + payload)
        except OSError:
            pass  # the guest is off, as the request's result tells

    def _feed(self, data: bytes) -> None:
        """Take what has come from the guest; the lock is held."""
        self._data += data
        at = 0
        while len(self._data) - at >= _HEADER.size:
            kind, length = _HEADER.unpack_from(self._data, at)
            end = at + _HEADER.size + length
            if end > len(self._data):
                break
            self._take_frame(kind, bytes(self._data[at + _HEADER.size : end]))
            at = end
        del self._data[:at]

    def _take_frame(self, kind: int, payload: bytes) -> None:
        if kind == inside.OUT:
            self.out += payload
        elif kind == inside.ERR:
            self.err += payload
        elif kind == inside.FILE and self._request is not None:
            self._request.data += payload
        elif kind == inside.READY:
            self.ready = True
            if self._request is not None:
                self._finish(kind, b"None")
        elif kind in (inside.RETURNED, inside.RAISED, inside.BYTES):
            self._finish(kind, payload)

    def _over(self) -> None:
        if self._request is not None:  # it will have no answer
            self._request = None
            self._turn.release()

    def _finish(self, kind: int, payload: bytes) -> None:
        request, self._request = self._request, None
        if request is not None:
            request.finish(kind, payload)
            self._turn.release()


def _source(function: Callable[..., Any]) -> tuple[str, str]:
    """The file a function is in, and its source with the lines that it has there."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        raise TypeError(
            f"{function!r}: a guest gets a function's source, and this one has none: "
            "define it in a file, with def"
        ) from None
    body = textwrap.dedent("".join(lines))
    if not body.startswith(("def ", "async def ")):
        raise TypeError(f"{function!r}: a guest calls plain functions, without decorators")
    name = Path(inspect.getsourcefile(function) or "").name
    return name, "\n" * (first - 1) + body
