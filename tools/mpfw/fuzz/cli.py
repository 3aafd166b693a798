# SPDX-License-Identifier: MIT
"""The command `mpfw fuzz`."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.console import Console

from mpfw import paths
from mpfw.fuzz import cases, lines, plan, report, session
from mpfw.fuzz.classes import LEVELS, FuzzClass, UnknownClass, choose
from mpfw.usage import examples

USUAL = 200_000  # inputs


@click.command(
    epilog=examples(
        "mpfw fuzz --count 2000                     a look at how it goes",
        "mpfw fuzz --minutes 1 packets rings        these classes, for a minute",
        "mpfw fuzz --repeat build/fuzz/FILE.json    a case that failed",
    )
)
@click.argument("classes", nargs=-1)
@click.option("--level", default="fast", show_default=True, help=f"One of {', '.join(LEVELS)}.")
@click.option("--seed", default=1, show_default=True, help="What the inputs follow from.")
@click.option("--count", type=click.IntRange(1), help=f"Inputs of all classes. [usual: {USUAL:,}]")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Stop after that time.")
@click.option("--jobs", type=click.IntRange(1), help="Batches at a time. [usual: processors]")
@click.option("--repeat", type=click.Path(path_type=Path), help="Do what this file has once more.")
@click.option("--missed", is_flag=True, help="Say at the end which lines no input has reached.")
@click.option("--list", "listed", is_flag=True, help="Say which classes there are.")
def fuzz(
    classes: tuple[str, ...],
    level: str,
    seed: int,
    count: int | None,
    minutes: float | None,
    jobs: int | None,
    repeat: Path | None,
    missed: bool,
    listed: bool,
) -> None:
    """Try inputs that nobody would write: of CLASSES, or of all classes.

    Level fast has the modules alone, level real the image in QEMU, level device is `mpfw device`
    before a guest that lies. What fails is saved as a file.
    """
    try:
        if repeat is not None:
            _repeat(repeat)
            return
        chosen = choose(level, classes)
        if listed:
            for each in chosen:
                click.echo(f"{each.name:12} {each.what}")
            return
        if count is None and minutes is None:
            count = USUAL
        result = _run(chosen, plan.batches(chosen, seed, count), count, minutes, jobs)
        _end(result, seed, missed)
    except (UnknownClass, cases.CaseError) as error:
        raise click.ClickException(str(error)) from error


def _run(
    chosen: list[FuzzClass],
    batches: Iterator[plan.Batch],
    count: int | None,
    minutes: float | None,
    jobs: int | None,
) -> session.Result:
    """Run the batches and print the table."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    with report.progress(Console(stderr=True), count) as told:
        result = session.run(chosen, batches, jobs or os.cpu_count() or 1, until, told)
    click.echo("\n".join(report.table(result, lines.share)))
    return result


def _end(result: session.Result, seed: int, missed: bool) -> None:
    """Say how it went; fail if it did not go well."""
    if missed:
        for path, numbers in lines.missed(result.covered()).items():
            click.echo(f"{path}: {' '.join(map(str, numbers))}")
    if result.failure is not None:
        _fail(result.failure)
    click.echo(f"seed {seed}: nothing failed")


def _repeat(path: Path) -> None:
    case = cases.load(path)
    runner = choose(case.level, [case.name])[0].open()
    try:
        failure = runner.repeat(case).failure
    finally:
        runner.close()
    if failure is not None:
        click.echo(failure.detail)
        raise click.ClickException(f"{case.name}: {failure.what}")
    click.echo(f"{case.name}: it does not fail now; it was: {case.what}")


def _fail(case: cases.Case) -> None:
    path = case.save()
    click.echo(case.detail)
    shown = path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path
    again = f"mpfw fuzz --repeat {shown}"
    raise click.ClickException(f"{case.name}: {case.what}; `{again}` does it again")
