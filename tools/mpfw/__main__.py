# SPDX-License-Identifier: MIT
"""`python3 -m mpfw`, and the installed command `mpfw`."""

import gc
import os
import signal
import sys
from typing import NoReturn

from mpfw.run.marks import mark


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["run"]:
        _run()
    from mpfw.cli import main as command

    command(prog_name="mpfw")


def _run() -> NoReturn:
    """`mpfw run`: a mistake in the command line is one sentence, with the status that is ours; at
    the end everything that was started ends at once, without the time that imports take to go."""
    mark("CPython is up")
    gc.disable()  # a seventh of what imports take; mpfw.run.start.start() has it on again
    _prepare()
    mark("the guardian is up")
    import click

    from mpfw.cli import main as command
    from mpfw.guest import channel, guarded

    try:
        status = command(prog_name="mpfw", standalone_mode=False)
    except SystemExit as ending:
        status = ending.code
    except click.ClickException as error:
        print(f"mpfw: {error.format_message()} (mpfw run --help)", file=sys.stderr)
        status = channel.OURS
    except Exception:
        sys.excepthook(*sys.exc_info())
        status = channel.OURS
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass  # nobody reads it any more
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the end is under way
    guarded.end_all()
    mark("nothing is left")
    os._exit(status if isinstance(status, int) else bool(status))


def _prepare() -> None:
    """What a run needs while nothing has been loaded yet: standard streams that are there, Ctrl-C
    without a traceback of ours, and the guardian, which is a copy of this process."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, mode, closefd=False))
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mpfw.guest import guarded

    guarded.the_guardian(fork=True)


if __name__ == "__main__":
    main()
