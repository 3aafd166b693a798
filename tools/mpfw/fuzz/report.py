# SPDX-License-Identifier: MIT
"""What a run looks like: a progress bar on a terminal, then a table of the classes."""

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mpfw.fuzz.classes import Lines
from mpfw.fuzz.session import Result


@contextlib.contextmanager
def progress(console: Console, count: int | None) -> Iterator[Callable[[Result], None]]:
    """A bar, if somebody sees it; gives what hears how far the run is."""
    if not console.is_terminal:
        yield lambda result: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("inputs", total=count)

        def told(result: Result) -> None:
            done = sum(each.inputs for each in result.totals.values())
            bar.update(task, completed=done)

        yield told


def table(result: Result, share: Callable[[Lines], float | None]) -> list[str]:
    """The classes, one to a line: inputs, seconds, inputs a second, percent of lines reached.

    `share` makes those percents of lines; None: that was not measured.
    """
    rows: list[tuple[str, ...]] = [("class", "inputs", "seconds", "a second", "lines")]
    inputs, seconds = 0, 0.0
    for name, total in result.totals.items():
        rows.append(_row(name, total.inputs, total.seconds, share(total.covered)))
        inputs += total.inputs
        seconds += total.seconds
    rows.append(_row("all", inputs, seconds, share(result.covered())))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]


def _row(name: str, inputs: int, seconds: float, lines: float | None) -> tuple[str, ...]:
    speed = f"{inputs / seconds:,.0f}" if seconds else "—"
    reached = "—" if lines is None else f"{lines:.1f} %"
    return name, f"{inputs:,}", f"{seconds:,.1f}", speed, reached
