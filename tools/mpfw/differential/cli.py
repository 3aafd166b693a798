# SPDX-License-Identifier: MIT
"""The command `mpfw differential`."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

import click

from mpfw import paths
from mpfw.build import deps
from mpfw.differential import catalogue, compare, outcomes, recorded, scenarios, table, unmended
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
        "mpfw differential --sequences 9 --setting host   between a guest and its host",
        "mpfw differential --document                docs/errno.md of what is recorded",
        "mpfw differential --compare                 the firmware against what is recorded",
    )
)
@click.argument("names", nargs=-1)
@click.option("--release", "releases", multiple=True, type=click.Choice(RELEASES), help="[all]")
@click.option("--setting", type=click.Choice(SETTINGS), help="Only scenarios of that setting.")
@click.option("--record", "only", flag_value="record", help="Run Linux and record only.")
@click.option("--note", is_flag=True, help="Write down what differs as what is to be mended.")
@click.option("--missing", is_flag=True, help="Record only what is not recorded as it is now.")
@click.option("--compare", "only", flag_value="compare", help="Run the firmware and compare only.")
@click.option(
    "--document", "only", flag_value="document", help="Make docs/errno.md's tables anew."
)
@click.option("--sequences", type=click.IntRange(1), help="So many generated ones instead.")
@click.option("--first", default=0, show_default=True, help="The first of them.")
@click.option("--seed", default=1, show_default=True, help="What those follow from.")
@click.option("--image", default=paths.IMAGE, type=click.Path(exists=True, path_type=Path))
def differential(
    names: tuple[str, ...],
    releases: tuple[str, ...],
    setting: str | None,
    only: str | None,
    missing: bool,
    note: bool,
    sequences: int | None,
    first: int,
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
            wanted = range(first, first + sequences)
            run_sequences(releases, image, seed, wanted, setting or LOOPBACK)
            return
        if only == "document":
            _document()
            return
        if only != "compare":
            for release in releases:
                _record(chosen, release, missing)
        if only != "record":
            _compare(chosen, image, releases[0], note)
    except (SideError, table.TableError, recorded.RecordError, deps.DependencyError) as error:
        raise click.ClickException(str(error)) from error


def _document() -> None:
    path = paths.ROOT / "docs/errno.md"
    text = table.rendered_into(path.read_text(), table.load())
    path.write_text(outcomes.rendered_into(text, catalogue.load()))


def _choose(names: Iterable[str], setting: str | None) -> list[Scenario]:
    found = catalogue.load(setting)
    missing = set(names) - {name for each in found for name in (each.name, each.file)}
    if missing:
        raise click.UsageError(
            f"no scenario {', '.join(sorted(missing))}: {scenarios.FOLDER} has them"
        )
    return [each for each in found if not names or {each.name, each.file} & set(names)]


def _record(chosen: list[Scenario], release: str, missing: bool) -> None:
    if missing:
        chosen = [each for each in chosen if not recorded.known(each, release)]
    with LinuxRoom(release) as room:
        kernel = room.kernel
        click.echo(f"{release}: Linux {kernel}, {len(chosen)} scenarios")
        for each, parts in room.run_all(chosen):
            recorded.write(each, release, kernel, parts)


def _compare(chosen: list[Scenario], image: Path, release: str, note: bool) -> None:
    rows = table.load()
    differ: dict[str, str] = {}
    lab = release if any(each.setting == HOST for each in chosen) else None
    with FirmwareRoom(image, lab) as room:
        for each, parts in room.run_all(chosen):
            for part, found in compare.confirmed(each, parts, partial(room.run, each), rows):
                differ.setdefault(each.name, unmended.reason(found))
                known = " (to be mended)" if each.name in rows.unmended else ""
                click.echo(f"{each.name}, {part}: {found}{known}")
    for row in rows.rows:
        click.echo(f"{row.call}, {row.state}, {row.arguments}: excused {row.used} lines")
    click.echo(f"{len(chosen)} scenarios, {len(differ)} differ")
    if note:
        unmended.note([each.name for each in chosen], differ)
    if differ:
        raise SystemExit(1)
