# SPDX-License-Identifier: MIT
"""`mpfw run`: boot the image, hold a conversation both ways, then the console or power-off."""

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click

from mpfw import paths
from mpfw.guest.console import Console, ConsoleError
from mpfw.guest.conversation import ConversationFailed, converse, summary
from mpfw.guest.debugger import Stub, stub
from mpfw.guest.disk import Disk, DiskError
from mpfw.guest.guest import Guest, GuestError
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine, pick_accelerator
from mpfw.guest.overlay import OverlayError, overlay
from mpfw.image.built import Build, NotBuiltError

ESCAPE = b"\x01"  # Ctrl-A, as in QEMU's own multiplexed console


@click.command()
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--memory", default="64M", show_default=True, help="As QEMU writes it.")
@click.option("--accel", default="auto", show_default=True, help="auto, tcg or kvm.")
@click.option("--host", "kind", default="auto", show_default=True, help="The vsock device.")
@click.option("--script", type=click.Path(path_type=Path, exists=True), help="main.py to run.")
@click.option(
    "--overlay",
    "directory",
    type=click.Path(path_type=Path),
    envvar="MPFW_OVERLAY",
    help="Modules to run in place of the frozen ones; laid out as mpy_modules is.",
)
@click.option(
    "--disk",
    metavar="FILE[,SIZE]",
    help="The file that keeps /disk, made if it is missing (1M).",
)
@click.option("--gdb", is_flag=True, help="Stop before the first instruction, for gdb.")
@click.argument("argv", nargs=-1)
def run(
    image: Path,
    memory: str,
    accel: str,
    kind: str,
    script: Path | None,
    directory: Path | None,
    disk: str | None,
    gdb: bool,
    argv: tuple[str, ...],
) -> None:
    """Boot the firmware and talk to it.

    Without --script: a conversation both ways between the built-in echo and socat. With it, the
    guest runs that file, with ARGV, and only the console is shown. Then, on a terminal, the
    console is yours (Ctrl-A x ends it); otherwise the guest is powered off.

    With --gdb the guest waits for gdb, whose command line is printed, and there is no
    conversation; without a terminal the console is shown until the guest is off.
    """
    accel = pick_accelerator() if accel == "auto" else accel
    fw_cfg = _fw_cfg(script, argv) | _laid_over(directory, image)
    machine = Machine(
        image=image, disk=_disk(disk, image), memory=memory, accel=accel, fw_cfg=fw_cfg
    )
    host = local_host(kind)
    print(f"{image.name}: accelerator {accel}, vsock device {host.kind}")
    with ExitStack() as stack:
        if gdb:
            machine = machine.with_options(extra=stack.enter_context(_stub(image)).options)
        guest = stack.enter_context(host.guest(machine))
        try:
            if script is None and not gdb:
                print(summary(converse(guest)), flush=True)
            if sys.stdin.isatty() and sys.stdout.isatty():
                hand_over(guest.console)
            elif gdb:
                watch(guest)
            else:
                power_off(guest)
        except (ConversationFailed, ConsoleError, GuestError) as error:
            print(guest.report(), file=sys.stderr)
            raise click.ClickException(str(error).splitlines()[0]) from None


def _fw_cfg(script: Path | None, argv: tuple[str, ...]) -> dict[str, str | bytes]:
    entries: dict[str, str | bytes] = {}
    if script is not None:
        entries["opt/micropython/main.py"] = script.read_bytes()
    if argv:
        entries["opt/micropython/argv"] = "".join(word + "\0" for word in argv)
    return entries


def _disk(text: str | None, image: Path) -> Disk | None:
    try:
        return Disk.parse(text).prepare(image) if text is not None else None
    except DiskError as error:
        raise click.ClickException(str(error)) from None


def _laid_over(directory: Path | None, image: Path) -> dict[str, bytes]:
    """The fw_cfg entry with the modules of an overlay; says which they are."""
    if directory is None:
        return {}
    try:
        modules = overlay(directory, image)
    except OverlayError as error:
        raise click.ClickException(str(error)) from None
    print(modules)
    return modules.fw_cfg


@contextmanager
def _stub(image: Path) -> Iterator[Stub]:
    """A gdb stub for a guest that runs `image`; says how gdb is attached."""
    try:
        Build().check(image)  # whose symbols gdb gets
    except NotBuiltError as error:
        raise click.ClickException(str(error)) from None
    with stub() as listening:
        print(f"stopped until gdb says continue:\n  {listening}", flush=True)
        yield listening


def watch(guest: Guest) -> None:
    """Show the console until the guest is off."""
    while not guest.console.closed:
        _write(guest.console.unread())
        time.sleep(0.02)
    if guest.wait() != 0:
        raise GuestError(f"QEMU ended with {guest.wait()}")


def power_off(guest: Guest) -> None:
    """Interrupt what runs, ask MicroPython to power the machine off, wait for QEMU's end."""
    guest.console.interrupt()
    guest.console.send(b"import machine; machine.poweroff()\r")
    code = guest.wait()
    if code != 0:
        raise GuestError(f"QEMU ended with {code}")
    print("the guest has powered itself off")


def hand_over(console: Console) -> None:
    """Join this terminal and the guest's console until Ctrl-A x, or until the guest is off."""
    settings = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)  # before the word is given: a key typed at once is the guest's
    try:
        print(
            "The console is yours: Ctrl-C for the prompt, Ctrl-A x to end.", end="\r\n", flush=True
        )
        _shuttle(console)
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
        print()


def _shuttle(console: Console) -> None:
    escaped = False
    while not console.closed:
        _write(console.unread())
        if not select.select([sys.stdin], [], [], 0.02)[0]:
            continue
        for key in os.read(sys.stdin.fileno(), 1024):
            byte = bytes([key])
            if escaped and byte in b"xX":
                return
            escaped = not escaped and byte == ESCAPE
            if not escaped:
                console.send(byte)
    _write(console.unread())


def _write(data: bytes) -> None:
    if data:
        os.write(sys.stdout.fileno(), data)
