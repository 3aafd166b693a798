# SPDX-License-Identifier: MIT
"""`mpfw differential --sequences`: runs generated sequences and says what they reached and found.

What differs is kept in build/differential: over the loopback as a script that runs as it is.
"""

import contextlib
import shutil
from pathlib import Path

import click

from mpfw import paths
from mpfw.differential import generate, table
from mpfw.differential.rooms import FirmwareRoom, LinuxRoom, Room
from mpfw.differential.runners import runner
from mpfw.differential.scenarios import HOST
from mpfw.differential.session import Found, Kind, Session

KEPT = paths.BUILD / "differential"
_PORT = 20000


def run_sequences(
    releases: tuple[str, ...], image: Path, seed: int, indices: range, setting: str
) -> None:
    """Run sequences of a seed: all on the first release, what differs on the others too.

    Raises SystemExit(1) if something differs that the table does not excuse.
    """
    lab = releases[0] if setting == HOST else None
    with contextlib.ExitStack() as stack:
        rooms: list[Room] = [stack.enter_context(LinuxRoom(release)) for release in releases]
        firmware = stack.enter_context(FirmwareRoom(image, lab))
        session = Session(
            setting,
            [runner(room, setting) for room in rooms],
            runner(firmware, setting),
            table.load(),
            lambda line: click.echo(line, err=True),
        )
        session.run(seed, indices)
    _report(session, seed)
    if session.found:
        raise SystemExit(1)


def _report(session: Session, seed: int) -> None:
    click.echo("\n".join(session.coverage.table()))
    for row in session.table.rows:
        click.echo(f"excused {row.used} times: {row.call}, {row.state}, {row.arguments}")
    if session.passing:
        click.echo(f"{session.passing} differences were not seen again")
    shutil.rmtree(KEPT, ignore_errors=True)
    KEPT.mkdir(parents=True)
    for number, (kind, found) in enumerate(session.found.items(), 1):
        path = KEPT / f"{number:03}.py"
        path.write_text(_kept(kind, found, seed))
        times = session.seen[kind]
        click.echo(f"{path.name}: {kind}, {times} times")
    click.echo(f"{len(session.found)} kinds of differences; their scripts are in {KEPT}")


def _kept(kind: Kind, found: Found, seed: int) -> str:
    """A difference as a script that both sides run, with what they print as remarks."""
    sides = [("Linux", found.linux), ("here", found.ours)]
    said = [f"# {side:5} {line}" for side, text in sides for line in text.splitlines()]
    head = f"# {kind.call}, {kind.state}; sequence {found.index} of seed {seed}"
    if not found.program[0].side:
        program = generate.script(found.program, _PORT)
        return "\n".join([head, *said, "", generate.PRELUDE, "", program])
    calls = [f"{op.side:5} {op}" for op in found.program]
    return "\n".join([head, *said, "", *calls, ""])
