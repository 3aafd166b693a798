# SPDX-License-Identifier: MIT
"""One run of a program in a guest, from the guest's start to the exit status.

Signals, time-outs, a parent that goes away; what a guest's end means: docs/run.md.
"""

import os
import signal
import sys
import time
from dataclasses import dataclass

from mpfw import paths
from mpfw.guest import channel, ending
from mpfw.guest.guest import Guest
from mpfw.run.streams import Streams

_CTRL_C = b"\x03"
_TWICE = 1.0  # seconds within which a second Ctrl-C ends the guest
_START = 60.0  # seconds that a guest may take to start the script
_END = 10.0  # and QEMU to end once its streams are closed


class Ended(Exception):
    """The run is over: the exit status, and one sentence unless the script has said it all."""

    def __init__(self, status: int, why: str = ""):
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class Wishes:
    """What a run should do besides running the program."""

    timeout: float | None = None  # seconds
    interactive: bool = False  # the prompt afterwards
    keep: bool = False  # the guest lives on afterwards
    patient: bool = False  # the guest may take for ever to start: somebody debugs it


def run(guest: Guest, wishes: Wishes) -> int:
    """Run the program of a guest that has just been started; the exit status. Raises Ended."""
    streams = Streams(guest.io, guest.err, guest.serial)
    with _Interrupts(streams):
        _watch_parent(streams)
        try:
            _until_complete(guest, streams, wishes)
        except Ended as ended:
            if ended.status == channel.TIMED_OUT:
                streams.step(time.monotonic())  # what has come is passed on
            raise
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
    start = None if wishes.patient else began + _START
    while not (streams.complete or streams.closed):
        now = time.monotonic()
        if limit is not None and now >= limit:
            raise Ended(channel.TIMED_OUT)
        if not streams.starts and start is not None and now >= start:
            last = ending.last_line(guest.debugcon())
            raise Ended(channel.OURS, f"the guest did not start within {_START:.0f} s: {last}")
        waits = [limit, None if streams.starts else start]
        streams.step(min((one for one in waits if one is not None), default=None))


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


class _Interrupts:
    """What signals do during a run: Ctrl-C is the script's, others end the run."""

    def __init__(self, streams: Streams):
        self._streams = streams
        self._last = -_TWICE
        self._before: dict[int, object] = {}

    def __enter__(self) -> None:
        handlers = {signal.SIGINT: self._interrupt}
        handlers |= dict.fromkeys((signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT), self._end)
        for number, handler in handlers.items():
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup, or a shell's `&`
                self._before[number] = signal.signal(number, handler)

    def __exit__(self, *_: object) -> None:
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)  # the end is under way

    def _interrupt(self, number: int, _frame: object) -> None:
        now = time.monotonic()
        if not self._streams.starts or now - self._last < _TWICE:
            self._end(number, None)
        self._last = now
        self._streams.type(_CTRL_C)

    def _end(self, number: int, _frame: object) -> None:
        raise Ended(channel.SIGNALLED + number)


def _watch_parent(streams: Streams) -> None:
    """End with the process that started us, as a closed terminal ends us; not under nohup, and
    not as the first of a session."""
    parent = os.getppid()
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN or os.getsid(0) == os.getpid():
        return
    try:
        number = os.pidfd_open(parent)
    except OSError:
        return  # it is outside: a container's first process has none

    def gone() -> None:
        raise Ended(channel.SIGNALLED + signal.SIGHUP)

    streams.watched[number] = gone
