# SPDX-License-Identifier: MIT
"""`mpfw compare OLD [NEW]`: two images in alternation, and the old one against itself: the noise.

A difference counts as one only if it is larger than what the same image shows against itself in
the same sitting.
"""

import os
from dataclasses import replace
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.table import Table

from mpfw import paths
from mpfw.bench import busy as busy_machine
from mpfw.bench import guests, plan
from mpfw.bench.cli import allow_descriptors, sit
from mpfw.bench.client import MeasurementError
from mpfw.build import deps
from mpfw.guest.machine import pick_accelerator
from mpfw.usage import examples

# What is compared, and whether more is better.
METRICS = {
    "p50_us": ("round trip, median, us", False),
    "p99_us": ("round trip, p99, us", False),
    "sink_mbs": ("host to guest, MB/s", True),
    "source_mbs": ("guest to host, MB/s", True),
    "echo_mbs": ("echo, MB/s", True),
    "connections_s": ("connections a second", True),
    "ready_ms": ("power-on to READY, ms", False),
}
TOLERANCE = 0.03  # or the noise, if that is more
OLD, AGAIN, NEW = "old", "old again", "new"


@click.command(
    epilog=examples(
        "mpfw compare OLD.bin --quick --rounds 1      a first look",
        "mpfw compare OLD.bin                         what means something",
    )
)
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument(
    "new",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=paths.IMAGE,
)
@click.option("--rounds", default=5, show_default=True, help="How often each is measured.")
@click.option("--quick", is_flag=True, help="Shorter rounds.")
@busy_machine.option
def compare(old: Path, new: Path, rounds: int, quick: bool, busy: str) -> None:
    """Measure image NEW (this tree's) against OLD, taking turns, and OLD against itself."""
    os.environ.setdefault("RUST_LOG", "error")  # the daemon warns of each connection's end
    allow_descriptors()
    effort = plan.QUICK if quick else plan.FULL
    effort = replace(effort, rounds=rounds, curve_rounds=0)
    try:
        parts = guests.build(pick_accelerator(), new, peer=False)
        images = {OLD: old, AGAIN: old, NEW: new}
        with busy_machine.machine(busy):
            sitting = sit(guests.variants(parts, images), effort)
    except (deps.DependencyError, MeasurementError) as error:
        raise click.ClickException(
            "\n".join([str(error), *getattr(error, "__notes__", [])])
        ) from error
    for line in sitting.retries:
        click.echo(f"tried again: {line}", err=True)
    Console(width=110).print(_table(sitting, rounds))


def _table(sitting: plan.Sitting, rounds: int) -> Table:
    table = Table(title=f"medians of {rounds} rounds, taking turns; ratios above 1 are better")
    for heading in ("guest", "what", OLD, AGAIN, NEW, "noise", "new to old", ""):
        table.add_column(heading, justify="left" if heading in ("guest", "what") else "right")
    for name in ("script", "echo"):
        for metric, (what, more) in METRICS.items():
            found = [
                sitting.measured[f"{label}, {name}"].get(metric) for label in (OLD, AGAIN, NEW)
            ]
            if not all(found):
                continue
            values = [median(each) for each in found if each]
            noise, gain = (
                value / values[0] if more else values[0] / value for value in values[1:]
            )
            slower = 1 - gain > max(TOLERANCE, abs(1 - noise))
            numbers = [f"{value:,.4g}" for value in values]
            mark = "slower" if slower else ""
            table.add_row(name, what, *numbers, f"{noise:.3f}", f"{gain:.3f}", mark)
    return table
