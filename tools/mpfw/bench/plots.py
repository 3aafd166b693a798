# SPDX-License-Identifier: MIT
"""A sitting as pictures: boot time line, round trips, throughput, connections."""

from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mpfw.bench.results import Judge, log_events

Labels = dict[str, str]  # guest -> what it is called
Distributions = dict[str, dict[float, float]]  # guest -> percentile -> µs

COLOURS = {"linux": "#888888", "floor": "#2a7f62", "script": "#1f5fa8", "echo": "#d1495b"}


def draw(
    directory: Path, labels: Labels, judge: Judge, distributions: Distributions, boot_log: str
) -> None:
    """Write all plots as PNG files."""
    _save(directory / "boot.png", lambda figure: _boot(figure, labels, judge, boot_log))
    _save(directory / "round_trips.png", lambda figure: _trips(figure, labels, distributions))
    _save(directory / "message_size.png", lambda figure: _sizes(figure, labels, judge))
    _save(directory / "connections.png", lambda figure: _connections(figure, labels, judge))


def _save(path: Path, paint: Callable[[Figure], None]) -> None:
    figure = plt.figure(figsize=(10, 4.5), layout="constrained")
    paint(figure)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _boot(figure: Figure, labels: Labels, judge: Judge, boot_log: str) -> None:
    """All guests on a logarithmic axis, and the firmware's own log on a linear one."""
    left, right = figure.subplots(1, 2)
    names = list(labels)
    for row, name in enumerate(names):
        found = judge.summary[name]
        left.barh(row, found["boot_ms"]["median"], color=COLOURS[name])
        left.text(
            found["boot_ms"]["median"], row, f" {found['boot_ms']['median']:.0f} ms", va="center"
        )
    left.axvline(judge.nothing, color="black", linestyle=":", label="QEMU alone")
    left.set_xscale("log")
    left.set_xlim(10, 20 * max(judge.summary[n]["boot_ms"]["median"] for n in names))
    left.set_yticks(range(len(names)), [labels[name] for name in names])
    left.set_xlabel("ms from starting QEMU to the first echoed byte")
    left.legend()
    events = log_events(boot_log)
    for row, (at, text) in enumerate(events):
        right.plot([at], [-row], "o", color=COLOURS["echo"], markersize=4)
        right.text(at, -row, "  " + text[:60], va="center", fontsize=6)
    right.set_xlim(0, 2.5 * max([at for at, _ in events], default=1))
    right.set_yticks([])
    right.set_xlabel("ms since reset: the firmware's log")


def _trips(figure: Figure, labels: Labels, distributions: Distributions) -> None:
    axes = figure.subplots()
    for name, points in distributions.items():
        tail = [max(100 - p, 0.005) for p in points]
        axes.plot(tail, list(points.values()), color=COLOURS[name], label=labels[name])
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_yscale("log")
    ticks = (100, 50, 10, 1, 0.1, 0.01)
    axes.set_xticks(ticks, [f"{100 - tick:g} %" for tick in ticks])
    axes.set_xlabel("share of 64-byte round trips that took at most…")
    axes.set_ylabel("µs")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend()


def _curve(axes: Axes, labels: Labels, judge: Judge, curve: str, xlabel: str, ylabel: str) -> None:
    for name in labels:
        points = judge.curves[name].get(curve)
        if points:
            axes.plot(
                list(points), list(points.values()), "o-", color=COLOURS[name], label=labels[name]
            )
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_yscale("log")
    axes.grid(True, which="both", alpha=0.2)
    axes.legend(fontsize=8)


def _sizes(figure: Figure, labels: Labels, judge: Judge) -> None:
    for axes, curve, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("sink_by_size", "source_by_size"),
        ("host to guest", "guest to host"),
        strict=True,
    ):
        _curve(axes, labels, judge, curve, "bytes per write", "MB/s")
        axes.set_xscale("log", base=2)
        axes.set_title(title)


def _connections(figure: Figure, labels: Labels, judge: Judge) -> None:
    idle, busy = figure.subplots(1, 2)
    _curve(idle, labels, judge, "idle_p50_us", "idle connections beside it", "round trip, µs")
    idle.set_xscale("symlog", linthresh=1)
    idle.set_xlim(left=0)
    _curve(busy, labels, judge, "busy_64_s", "busy connections", "64-byte round trips per second")
    busy.set_xscale("log")
