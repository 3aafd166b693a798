# SPDX-License-Identifier: MIT
"""Writes captures: a packet at a time, or blocks that a guest has made."""

import struct
import sys
import threading
import time
from collections.abc import Callable

from mpfw.capture.sinks import CaptureError, Sink, open_sink
from mpfw.device.firmware import module
from mpfw.device.firmware import vsock as w

IN, OUT = "in", "out"  # as whoever captures sees it: to it, from it
_blocks = module("vsock.blocks")
_BLOCK = struct.Struct("<II")
_LEAST, _MOST = 12, 1 << 20  # bytes that a block may have


def _complain(why: str) -> None:
    print(f"mpfw: {why}", file=sys.stderr, flush=True)


class Capture:
    """A capture at work. No method raises once it is: what goes wrong ends the capture, is said
    once, and the traffic goes on. Any thread may call them."""

    def __init__(
        self,
        path: str,
        snaplen: int = w.MAX_DATA,
        limit: int = 0,
        keep: int = 0,
        place: str = "vsock",
        complain: Callable[[str], object] = _complain,
    ):
        """`path`: a file, or "-" for standard output; `snaplen`: bytes of payload kept of each
        packet; `limit`: bytes of a file before the next one begins (0: none), of which `keep`
        stay (0: all); `place`: what the interface is called. Raises CaptureError."""
        self._snaplen = snaplen
        self._complain = complain
        self._lock = threading.Lock()
        self._sink: Sink | None = open_sink(path, limit, keep)
        self._sink.head = _blocks.begin(snaplen, "mpfw", place)
        self.written = self.dropped = 0  # packets
        self._untold = 0  # of those dropped, how many the file does not tell of yet

    def packet(
        self,
        direction: str,
        header: bytes | bytearray,
        payload: bytes | memoryview = b"",
        when_ns: int | None = None,
    ) -> None:
        """A packet passes: `direction` IN or OUT, its header as it is, all of its payload.

        `when_ns`: nanoseconds since 1970, now if it is None.
        """
        if self._sink is None:
            return
        with self._lock:
            now = time.time_ns() if when_ns is None else when_ns
            kept = payload[: self._snaplen]
            before, behind = _blocks.packet(
                now, direction == IN, header, kept, len(payload), self._untold
            )
            if self._put([before, kept, behind]):
                self.written += 1
                self._untold = 0
            else:
                self.dropped += 1
                self._untold += 1

    def close(self) -> None:
        """The end: how many packets there were is written behind them."""
        with self._lock:
            sink, self._sink = self._sink, None
            if sink is not None:
                try:
                    sink.close(_blocks.end(time.time_ns(), self.written, self.dropped))
                except CaptureError as error:
                    self._complain(f"the capture has stopped: {error}")

    def __enter__(self) -> "Capture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, parts: list[bytes | memoryview]) -> bool:
        assert self._sink is not None
        try:
            return self._sink.put(parts)
        except CaptureError as error:
            self._sink = None
            self._complain(f"the capture has stopped: {error}")
            return False


class Passing:
    """A capture that comes as bytes, from a guest: its blocks go into a sink as they are."""

    def __init__(self, path: str, complain: Callable[[str], object] = _complain):
        """`path`: a file, or "-" for standard output. Raises CaptureError."""
        self._sink: Sink | None = open_sink(path)
        self._complain = complain
        self._data = bytearray()
        self._begun = False

    def feed(self, data: bytes) -> None:
        """What has come; nothing raises."""
        if self._sink is None:
            return
        self._data += data
        while len(self._data) >= _BLOCK.size:
            _, size = _BLOCK.unpack_from(self._data)
            if not _LEAST <= size <= _MOST:
                self._stop("what the guest sends is no capture")
            if self._sink is None or size > len(self._data):
                return
            block = bytes(self._data[:size])
            del self._data[:size]
            self._take(block)

    def close(self) -> None:
        """Nothing more comes."""
        if not self._begun and self._sink is not None:  # a capture without packets is one, too
            self._take(_blocks.begin(w.MAX_DATA, "mpfw", "vsock"))
        sink, self._sink = self._sink, None
        if sink is not None:
            try:
                sink.close(b"")
            except CaptureError as error:
                self._stop(str(error))

    def _take(self, block: bytes) -> None:
        self._begun = True
        try:
            assert self._sink is not None
            self._sink.put([block])
        except CaptureError as error:
            self._stop(str(error))

    def _stop(self, why: str) -> None:
        self._sink = None
        self._data.clear()
        self._complain(f"the capture has stopped: {why}")
