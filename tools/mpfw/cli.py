# SPDX-License-Identifier: MIT
"""The command `mpfw`: each subcommand lives in its own module, imported when it is called."""

import importlib

import click

from mpfw import paths
from mpfw.usage import examples

# Subcommand -> where its click command is.
COMMANDS = {
    "bench": "mpfw.bench.cli:bench",
    "boot-time": "mpfw.guest.boottime:boot_time",
    "check-house": "mpfw.check.cli:check_house",
    "compare": "mpfw.bench.compare:compare",
    "count": "mpfw.bench.count:count",
    "device": "mpfw.device.command:device",
    "differential": "mpfw.differential.cli:differential",
    "doctor": "mpfw.guest.doctor:doctor",
    "exits": "mpfw.bench.exits:exits",
    "expand": "mpfw.expand:expand",
    "floods": "mpfw.bench.floods:floods",
    "forward": "mpfw.guest.forward:forward",
    "frozen-names": "mpfw.image.frozen:frozen_names",
    "fresh": "mpfw.build.fresh:fresh",
    "fuzz": "mpfw.fuzz.cli:fuzz",
    "image": "mpfw.image.cli:image",
    "lab": "mpfw.lab.shell:lab",
    "mutate": "mpfw.mutate.cli:mutate",
    "overlay-time": "mpfw.guest.overlaytime:overlay_time",
    "profile": "mpfw.bench.profile:profile",
    "qemu": "mpfw.lab.qemus:qemu",
    "repl": "mpfw.guest.repl:repl",
    "run": "mpfw.run.command:run",
    "run-time": "mpfw.run.runtime:run_time",
    "smoke": "mpfw.guest.smoke:smoke",
    "soak": "mpfw.soak.cli:soak_command",
    "symbolise": "mpfw.guest.symbolise:symbolise",
    "trace": "mpfw.trace.cli:trace",
    "upstream": "mpfw.guest.upstream:upstream",
    "vsock-test": "mpfw.lab.vsocktest:vsock_test",
}
# What works without the source tree, from a wheel.
INSTALLED = {"boot-time", "device", "doctor", "forward", "repl", "run", "smoke", "trace"}


class LazyGroup(click.Group):
    """A group that imports a subcommand's module only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS if paths.IN_TREE else INSTALLED)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        if name not in self.list_commands(ctx):
            what = f"{name!r} needs the source tree of mpfw: it is not in the installed package"
            raise click.ClickException(what)
        module, attribute = COMMANDS[name].split(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


def _say_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        from mpfw.image import origin

        print(f"mpfw {version('mpfw')}, image of commit {origin.commit(paths.IMAGE)}")
        ctx.exit()


@click.command(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "mpfw run app.py one two                  a program in a guest",
        "mpfw doctor                              what works on this machine",
        'eval "$(_MPFW_COMPLETE=bash_source mpfw)"  Tab completes names; zsh and fish have it too',
    ),
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Say which version this is, and of which commit its image was built.",
)
def main() -> None:
    """MicroPython as firmware: build, inspect, boot and test the flash image."""
