# SPDX-License-Identifier: MIT
"""A sitting as a Markdown page: what was measured on what, the table, the targets."""

from mpfw.bench.results import METRICS, Judge

ORDER = ("linux", "floor", "script", "echo")


def number(value: float) -> str:
    """Three significant digits, thousands separated, no exponent."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _figure(entry: dict[str, float] | None) -> str:
    if entry is None:
        return "—"
    low, high = number(entry["min"]), number(entry["max"])
    return f"**{number(entry['median'])}** ({low}–{high})"


def table(judge: Judge, labels: dict[str, str]) -> str:
    """Metric by guest: median and spread over the rounds."""
    guests = [name for name in ORDER if name in labels]
    lines = ["| | " + " | ".join(labels[name] for name in guests) + " |"]
    lines.append("| --- |" + " ---: |" * len(guests))
    for metric, (what, unit, _) in METRICS.items():
        cells = [_figure(judge.summary[name].get(metric)) for name in guests]
        lines.append(f"| {what}, {unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def targets(judge: Judge) -> str:
    """What must hold, what was found, whether it does."""
    lines = ["| target | wanted | found | |", "| --- | ---: | ---: | --- |"]
    for target in judge.targets:
        met = "met" if target.met else "**missed**"
        lines.append(f"| {target.what} | {target.wanted} | {number(target.found)} | {met} |")
    return "\n".join(lines)


def curves(judge: Judge, labels: dict[str, str]) -> str:
    """The curves' points, for those who want the numbers behind the plots."""
    titles = {
        "sink_by_size": "Host to guest, MB/s, by bytes per write",
        "source_by_size": "Guest to host, MB/s, by bytes per write",
        "idle_p50_us": "Round trip beside idle connections, median µs",
        "busy_64_s": "64-byte round trips per second of all busy connections together",
        "fairness_64": "Slowest of the busy connections against their mean",
        "busy_16384_s": "16-KiB round trips per second of all busy connections together",
    }
    parts = []
    for curve, title in titles.items():
        found = {
            name: judge.curves[name][curve] for name in labels if judge.curves[name].get(curve)
        }
        if not found:
            continue
        xs = list(next(iter(found.values())))
        lines = [f"{title}:", "", "| | " + " | ".join(f"{x:,}" for x in xs) + " |"]
        lines.append("| --- |" + " ---: |" * len(xs))
        for name, points in found.items():
            cells = " | ".join(number(points[x]) for x in xs)
            lines.append(f"| {labels[name]} | {cells} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def markdown(
    judge: Judge, labels: dict[str, str], about: dict[str, str], retries: list[str]
) -> str:
    """The whole page; the plots lie beside it."""
    rounds = len(next(iter(judge.summary.values()))["boot_ms"]["rounds"])
    about_lines = "\n".join(f"- {key}: {value}" for key, value in about.items())
    notes = "".join(f"- {line.splitlines()[0]}\n" for line in retries) or "- none\n"
    return f"""# Benchmark

Made by `{about["command"]}`. Medians of {rounds} rounds, in brackets the lowest and the highest;
all guests in one sitting, taking turns, each booted anew in every round: the same QEMU machine,
accelerator, vhost-device-vsock and host program.

{about_lines}

QEMU alone, from its start to the exit that an image's first instructions ask for:
{number(judge.nothing)} ms.

{table(judge, labels)}

![Boot](boot.png)
![Round trips](round_trips.png)
![Throughput by message size](message_size.png)
![Connections](connections.png)

## Targets

{targets(judge)}

Found with everything written before anything is read (8 MiB): {judge.extra["whole_times"]} of
{judge.extra["whole_times"]} runs ended, the slowest after {judge.extra["whole_slowest_s"]:.2f} s.

## Curves

{curves(judge, labels)}

## Guests that needed a second boot

{notes}"""
