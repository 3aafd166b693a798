# SPDX-License-Identifier: MIT
"""The command `mpfw expand`."""

import shutil
from pathlib import Path

import click

from mpfw.expand.modules import ExpandError
from mpfw.expand.tree import expand_tree


@click.command()
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
def expand(source: Path, target: Path) -> None:
    """Write the modules in SOURCE to TARGET: constants folded, @inline calls expanded."""
    try:
        expand_tree(source, target)
    except ExpandError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise click.ClickException(str(error)) from error
