# SPDX-License-Identifier: MIT
"""What is measured, on which guest, how often, in which order: the sitting.

Guests take turns within each round, so that what else the machine does meets all of them. Knows
nothing of what the numbers should be.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from mpfw.bench.client import MeasurementError, Result
from mpfw.bench.guests import BenchGuest, Kind, Parts, time_nothing
from mpfw.bench.results import Curve, Measured
from mpfw.guest.console import ConsoleError
from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.errors import GuestError

Answer = TypeVar("Answer")

SMALL = 64  # bytes of a round trip
BULK = 65536  # bytes of a bulk write
AHEAD = 131072  # bytes of a bulk echo that may be under way: the daemon must not have to store any
ATTEMPTS = 3
WHOLE = 8 << 20  # bytes that are written before the first is read


@dataclass(frozen=True)
class Effort:
    """How much of everything: rounds, samples, seconds, points of the curves."""

    rounds: int
    trips: int
    bulk_seconds: float
    connections: int
    curve_rounds: int  # rounds that measure the curves as well
    curve_seconds: float
    sizes: tuple[int, ...]
    idle: tuple[int, ...]
    busy: tuple[int, ...]
    steady_trips: int
    whole_times: int
    quiet_seconds: float


FULL = Effort(
    rounds=5,
    trips=5000,
    bulk_seconds=1.0,
    connections=500,
    curve_rounds=3,
    curve_seconds=0.5,
    sizes=(64, 256, 1024, 4096, 16384, 65536),
    idle=(0, 10, 100, 1000),
    busy=(1, 10, 50, 200),
    steady_trips=100_000,
    whole_times=100,
    quiet_seconds=10.0,
)
QUICK = Effort(
    rounds=3,
    trips=1000,
    bulk_seconds=0.3,
    connections=100,
    curve_rounds=1,
    curve_seconds=0.2,
    sizes=(64, 4096, 65536),
    idle=(0, 1000),
    busy=(1, 200),
    steady_trips=10_000,
    whole_times=10,
    quiet_seconds=3.0,
)


def megabytes(result: Result) -> float:
    """MB/s (10^6) of a bulk transfer."""
    return float(result["bytes"] / result["seconds"] / 1e6)


class Sitting:
    """All rounds; `measured` fills up as they go.

    `measured[guest][metric]` is a list with one value per round; curves are lists of
    {x: value}. `tell(text)` is called before each step.
    """

    def __init__(self, parts: Parts, effort: Effort, tell: Callable[[str], None]):
        self.parts = parts
        self.effort = effort
        self.measured: Measured = {name: {} for name in parts.kinds}
        self.nothing_ms: list[float] = []
        self.samples: dict[str, list[int]] = {name: [] for name in parts.kinds}  # ns, all rounds
        self.boot_log = ""  # the firmware's debugcon, of its last boot
        self.retries: list[str] = []
        self.extra: dict[str, Any] = {}
        self._tell = tell

    @property
    def steps(self) -> int:
        """How often `tell` will be called, if nothing is tried twice."""
        return self.effort.rounds * (len(self.parts.kinds) + 1) + 2

    def run(self) -> None:
        """Everything. Raises MeasurementError if a guest fails every time."""
        kinds = list(self.parts.kinds.values())
        # Not in turn: whoever always came behind the same one was a tenth slower, or faster.
        order = random.Random(self.effort.rounds)
        for number in range(self.effort.rounds):
            self._tell(f"round {number + 1}: QEMU alone")
            self.nothing_ms.append(time_nothing(self.parts))
            curves = number < self.effort.curve_rounds
            order.shuffle(kinds)
            for kind in kinds:
                self._tell(f"round {number + 1}: {kind.label}")
                self._again(kind, partial(self._round, kind, curves))
        for name, extra in (("script", self._script_extra), ("echo", self._echo_extra)):
            if name in self.parts.kinds:
                kind = self.parts.kinds[name]
                self._tell(f"{kind.label}: endurance")
                self.extra |= self._again(kind, partial(extra, kind))

    def _again(self, kind: Kind, measure: Callable[[], Answer]) -> Answer:
        """A guest that fails is booted anew, and the report says why; the last failure counts."""
        for _ in range(ATTEMPTS - 1):
            try:
                return measure()
            except (MeasurementError, ConsoleError, GuestError, ConnectionError) as error:
                self.retries.append(f"{kind.label}: {error}")
        return measure()

    def _round(self, kind: Kind, curves: bool) -> None:
        with BenchGuest(self.parts, kind) as guest:
            found = {"boot_ms": guest.boot_ms, "ready_ms": guest.ready_ms}
            samples = self._trips(guest, self.effort.trips)
            found |= self._core(guest) | trip_figures(samples)
            if curves:
                found |= self._curves(guest)
            if kind.name == "echo":
                self.boot_log = guest.guest.debugcon()
        self.samples[kind.name] += samples
        for metric, value in found.items():
            self.measured[kind.name].setdefault(metric, []).append(value)

    def _trips(self, guest: BenchGuest, count: int) -> list[int]:
        run = guest.run("rtt", ECHO_PORT, SMALL, count, seconds=count / 500)
        samples: list[int] = run["samples_ns"]
        return samples

    def _trips_beside(self, guest: BenchGuest, idle: int, count: int) -> list[int]:
        """Round trips while `idle` other connections are open."""
        with guest.holding(idle):
            return self._trips(guest, count)

    def _core(self, guest: BenchGuest) -> dict[str, float]:
        seconds = self.effort.bulk_seconds
        found = {}
        if "bulk" in guest.kind.services:
            for service in ("sink", "source"):
                run = guest.run(service, BULK, seconds, seconds=seconds)
                found[f"{service}_mbs"] = megabytes(run)
        run = guest.run("echo", ECHO_PORT, BULK, AHEAD, seconds, seconds=seconds)
        found["echo_mbs"] = megabytes(run)
        count = self.effort.connections
        run = guest.run("connect", ECHO_PORT, count, seconds=count / 100)
        found["connections_s"] = run["connections"] / run["seconds"]
        return found

    def _curves(self, guest: BenchGuest) -> dict[str, Curve]:
        found = {}
        seconds = self.effort.curve_seconds
        if "bulk" in guest.kind.services:
            for service in ("sink", "source"):
                found[f"{service}_by_size"] = {
                    size: megabytes(guest.run(service, size, seconds, seconds=seconds))
                    for size in self.effort.sizes
                }
        found["idle_p50_us"] = {
            count: trip_figures(self._trips_beside(guest, count, 1000))["p50_us"]
            for count in self.effort.idle
        }
        if "many" in guest.kind.services:
            for size in (SMALL, 16384):
                runs = {}
                for count in self.effort.busy:
                    # How many share evenly shows over hundreds of round trips each: for a tenth of
                    # a second the daemon serves some of them only.
                    long = max(seconds, count / 100)
                    runs[count] = guest.run("busy", ECHO_PORT, count, size, long, seconds=long)
                found[f"busy_{size}_s"] = {n: rate(run) for n, run in runs.items()}
                found[f"fairness_{size}"] = {n: fairness(run) for n, run in runs.items()}
        return found

    def _script_extra(self, kind: Kind) -> dict[str, float]:
        """A script's memory: what round trips leave on the heap, what connections cost."""
        with BenchGuest(self.parts, kind) as guest:
            self._trips(guest, 1000)
            before = guest.stats()
            self._trips(guest, self.effort.steady_trips)
            after = guest.stats()
            with guest.holding(1000):
                holding = guest.stats()
        return {
            "steady_trips": self.effort.steady_trips,
            "steady_heap_bytes": after[0] - before[0],
            "steady_dma_bytes": after[1] - before[1],
            "idle_connection_bytes": (sum(holding) - sum(after)) / 1000,
        }

    def _echo_extra(self, kind: Kind) -> dict[str, float]:
        """The built-in echo: worst round trip, everything written before it is read, at rest."""
        effort = self.effort
        with BenchGuest(self.parts, kind) as guest:
            steady = trip_figures(self._trips(guest, effort.steady_trips))
            times = effort.whole_times
            whole = guest.run("whole", ECHO_PORT, WHOLE, times, seconds=times * 2)
            with guest.holding(100):
                share = guest.idle_share(effort.quiet_seconds)
        small = kind.machine.with_options(memory="16M")
        with BenchGuest(self.parts, Kind("16m", "firmware, 16 MiB", small, kind.ready)) as guest:
            guest.run("echo", ECHO_PORT, BULK, AHEAD, 0.2)
        return {
            "steady_p50_us": steady["p50_us"],
            "steady_max_us": steady["max_us"],
            "whole_times": whole["times"],
            "whole_slowest_s": whole["slowest_seconds"],
            "idle_cpu_share": share,
            "echo_with_16_mib": True,
        }


def trip_figures(samples: list[int]) -> dict[str, float]:
    """Median, 99th percentile and maximum of round trips, in microseconds."""
    ordered = sorted(samples)
    p50, p99 = (ordered[int(len(ordered) * share)] for share in (0.5, 0.99))
    return {"p50_us": p50 / 1e3, "p99_us": p99 / 1e3, "max_us": ordered[-1] / 1e3}


def rate(run: Result) -> float:
    """Round trips per second of all busy connections together."""
    return float(sum(run["trips"]) / run["seconds"])


def fairness(run: Result) -> float:
    """The slowest connection's round trips against the mean of all."""
    trips: list[int] = run["trips"]
    return min(trips) * len(trips) / max(1, sum(trips))
