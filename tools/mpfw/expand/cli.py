# SPDX-License-Identifier: MIT
"""The command `mpfw expand`."""

import shutil
from pathlib import Path

import click

from mpfw.build import deps
from mpfw.expand import native, report, tree
from mpfw.expand.modules import ExpandError
from mpfw.usage import examples


@click.command(
    epilog=examples(
        "mpfw expand mpy_modules expanded             as the build does it",
        "mpfw expand mpy_modules expanded --report    and what became of what",
    )
)
@click.argument("source", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--report",
    "with_report",
    is_flag=True,
    help="Print what was folded and inlined where, and the bytes of native code per function.",
)
def expand(source: Path, target: Path, with_report: bool) -> None:
    """Write the modules in SOURCE to TARGET: constants folded, @inline calls expanded."""
    try:
        expansion = tree.expand(source)
        tree.write(expansion.frozen, source, target)
    except ExpandError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise click.ClickException(str(error)) from error
    if with_report:
        _print_report(expansion)


def _print_report(expansion: tree.Expansion) -> None:
    click.echo("\n".join(report.folded(expansion)) + "\n")
    try:
        micropython = deps.provide("micropython")
        sizes = native.sizes(expansion.texts, micropython)
        before, without = native.sizes_with_calls(expansion.folded, micropython)
    except (native.NativeError, deps.DependencyError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(report.inlined(expansion, sizes)) + "\n")
    click.echo("\n".join(report.native(expansion, sizes, before, without)))
