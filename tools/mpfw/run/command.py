# SPDX-License-Identifier: MIT
"""The command `mpfw run`: its options, and what they make of a machine, a device, a program."""

import math
import sys
from pathlib import Path
from typing import Any

import click

from mpfw import paths
from mpfw.guest.machine import QEMU, QEMU_VARIABLE
from mpfw.usage import only_with

_TAKEN_AS_PROGRAM = ("-c", "-m")  # everything after these is the program's


class _Command(click.Command):
    """Options end where the program begins, as Python's do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._marked(args))

    def _marked(self, args: list[str]) -> list[str]:
        """The words with "--" after a program that is an option's value."""
        takes = {
            name: isinstance(one, click.Option) and not one.is_flag
            for one in self.params
            for name in one.opts
        }
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] not in ("-", "--"):
            word = args[at]
            at += 1
            if word.startswith("--"):
                at += "=" not in word and takes.get(word, False)
                continue
            for i in range(1, len(word)):
                if takes.get("-" + word[i], False):
                    at += i + 1 == len(word)  # its value is the next word
                    if "-" + word[i] in _TAKEN_AS_PROGRAM and at <= len(args):
                        return [*args[:at], "--", *args[at:]]
                    break
        return args


def _file_names(ctx: click.Context, param: click.Parameter, start: str) -> list[Any]:
    """What a shell offers for a program's name: files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(start, type="file")]


def _seconds(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
    """A time-out as it was given, unless it is inf or nan, which are floats."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is no number of seconds.", ctx, param)
    return value


_FOLDER = click.Path(path_type=Path)
_PORT = click.IntRange(0, 0xFFFFFFFE)
_FILE = click.Path(path_type=Path, dir_okay=False)
_EPILOG = """\b
Examples:
  mpfw run app.py one two       a script and its arguments
  mpfw run -c 'print(6 * 7)'    a line
  mpfw run -m package.module    a module of this directory
  echo 'print(1)' | mpfw run -  a script from standard input
  mpfw run                      a conversation with the built-in echo, then the console
"""


@click.command(
    cls=_Command,
    epilog=_EPILOG,
    context_settings={"allow_interspersed_args": False, "max_content_width": 99},
)
@click.option("-c", "code", metavar="CODE", help="A program in the command line.")
@click.option("-m", "module", metavar="MODULE", help="A module, run as a program.")
@click.option("-i", "interactive", is_flag=True, help="The prompt when the program has ended.")
@click.option(
    "--cid", type=click.IntRange(3, 0xFFFFFFFE), help="The guest's CID; else a free one."
)
@click.option("--uds-path", type=_FILE, help="Where vhost-device-vsock's socket is to be.")
@click.option(
    "--host",
    type=click.Choice(["auto", "vhost-user", "vhost-vsock", "device", "lab", "none"]),
    default="auto",
    show_default=True,
    help="What carries the guest's vsock device.",
)
@click.option(
    "--datagrams", is_flag=True, help="Its vsock device offers datagrams: --host device."
)
@click.option("--group", metavar="NAME", help="Guests of one name reach each other by CID.")
@click.option("--memory", default="64M", show_default=True, help="As QEMU writes it.")
@click.option("--cpus", type=click.IntRange(1), default=1, show_default=True)
@click.option("--machine", default="q35", show_default=True, help="QEMU's machine: q35 or pc.")
@click.option(
    "--accel", type=click.Choice(["auto", "tcg", "kvm"]), default="auto", show_default=True
)
@click.option("--qemu", metavar="PATH", default=QEMU, show_default=True, envvar=QEMU_VARIABLE)
@click.option(
    "--qemu-arg", "qemu_args", metavar="ARG", multiple=True, help="One more word for QEMU."
)
@click.option("--env", "environment", metavar="NAME=VALUE", multiple=True, help="For os.environ.")
@click.option(
    "--app", "folders", type=_FOLDER, multiple=True, help="Files to come along, as /app."
)
@click.option(
    "--lib",
    "libraries",
    type=_FOLDER,
    multiple=True,
    help="Where imports look, too; compiled here.",
)
@click.option(
    "--repl-port",
    type=_PORT,
    metavar="PORT",
    help="A vsock port of the guest with its REPL, for `mpfw repl`.",
)
@click.option(
    "--log-port",
    type=_PORT,
    metavar="PORT",
    help="The host's vsock port that the guest's log goes to, as syslog messages.",
)
@click.option(
    "--capture", metavar="FILE", help="Where a capture of its vsock packets goes (pcapng)."
)
@click.option(
    "--snaplen",
    type=click.IntRange(0, 65536),
    default=256,
    show_default=True,
    metavar="BYTES",
    help="Of each packet's payload in the capture.",
)
@click.option("--disk", metavar="FILE[,SIZE]", help="What keeps /disk, made if missing (1M).")
@click.option(
    "--timeout",
    type=click.FloatRange(0),
    callback=_seconds,
    metavar="S",
    help="Ends it with status 124.",
)
@click.option("--reboot", is_flag=True, help="machine.reset() starts it again, not status 122.")
@click.option("--keep", is_flag=True, help="The guest lives on afterwards, until Ctrl-C.")
@click.option("--log", type=_FILE, help="Where the guest's log goes.")
@click.option("--dry-run", is_flag=True, help="Print the commands that do this by hand.")
@click.option(
    "--overlay",
    type=_FOLDER,
    envvar="MPFW_OVERLAY",
    help="Modules to run in place of the frozen ones; laid out as mpy_modules is.",
)
@click.option("--gdb", is_flag=True, help="Stop before the first instruction, for gdb.")
@click.option("--image", type=_FILE, default=paths.IMAGE, help="The flash image.")
@click.option("--script", hidden=True, help="What SCRIPT was before it was an argument.")
@click.argument(
    "words",
    nargs=-1,
    type=click.UNPROCESSED,
    metavar="[SCRIPT [ARG]...]",
    shell_complete=_file_names,
)
def run(words: tuple[str, ...], script: str | None, **options: Any) -> None:
    """Run a Python program in a guest: SCRIPT is a file, a directory with main.py, or "-" for
    standard input. Standard streams, arguments and the exit status are the program's.

    Without a program: a conversation both ways between the built-in echo and socat; then, on a
    terminal, the console is yours, otherwise the guest is powered off.
    """
    only_with("capture", "snaplen")
    words = (script, *words) if script is not None else words
    from mpfw.run.parts import Options
    from mpfw.run.start import start

    sys.exit(start(words, Options(**options)))
