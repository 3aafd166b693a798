# SPDX-License-Identifier: MIT
"""`vsock.capture()`: packets of this guest, written to a file or a socket as a capture file.

Notes (notes.py) are taken as packets pass; this is bytecode, which runs between a program's
bytecodes and while it waits, and hands on what there is. A reader that is slow, or a full disk,
costs packets of the capture, which are counted, and holds nothing up.
"""

import time

import errnos
import machine
from portable import const, micropython

from . import blocks
from .notes import Notes
from .tap import Tap, Watcher

_LATER_US = const(10_000)  # after which packets go out though they are few
_ENOUGH = const(4)  # pages at a time: what comes meanwhile is for the next time
_LAST_MS = const(2000)  # that a socket's reader has for the rest
_PROGRAM = "micropython"


class Capture(Watcher):
    """A capture at work; `with` closes it. `error` is the OSError that ended it, or None."""

    def __init__(self, stack, to, snaplen, room):
        """`to` has `send`, as a socket, or `write`, as a file; `stack` is vsock.get()'s."""
        super().__init__(Notes(room, snaplen))
        self.error = None
        self._send = getattr(to, "send", None)
        self._to = to
        self._half = self.notes.half
        self._tap = stack.tap or Tap(stack)
        self._rest = memoryview(blocks.begin(snaplen, _PROGRAM, "vsock cid %d" % stack.cid))
        self._timed = self._called = self._busy = False
        self._closed = False
        if self._send is not None:
            to.setblocking(False)
            self._forget(to)
        self._vector = machine.Vector()
        self._vector.irq(self._run)
        self._tap.enrol(self)
        self._run(None)

    def _forget(self, sock):
        """Packets that carry the capture are not for it."""
        try:
            here, there = sock.getsockname(), sock.getpeername()
            self.notes.forget(here[1], there[1])
        except OSError:
            pass  # it says so when something is sent

    @property
    def count(self):
        """Packets that were noted."""
        return self.notes.count

    @property
    def dropped(self):
        """Packets for which there was no room, since nobody took the others in time."""
        return self.notes.dropped

    @micropython.native
    def news(self, end):
        """As Watcher.news."""
        if end > self._half:
            if not self._called:
                self._called = True
                self._vector.trigger()
        elif not self._timed:
            self._timed = True
            self._vector.after(_LATER_US)

    def _run(self, vector):
        self._timed = self._called = False
        if self._busy or self._closed:
            return
        self._busy = True
        try:
            for _ in range(_ENOUGH):
                if not self._step():
                    break
        finally:
            self._busy = False
        if self.error is None and (len(self._rest) or self.notes.waiting):
            self.news(0)

    def _step(self):
        """Hand on a part; False: there is none, or nobody takes more now."""
        if self.error is not None:
            return False
        if not len(self._rest):
            if not self.notes.waiting:
                return False
            self._rest = memoryview(self.notes.turn())
        try:
            n = self._put(self._rest)
        except OSError as error:
            self._fail(error)
            return False
        self._rest = self._rest[n:]
        return n > 0

    def _put(self, data):
        if self._send is None:
            n = self._to.write(data)
            return len(data) if n is None else n
        try:
            return self._send(data)
        except OSError as error:
            if error.errno != errnos.EAGAIN:
                raise
            return 0

    def _fail(self, error):
        self.error = error
        self._rest = self._rest[:0]
        self._tap.dismiss(self)
        machine.log("vsock", "the capture has stopped: %s" % error, "WARNING")

    def close(self):
        """Hand on the rest and how many packets there were; a file stays open.

        Raises what ended the capture before, if anything did.
        """
        if not self._closed:
            self._tap.dismiss(self)
            self._busy = True  # `_run` would cut in behind a write, and write the same again
            self._flush()
            if self.error is None:
                now = time.time_ns()
                self._rest = memoryview(blocks.end(now, self.count, self.dropped))
                self._flush()
            self._closed = True
            self._vector.close()
        if self.error is not None:
            raise self.error

    def _flush(self):
        start = time.ticks_ms()
        while len(self._rest) or self.notes.waiting:
            if not self._step():
                if self.error is not None or time.ticks_diff(time.ticks_ms(), start) > _LAST_MS:
                    break
                time.sleep_ms(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
