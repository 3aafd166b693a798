# SPDX-License-Identifier: MIT
"""`mpfw lab`: a shell in the lab for a person, with the firmware image at hand."""

import os
import selectors
import socket
import sys
import termios
import threading
import tty
from pathlib import Path

import click

from mpfw import paths
from mpfw.guest.programs import Process
from mpfw.lab import image as lab_image
from mpfw.lab.lab import Lab
from mpfw.usage import examples

_PROMPT = b"# "
_TAIL = 16  # bytes in which a prompt, and what a shell asks its terminal then, have room
_SHELL = 'exec </dev/console >/dev/console 2>&1; exec cttyhack sh /lab/shell "$@"'


@click.command(
    epilog=examples(
        "mpfw lab                            a shell, in which `firmware` boots the image",
        "echo uname -r | mpfw lab            one line for that shell",
        "mpfw lab --suite sid                with a newer kernel",
    )
)
@click.option(
    "--suite", default=lab_image.default_suite, help="Debian suite: bookworm, trixie, sid."
)
@click.option("--image", default=paths.IMAGE, type=click.Path(exists=True, path_type=Path))
def lab(suite: str, image: Path) -> None:
    """A shell in the lab, where the kernel's vhost-vsock is."""
    click.echo(f"lab: booting Debian {suite}'s kernel; this takes some seconds", err=True)
    with Lab(lab_image.provide(suite)) as guest:
        guest.put("/lab/final_vsock.bin", image.read_bytes())
        size = os.get_terminal_size() if sys.stdin.isatty() else None
        arguments = [str(size.lines), str(size.columns)] if size else []
        console = guest.console()
        shell = guest.spawn(["sh", "-c", _SHELL, "shell", *arguments])
        ended, wake = socket.socketpair()

        def watch() -> None:
            shell.wait()
            wake.close()

        threading.Thread(target=watch, daemon=True).start()
        sys.exit(_join_terminal(console, ended, shell))


def _join_terminal(console: socket.socket, ended: socket.socket, shell: Process) -> int:
    """Pass keys and text on until the shell has ended; its exit code."""
    keyboard = sys.stdin.fileno()
    saved = termios.tcgetattr(keyboard) if sys.stdin.isatty() else None
    if saved:
        tty.setraw(keyboard)
    try:
        with selectors.PollSelector() as selector:
            for file in (console, ended):
                selector.register(file, selectors.EVENT_READ)
            said = b""  # last, by the console
            listens = over = False  # what comes before a shell is up is lost
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if console in ready:
                    text = console.recv(1 << 16)
                    os.write(sys.stdout.fileno(), text)
                    said = (said + text)[-_TAIL:]
                    if not listens:
                        selector.register(keyboard, selectors.EVENT_READ)
                        listens = True
                elif ended in ready:
                    return shell.wait()
                if keyboard in ready:
                    data = os.read(keyboard, 4096)
                    over = not data
                    if over:
                        selector.unregister(keyboard)
                    else:
                        console.sendall(data)
                        said = b""
                if over and _PROMPT in said:
                    said = b""
                    console.sendall(b"\x04")  # the end of input, for a shell that reads
    finally:
        if saved:
            termios.tcsetattr(keyboard, termios.TCSADRAIN, saved)
