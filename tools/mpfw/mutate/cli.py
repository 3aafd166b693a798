# SPDX-License-Identifier: MIT
"""The command `mpfw mutate`."""

import random
import re
from collections.abc import Iterator

import click

from mpfw import paths
from mpfw.mutate import equivalent, session
from mpfw.mutate.mutants import Mutant, mutants
from mpfw.usage import examples

# The receive road, the queue, the protocol. words.py is left out: what its numbers are does not
# matter as long as all agree, and those that the specification gives stand in tests, too.
SUBJECTS = [
    *sorted(each for each in (session.MODULES / "vsock").glob("*.py") if each.stem != "words"),
    *(session.MODULES / "virtio" / f"{name}.py" for name in ("buffers", "device", "queue")),
]
SURVIVORS = paths.BUILD / "mutants.toml"
ENOUGH = 90  # percent


@click.command(
    epilog=examples(
        "mpfw mutate --count 2                            a look at how it goes",
        "mpfw mutate --module vsock/credit.py --count 5   of one module",
    )
)
@click.option("--seed", default=1, show_default=True, help="Which mutants: of one seed, the same.")
@click.option("--count", default=250, show_default=True, help="How many; 0: all there are.")
@click.option("--jobs", default=1, show_default=True, help="How many at a time.")
@click.option("--module", "only", multiple=True, help="Of this module only, as vsock/store.py.")
@click.option("--again", is_flag=True, help="Those that survived the last time.")
def mutate(seed: int, count: int, jobs: int, only: tuple[str, ...], again: bool) -> None:
    """Change the firmware's modules in small ways: does `make unit` notice?

    Each mutant is tried with the unit tests that reach its line. Survivors are listed; all of them
    are to be in tests/unit/mutants.toml, which says why they change nothing, or a test is missing.
    """
    sources = {str(path.relative_to(session.MODULES)): path.read_text() for path in SUBJECTS}
    every = all_mutants(sources)
    try:
        known = equivalent.read()
        if gone := equivalent.stale(known, every):
            lines = "\n".join(f"{entry.key}" for entry in gone)
            raise click.ClickException(f"{equivalent.TABLE.name}: no such mutants now:\n{lines}")
        chosen = _choose(every, seed, count, only, again)
        seen = session.survey(SUBJECTS)
        survivors = _survivors(chosen, {entry.key for entry in known}, sources, seen, jobs)
    except (equivalent.TableError, session.SurveyError) as error:
        raise click.ClickException(str(error)) from error
    _report(chosen, survivors, seed)


def all_mutants(sources: dict[str, str]) -> list[Mutant]:
    """Every mutant of these modules, texts by path."""
    tops = {path.partition("/")[0] for path in sources}
    words = [(session.MODULES / top / "words.py").read_text() for top in tops]
    zeros = {name for text in words for name in re.findall(r"^(\w+) = const\(0\)", text, re.M)}
    return [each for path, text in sources.items() for each in mutants(path, text, zeros)]


def _choose(
    every: list[Mutant], seed: int, count: int, only: tuple[str, ...], again: bool
) -> list[Mutant]:
    paths_known = {each.path for each in every}
    for path in only:
        if path not in paths_known:
            names = " ".join(sorted(paths_known))
            raise click.ClickException(f"--module {path}: there are only {names}")
    if again:
        if not SURVIVORS.exists():
            raise click.ClickException("--again: nothing was tried before")
        wanted = equivalent.keys(SURVIVORS)
        return [each for each in every if each.key in wanted]
    pool = [each for each in every if not only or each.path in only]
    if not count or count >= len(pool):
        return pool
    return sorted(random.Random(seed).sample(pool, count), key=lambda each: each.key)


def _survivors(
    chosen: list[Mutant],
    known: set[equivalent.Key],
    sources: dict[str, str],
    seen: session.Survey,
    jobs: int,
) -> list[Mutant]:
    """Which of them no test notices. Those known to be equivalent are not tried."""
    survivors = [each for each in chosen if each.key in known]
    waiting = [each for each in chosen if each.key not in known]
    running: list[session.Trial] = []
    while waiting or running:
        while waiting and len(running) < jobs:
            running += _begin(waiting.pop(0), sources, seen, survivors)
        if running:
            session.wait(running)
        for trial in [each for each in running if each.over()]:
            running.remove(trial)
            survived = trial.survived()
            if survived:
                survivors.append(trial.mutant)
            noticed = "endless" if trial.endless else "noticed"
            click.echo(f"{'SURVIVED' if survived else noticed}  {trial.mutant}")
    return sorted(survivors, key=lambda each: (each.path, each.line, each.becomes))


def _begin(
    mutant: Mutant, sources: dict[str, str], seen: session.Survey, survivors: list[Mutant]
) -> Iterator[session.Trial]:
    """Begin to try it, unless no test comes there."""
    tests = seen.tests(mutant)
    if not tests:
        survivors.append(mutant)
        return
    yield session.Trial(mutant, sources[mutant.path], tests)


def _report(chosen: list[Mutant], survivors: list[Mutant], seed: int) -> None:
    """Print what survived and the share that did not; fail if that is not enough."""
    reasons = {entry.key: entry.why for entry in equivalent.read()}
    for each in survivors:
        click.echo(f"{each}\n    {reasons.get(each.key, 'nobody noticed')}")
    unknown = [each for each in survivors if each.key not in reasons]
    equivalent.write(unknown, SURVIVORS)
    killed = len(chosen) - len(survivors)
    share = 100 * killed / max(1, len(chosen))
    click.echo(
        f"{len(chosen)} mutants (seed {seed}), {killed} noticed ({share:.1f} %); "
        f"{len(survivors)} survived, {len(survivors) - len(unknown)} of them as equivalent"
    )
    if unknown:
        raise click.ClickException(
            f"{len(unknown)} survivors are not in {equivalent.TABLE.name}: write a test, or say "
            f"there why they change nothing ({SURVIVORS.relative_to(paths.ROOT)} has them)"
        )
    if share < ENOUGH:
        raise click.ClickException(f"less than {ENOUGH} % were noticed")
