# SPDX-License-Identifier: MIT
"""The command `mpfw differential`."""

from collections.abc import Iterable
from pathlib import Path

import click

from mpfw import paths
from mpfw.build import deps
from mpfw.differential import compare, generate, recorded, scenarios, table
from mpfw.differential.rooms import FirmwareRoom, LinuxRoom
from mpfw.differential.scenarios import HOST, LOOPBACK, SETTINGS, Scenario
from mpfw.differential.sequences import run_sequences
from mpfw.differential.sides import SideError
from mpfw.usage import examples

RELEASES = ("bookworm", "trixie", "sid")


@click.command(
    epilog=examples(
        "mpfw differential                           all scenarios: record, then compare",
        "mpfw differential --record refused          that one, on all three kernels",
        "mpfw differential --sequences 500           generated ones over the loopback",
        "mpfw differential --compare                 the firmware against what is recorded",
    )
)
@click.argument("names", nargs=-1)
@click.option("--release", "releases", multiple=True, type=click.Choice(RELEASES), help="[all]")
@click.option("--setting", type=click.Choice(SETTINGS), help="Only scenarios of that setting.")
@click.option("--record", "only", flag_value="record", help="Run Linux and record only.")
@click.option("--compare", "only", flag_value="compare", help="Run the firmware and compare only.")
@click.option("--sequences", type=click.IntRange(1), help="So many generated ones instead.")
@click.option("--seed", default=1, show_default=True, help="What those follow from.")
@click.option("--image", default=paths.IMAGE, type=click.Path(exists=True, path_type=Path))
def differential(
    names: tuple[str, ...],
    releases: tuple[str, ...],
    setting: str | None,
    only: str | None,
    sequences: int | None,
    seed: int,
    image: Path,
) -> None:
    """Run scenarios NAMES, or all, on Linux and on the firmware, and say where they differ.

    What Linux printed is recorded in tests/differential/recorded.
    """
    chosen = _choose(names, setting)
    releases = releases or RELEASES
    try:
        if sequences:
            run_sequences(releases, image, seed, sequences, setting or LOOPBACK)
            return
        if only != "compare":
            for release in releases:
                _record(chosen, release)
        if only != "record":
            _compare(chosen, image, releases[0])
    except (SideError, table.TableError, recorded.RecordError, deps.DependencyError) as error:
        raise click.ClickException(str(error)) from error


def _choose(names: Iterable[str], setting: str | None) -> list[Scenario]:
    found = scenarios.load(wanted=setting)
    if setting != HOST:
        found += generate.recorded_batches()
    missing = set(names) - {each.name for each in found}
    if missing:
        raise click.UsageError(
            f"no scenario {', '.join(sorted(missing))}: {scenarios.FOLDER} has them"
        )
    return [each for each in found if not names or each.name in names]


def _record(chosen: list[Scenario], release: str) -> None:
    with LinuxRoom(release) as room:
        kernel = room.kernel
        click.echo(f"{release}: Linux {kernel}, {len(chosen)} scenarios")
        for each in sorted(chosen, key=lambda scenario: SETTINGS.index(scenario.setting)):
            recorded.write(each, release, kernel, room.run(each))


def _compare(chosen: list[Scenario], image: Path, release: str) -> None:
    rows = table.load()
    differ = 0
    lab = release if any(each.setting == HOST for each in chosen) else None
    with FirmwareRoom(image, lab) as room:
        for each in sorted(chosen, key=lambda scenario: SETTINGS.index(scenario.setting)):
            for part, ours in room.run(each).items():
                kernels = list(recorded.printed(each, part).values())
                found = compare.first_difference(kernels, ours, each.name, rows)
                if found:
                    differ += 1
                    known = rows.unmended.get(each.name)
                    click.echo(f"{each.name}, {part}: {found}{' (to be mended)' if known else ''}")
    for row in rows.rows:
        click.echo(f"{row.call}, {row.state}, {row.arguments}: excused {row.used} lines")
    click.echo(f"{len(chosen)} scenarios, {differ} outputs differ")
    if differ:
        raise SystemExit(1)
