# SPDX-License-Identifier: MIT
"""What the commands have in common: examples in their help texts, each of which tests/documents
runs, and options that go with another one."""

import click
from click.core import ParameterSource


def examples(*lines: str) -> str:
    """The end of a command's help; a line is a command, two blanks or more, and what it does."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def only_with(main: str, *others: str) -> None:
    """Refuse a command line of the running command that gives one of the options `others` and not
    `main`, by their parameters' names. Raises click.UsageError."""
    context = click.get_current_context()
    if context.params[main] is not None:
        return
    for name in others:
        if context.get_parameter_source(name) != ParameterSource.DEFAULT:
            option, needed = (f"--{each.replace('_', '-')}" for each in (name, main))
            raise click.UsageError(f"{option} goes with {needed}: give that, too")
