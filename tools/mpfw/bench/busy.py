# SPDX-License-Identifier: MIT
"""A machine that is not quiet: one processor for everything, or competitors on each of them.

Continuous integration runs on such machines. A guest that spins for an answer has none there as
long as it keeps the processor that the answer needs.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

QUIET = "quiet"
ONE = "one"
FULL = "full"
ABOUT = {
    QUIET: "",
    ONE: "everything on one processor",
    FULL: "as many competitors as processors",
}

option = click.option(
    "--busy",
    type=click.Choice(list(ABOUT)),
    default=QUIET,
    show_default=True,
    help="one: everything on one processor; full: beside as many competitors as processors.",
)


@contextmanager
def machine(kind: str) -> Iterator[None]:
    """Make this machine one of ABOUT for this process and what it starts meanwhile."""
    allowed = os.sched_getaffinity(0)
    competitors: list[subprocess.Popen[bytes]] = []
    try:
        if kind == ONE:
            os.sched_setaffinity(0, {max(allowed)})  # the first takes the devices' interrupts
        elif kind == FULL:
            command = [sys.executable, "-I", "-S", "-c", "while True: pass"]
            competitors += (subprocess.Popen(command) for _ in allowed)
        yield
    finally:
        for each in competitors:
            each.kill()
            each.wait()
        os.sched_setaffinity(0, allowed)
