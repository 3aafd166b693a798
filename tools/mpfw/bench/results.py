# SPDX-License-Identifier: MIT
"""What a sitting's numbers mean: medians, spread, ratios, and the targets they are held to.

Knows the targets; knows nothing of how anything was measured or is shown.
"""

import re
import statistics
from dataclasses import asdict, dataclass
from typing import Any

Curve = dict[int, float]  # x -> value
# guest -> metric -> a value for each round: a number or a Curve.
Measured = dict[str, dict[str, list[Any]]]

PERCENTILES = (*range(0, 100), 99.5, 99.9, 99.95, 99.99, 100)

# Metric -> what it is, its unit, whether more is better.
METRICS = {
    "boot_ms": ("power-on to first echoed byte", "ms", False),
    "p50_us": ("64-byte round trip, median", "µs", False),
    "p99_us": ("64-byte round trip, 99th percentile", "µs", False),
    "max_us": ("64-byte round trip, worst", "µs", False),
    "sink_mbs": ("host to guest", "MB/s", True),
    "source_mbs": ("guest to host", "MB/s", True),
    "echo_mbs": ("echo, both ways at once", "MB/s", True),
    "connections_s": ("connections per second", "1/s", True),
}


@dataclass(frozen=True)
class Target:
    """One thing that must hold: what was found, what is wanted, whether it does."""

    what: str
    found: float
    wanted: str
    met: bool


def median(values: list[float]) -> float:
    return statistics.median(values)


def summary(measured: Measured) -> dict[str, dict[str, Any]]:
    """{guest: {metric: {median, min, max, rounds}}} of the plain metrics."""
    return {
        name: {
            metric: {
                "median": median(values),
                "min": min(values),
                "max": max(values),
                "rounds": values,
            }
            for metric, values in metrics.items()
            if not isinstance(values[0], dict)
        }
        for name, metrics in measured.items()
    }


def curves(measured: Measured) -> dict[str, dict[str, Curve]]:
    """{guest: {curve: {x: median}}}."""
    return {
        name: {
            metric: {x: median([one[x] for one in values]) for x in values[0]}
            for metric, values in metrics.items()
            if isinstance(values[0], dict)
        }
        for name, metrics in measured.items()
    }


def distribution(samples: list[int]) -> dict[float, float]:
    """Percentile -> microseconds, of samples in nanoseconds."""
    ordered = sorted(samples)
    last = len(ordered) - 1
    return {p: ordered[min(last, int(len(ordered) * p / 100))] / 1e3 for p in PERCENTILES}


def log_events(log: str) -> list[tuple[float, str]]:
    """(milliseconds since reset, line) of what the firmware logged."""
    lines = re.findall(r"^\[ *(\d+\.\d+)\] \w+ (.*)$", log, re.MULTILINE)
    return [(float(seconds) * 1000, text) for seconds, text in lines]


class Judge:
    """Holds a sitting to the targets."""

    def __init__(self, measured: Measured, nothing_ms: list[float], extra: dict[str, Any]):
        self.summary = summary(measured)
        self.curves = curves(measured)
        self.nothing = median(nothing_ms)
        self.extra = extra
        self.targets: list[Target] = []
        self._against_linux()
        self._against_floor()
        self._scale()
        self._endurance()

    def _ratio(self, guest: str, other: str, metric: str) -> float:
        """How many times the other's figure this guest's is."""
        ours: float = self.summary[guest][metric]["median"]
        theirs: float = self.summary[other][metric]["median"]
        return ours / theirs

    def _add(self, what: str, found: float, sign: str, limit: float, unit: str = "×") -> None:
        met = found <= limit if sign == "≤" else found >= limit
        self.targets.append(Target(what, found, f"{sign} {limit:g}{unit}", met))

    def _against_linux(self) -> None:
        for guest, metric, sign, limit in (
            ("script", "p50_us", "≤", 0.4),
            ("script", "p99_us", "≤", 0.6),
            ("script", "sink_mbs", "≥", 5),
            ("script", "source_mbs", "≥", 3.5),
            ("echo", "echo_mbs", "≥", 5),
            ("script", "connections_s", "≥", 4),
        ):
            what = f"{METRICS[metric][0]}, {guest}, against Linux"
            self._add(what, self._ratio(guest, "linux", metric), sign, limit)
        sooner = 1 / self._ratio("echo", "linux", "boot_ms")
        self._add("power-on to first echoed byte, sooner than Linux", sooner, "≥", 25)
        boot = self.summary["echo"]["boot_ms"]["median"]
        self._add("power-on to first echoed byte, against QEMU alone", boot / self.nothing, "≤", 3)

    def _against_floor(self) -> None:
        for guest, metric, sign, limit in (
            ("script", "sink_mbs", "≥", 0.7),
            ("script", "source_mbs", "≥", 0.7),
            ("echo", "echo_mbs", "≥", 0.7),
            ("script", "p50_us", "≤", 2),
            ("script", "connections_s", "≥", 0.35),
        ):
            what = f"{METRICS[metric][0]}, {guest}, against bare metal"
            self._add(what, self._ratio(guest, "floor", metric), sign, limit)

    def _scale(self) -> None:
        idle = self.curves["echo"]["idle_p50_us"]
        most = max(idle)
        self._add(f"round trip beside {most} idle connections", idle[most] / idle[0], "≤", 1.2)
        fairness = self.curves["echo"]["fairness_64"]
        most = max(fairness)
        self._add(f"slowest of {most} busy connections / mean", fairness[most], "≥", 0.5)

    def _endurance(self) -> None:
        extra = self.extra
        trips = extra["steady_trips"]
        worst = extra["steady_max_us"] / extra["steady_p50_us"]
        self._add(f"worst of {trips} round trips / median", worst, "≤", 20)
        what = f"heap growth over {trips} round trips"
        self._add(what, extra["steady_heap_bytes"], "≤", 1024, " bytes")
        per_connection = extra["idle_connection_bytes"]
        self._add("memory per idle connection", per_connection, "≤", 1000, " bytes")
        times = extra["whole_times"]
        self._add("8 MiB written whole, then read: runs that ended", times, "≥", times, "")
        share = 100 * extra["idle_cpu_share"]
        self._add("processor share with 100 idle connections", share, "≤", 1, " %")
        self._add("payload", extra["payload_bytes"] / 1e3, "≤", 900, " KB")

    def as_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "summary": self.summary,
            "curves": self.curves,
            "qemu_alone_ms": self.nothing,
            "extra": self.extra,
            "targets": [asdict(target) for target in self.targets],
        }
