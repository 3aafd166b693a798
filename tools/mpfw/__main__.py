# SPDX-License-Identifier: MIT
"""`python3 -m mpfw`, and the installed command `mpfw`."""

import os
import signal
import sys
from typing import NoReturn


def main() -> None:
    """The command line."""
    runs = sys.argv[1:2] == ["run"]
    if runs:
        _prepare()
    from mpfw.cli import main as command

    try:
        command(prog_name="mpfw")
    except SystemExit as ending:
        if runs:
            _end(ending)
        raise


def _end(ending: SystemExit) -> NoReturn:
    """End with everything that was started, without the time that taking it apart would cost."""
    from mpfw.guest import guarded

    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            pass  # nobody reads it any more
    guarded.end_all()
    os._exit(ending.code if isinstance(ending.code, int) else bool(ending.code))


def _prepare() -> None:
    """What a run needs while nothing has been loaded yet: standard streams that are there, Ctrl-C
    without a traceback of ours, and the guardian, which is a copy of this process."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from mpfw.guest import guarded

    guarded.the_guardian(fork=True)


if __name__ == "__main__":
    main()
