# SPDX-License-Identifier: MIT
"""`python3 -m mpfw`, and the installed command `mpfw`."""

import os
import signal
import sys


def main() -> None:
    """The command line."""
    if sys.argv[1:2] == ["run"]:
        _prepare()
    from mpfw.cli import main as command

    command(prog_name="mpfw")


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
