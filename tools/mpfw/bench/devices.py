# SPDX-License-Identifier: MIT
"""`mpfw device` beside vhost-device-vsock: the same guest and program, taking turns.

Both guests stay up, and short measurements alternate between them: what else the machine does
meets both alike, and the ratio within each pair counts.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from mpfw.bench.client import Result
from mpfw.bench.guests import BenchGuest, Parts, devices
from mpfw.bench.plan import BULK, SMALL, megabytes, trip_figures
from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.vsockhost import DeviceVsock, VhostUserVsock

DAEMON, OURS = VhostUserVsock.name, DeviceVsock.name
IDLE = 100  # connections


@dataclass(frozen=True)
class Figure:
    """One line of the table: the daemon's ratio to ours, or the other way round, is to be at
    most `most`."""

    what: str
    unit: str
    more: bool  # is better
    most: float = 1.0


FIGURES = {
    "p50_us": Figure("64-byte round trip, median", "us", False),
    "p99_us": Figure("64-byte round trip, 99th percentile", "us", False, 1.5),
    "sink_mbs": Figure("host to guest", "MB/s", True),
    "source_mbs": Figure("guest to host", "MB/s", True),
    "connections_s": Figure("connections", "a second", True),
}


@dataclass
class Compared:
    """What was measured: `pairs[figure]` are (the daemon's, ours), in the order of time."""

    pairs: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    idle: dict[str, float] = field(default_factory=dict)  # share of a core, by device

    def ratio(self, name: str) -> float:
        """How many times as good ours is."""
        more = FIGURES[name].more
        return median(b / a if more else a / b for a, b in self.pairs[name])

    def rows(self) -> list[tuple[str, float, float, float, bool]]:
        """Each figure: what it is, the daemon's median, ours, the ratio, whether that will do."""
        found = []
        for name, pairs in self.pairs.items():
            figure, ratio = FIGURES[name], self.ratio(name)
            values = [median(each) for each in zip(*pairs, strict=True)]
            label = f"{figure.what}, {figure.unit}"
            found.append((label, values[0], values[1], ratio, ratio * figure.most >= 1))
        return found

    def as_json(self) -> dict[str, Any]:
        return {"pairs": self.pairs, "idle": self.idle}


def compare(parts: Parts, rounds: int, seconds: float, tell: Callable[[str], None]) -> Compared:
    """Measure in `rounds` pairs, each bulk transfer for `seconds`. Raises MeasurementError."""
    compared = Compared()
    with contextlib.ExitStack() as opened:
        kinds = devices(parts).kinds
        guests = {name: opened.enter_context(BenchGuest(parts, kinds[name])) for name in kinds}
        order = list(guests)
        for number in range(rounds + 1):
            tell(f"devices: pair {number} of {rounds}")
            found: dict[str, dict[str, float]] = {}
            for name in order:
                found[name] = _figures(guests[name], seconds)
            order.reverse()
            if number:  # the first one has warmed all up
                for figure in FIGURES:
                    pair = found[DAEMON][figure], found[OURS][figure]
                    compared.pairs.setdefault(figure, []).append(pair)
        for name, guest in guests.items():
            tell(f"devices: {name} with {IDLE} idle connections")
            compared.idle[name] = _idle(guest, max(3.0, 10 * seconds))
    return compared


def _figures(guest: BenchGuest, seconds: float) -> dict[str, float]:
    trips, calls = int(4000 * seconds), int(600 * seconds)
    run: Result = guest.run("rtt", ECHO_PORT, SMALL, trips, seconds=seconds)
    found = trip_figures(run["samples_ns"])
    for service in ("sink", "source"):
        found[f"{service}_mbs"] = megabytes(guest.run(service, BULK, seconds, seconds=seconds))
    run = guest.run("connect", ECHO_PORT, calls, seconds=seconds)
    found["connections_s"] = run["connections"] / run["seconds"]
    return found


def _idle(guest: BenchGuest, seconds: float) -> float:
    vsock = guest.guest.vsock
    assert isinstance(vsock, VhostUserVsock)
    with guest.holding(IDLE):
        time.sleep(1)  # what their beginning has left to do
        before = vsock.cpu_seconds()
        time.sleep(seconds)
        return (vsock.cpu_seconds() - before) / seconds


def markdown(compared: Compared) -> str:
    """The table, and a line about idle connections."""
    lines = [f"| | {DAEMON} | {OURS} | times as good | |", "| --- | ---: | ---: | ---: | --- |"]
    for label, theirs, ours, ratio, good in compared.rows():
        mark = "" if good else "**slower**"
        lines.append(f"| {label} | {theirs:,.4g} | {ours:,.4g} | {ratio:.2f} | {mark} |")
    idle = ", ".join(f"{name} {share:.2%}" for name, share in compared.idle.items())
    return "\n".join([*lines, "", f"Of a core with {IDLE} idle connections: {idle}."])
