# SPDX-License-Identifier: MIT
"""`mpfw check-house`: the house rules on the whole tree, a line for each place that breaks one."""

from pathlib import Path

import click

from mpfw import paths
from mpfw.check import facts, layers, literals, sizes
from mpfw.check.sources import Finding
from mpfw.usage import examples

RULES = (layers.check, facts.check, literals.check, sizes.check)


def findings(tree: Path) -> list[Finding]:
    """What breaks a rule, in the order of files and lines."""
    return sorted({finding for rule in RULES for finding in rule(tree)})


@click.command(
    name="check-house",
    epilog=examples(
        "mpfw check-house                 this tree",
        "mpfw check-house .               another one",
    ),
)
@click.argument("tree", type=click.Path(path_type=Path, exists=True), default=paths.ROOT)
def check_house(tree: Path) -> None:
    """Check import direction, that facts stand once, and sizes in the source TREE."""
    found = findings(tree)
    for finding in found:
        click.echo(str(finding), err=True)
    if found:
        raise click.ClickException(f"{len(found)} places break a house rule")
