# SPDX-License-Identifier: MIT
"""One run of a program in a guest, from the guest's start to the exit status.

Signals, time-outs, a parent that goes away; what a guest's end means: docs/run.md.
"""

import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from mpfw import paths
from mpfw.guest import channel, ending
from mpfw.guest.guest import Guest
from mpfw.run.marks import mark
from mpfw.run.parts import Ended
from mpfw.run.streams import Streams
from mpfw.wakeup import Wakeup

if TYPE_CHECKING:
    from mpfw.capture.writer import Passing

Handler = Callable[[int, object], object]
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_CHUNK = 1 << 18  # bytes of a capture read at once
_CTRL_C = b"\x03"
_TWICE = 1.0  # seconds within which a second Ctrl-C ends the guest
_START = 60.0  # seconds that a guest may take to start the script
_LOOK = 1.0  # how often its log is looked at meanwhile
_END = 10.0  # and QEMU to end once its streams are closed


class Wishes(NamedTuple):
    """What a run should do besides running the program."""

    timeout: float | None = None  # seconds
    interactive: bool = False  # the prompt afterwards
    keep: bool = False  # the guest lives on afterwards
    patient: bool = False  # the guest may take for ever to start: somebody debugs it
    capture: "Passing | None" = None  # takes the guest's capture


def run(guest: Guest, wishes: Wishes) -> int:
    """Run the program of a guest that has just been started; the exit status. Raises Ended."""
    streams = Streams(guest.io, guest.err, guest.serial)
    if wishes.capture is not None:
        with _Captured(guest.capture, wishes.capture, streams):
            return _run(guest, wishes, streams)
    return _run(guest, wishes, streams)


def _run(guest: Guest, wishes: Wishes, streams: Streams) -> int:
    with _Interrupts(streams):
        try:
            _until_complete(guest, streams, wishes)
        except Ended as ended:
            if ended.status == channel.TIMED_OUT:
                streams.step(time.monotonic())  # what has come is passed on
            raise
        if streams.failed:
            raise Ended(channel.OURS, f"standard output: {streams.failed}")
        if streams.status is None:
            return _without_status(guest, streams)
        if streams.status == channel.CRASHED:
            _show_crash(guest, streams)
        if wishes.keep or wishes.interactive:
            from mpfw.run import afterwards

            if wishes.keep:
                afterwards.keep(guest, streams)
            afterwards.prompt(guest, streams)
            return 0
        return streams.status


def _until_complete(guest: Guest, streams: Streams, wishes: Wishes) -> None:
    """Return when the program has ended, or the guest. Raises Ended after a time-out."""
    began = time.monotonic()
    limit = None if wishes.timeout is None else began + wishes.timeout
    look = None if wishes.patient else began + _LOOK
    while not (streams.complete or streams.closed):
        now = time.monotonic()
        if limit is not None and now >= limit:
            raise Ended(channel.TIMED_OUT)
        if look is not None and streams.starts:
            look = None
            mark("the program starts")
        if look is not None and now >= look:
            look = now + _LOOK
            _check_start(guest, now >= began + _START)
        streams.step(min((one for one in (limit, look) if one is not None), default=None))
    mark("the program has ended")


def _check_start(guest: Guest, overdue: bool) -> None:
    """Raise Ended if the guest will not start the program."""
    last = ending.last_line(guest.debugcon())
    if " ERROR " in last:
        raise Ended(channel.OURS, f"the guest cannot start: {last}")
    if overdue:
        raise Ended(channel.OURS, f"the guest did not start within {_START:.0f} s: {last}")


def _without_status(guest: Guest, streams: Streams) -> int:
    """The exit status of a program whose guest ended without telling one. Raises Ended."""
    status, why = ending.status(guest, bool(streams.starts), _END)
    if why:
        raise Ended(status, why)
    return status


def _show_crash(guest: Guest, streams: Streams) -> None:
    """The report of a CPU exception, which the console has, on standard error."""
    said = streams.console.decode(errors="backslashreplace").replace("\r\n", "\n")
    report = said[max(0, said.rfind("CPU exception")) :]
    print(report.strip(), file=sys.stderr)
    if guest.flash is not None and paths.IN_TREE:
        from mpfw.guest.symbolise import explanation

        print(explanation(report, guest.flash), file=sys.stderr)


def end(number: int, _frame: object = None) -> None:
    """What a signal does that ends a run."""
    raise Ended(channel.SIGNALLED + number)


def handle(handlers: Mapping[int, Handler]) -> list[int]:
    """Set signals' handlers, but not those of signals that are ignored, as by nohup or a shell's
    `&`; the numbers of those that were set."""
    numbers = [each for each in handlers if signal.getsignal(each) != signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, handlers[number])
    return numbers


class _Captured:
    """Passes on a guest's capture as it comes, and in the end what is left of it."""

    def __init__(self, sock: socket.socket, to: "Passing", streams: Streams):
        sock.setblocking(False)
        self._sock, self._to, self._streams = sock, to, streams

    def __enter__(self) -> None:
        self._streams.watched[self._sock.fileno()] = self._take

    def __exit__(self, *_: object) -> None:
        while self._take():
            pass
        self._to.close()

    def _take(self) -> bool:
        """Pass on what has come; False: nothing has."""
        try:
            data = self._sock.recv(_CHUNK)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self._streams.watched.pop(self._sock.fileno(), None)
        self._to.feed(data)
        return bool(data)


class _Interrupts:
    """What signals do during a run: Ctrl-C is the script's, others end the run."""

    def __init__(self, streams: Streams):
        self._streams = streams
        self._last = -_TWICE
        self._handled: list[int] = []
        self._wakeup = Wakeup()
        streams.watched[self._wakeup.fileno()] = self._wakeup.drain

    def __enter__(self) -> None:
        self._handled = handle({**dict.fromkeys(ENDING, end), signal.SIGINT: self._interrupt})

    def __exit__(self, *_: object) -> None:
        for number in self._handled:
            signal.signal(number, signal.SIG_IGN)  # the end is under way
        del self._streams.watched[self._wakeup.fileno()]
        self._wakeup.close()

    def _interrupt(self, number: int, _frame: object) -> None:
        now = time.monotonic()
        if not self._streams.starts or now - self._last < _TWICE:
            end(number)
        self._last = now
        self._streams.type(_CTRL_C)
