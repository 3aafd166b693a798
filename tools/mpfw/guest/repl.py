# SPDX-License-Identifier: MIT
"""`mpfw repl`: this terminal as the terminal of a guest's REPL over vsock."""

import asyncio
import os
import pty
import signal
import socket
import sys
import termios
import tty
from contextlib import closing
from pathlib import Path

import click

from mpfw.guest.addresses import Address, AddressError, hybrid_sockets, parse
from mpfw.readable import readable
from mpfw.wakeup import Wakeup

PORT = 8266  # where apps.repl listens unless it was told otherwise
ESCAPE = b"\x1d"  # Ctrl-], as mpremote and telnet have it

_HELP = f"""The REPL of a guest, over vsock.

The guest has it where `mpfw run --repl-port {PORT}` started it, where fw_cfg says
opt/micropython/repl={PORT}, or where a program has called apps.repl.start({PORT}). ADDRESS is
vsock:CID:PORT, uds:PATH:PORT, or what else `mpfw forward -h` lists; without it, port {PORT} of the
one guest that runs. Ctrl-] ends it, the guest goes on.

\b
Examples:
  mpfw repl vsock:33:{PORT}
  mpfw repl uds:/tmp/guest.vsock:{PORT}

\b
For mpremote, and other programs that know serial ports as sockets:
  mpfw forward tcp:2000 vsock:33:{PORT}
  mpremote connect socket://127.0.0.1:2000 run app.py

\b
For programs that want a terminal, such as `mpremote repl`:
  mpfw repl --pty /tmp/guest.tty vsock:33:{PORT}
  mpremote connect /tmp/guest.tty repl
"""


@click.command(help=_HELP)
@click.option(
    "--pty",
    "link",
    metavar="LINK",
    type=click.Path(path_type=Path),
    help="Not this terminal but a new one, whose name LINK becomes, until Ctrl-C.",
)
@click.argument("address", required=False)
def repl(link: Path | None, address: str | None) -> None:
    if link is None and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.ClickException(
            "this is for a terminal; programs use --pty or `mpfw forward`, see mpfw repl -h"
        )
    try:
        place = _only_guest() if address is None else parse(address)
        connection = asyncio.run(place.dial())
    except AddressError as error:
        raise click.ClickException(str(error)) from None
    with connection:
        connection.setblocking(True)
        if link is not None:
            _serve_pty(connection, link)
            raise click.ClickException(f"{place} has hung up")
        note = f"{place}: Enter shows the prompt, Ctrl-C interrupts what runs, Ctrl-] ends this."
        if not _joined(connection, note):
            raise click.ClickException(f"{place} has hung up")


def _only_guest() -> Address:
    paths = hybrid_sockets()
    if len(paths) != 1:
        count = "no guest runs" if not paths else f"{len(paths)} guests run"
        raise AddressError(f"{count} here: say which is meant, such as vsock:33:{PORT}")
    return parse(f"uds:{paths[0]}:{PORT}")


def _joined(connection: socket.socket, note: str) -> bool:
    """Join terminal and connection until Ctrl-] (True) or until the guest hangs up (False)."""
    settings = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)  # before the word is given: a key typed at once is the guest's
    try:
        print(note, end="\r\n", flush=True)
        return _shuttle(connection)
    except OSError:
        return False
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
        print()


def _serve_pty(connection: socket.socket, link: Path) -> None:
    """Join a terminal of its own, which `link` names, and the connection until the guest hangs up
    or a signal comes. Raises ClickException if there is something by that name."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    ours, theirs = pty.openpty()  # theirs stays open: programs come and go
    tty.setraw(theirs)
    name = os.ttyname(theirs)
    try:
        if link.is_symlink() and not link.exists():
            link.unlink()  # of a terminal that is gone
        link.symlink_to(name)
    except OSError as error:
        raise click.ClickException(f"{link}: {error.strerror}") from None
    try:
        print(f"{link} -> {name}", flush=True)
        with closing(Wakeup()) as wakeup:
            while True:
                ready = readable([ours, connection.fileno(), wakeup.fileno()])
                if connection.fileno() in ready:
                    data = connection.recv(65536)
                    if not data:
                        return
                    _write(data, ours)
                if ours in ready:
                    connection.sendall(os.read(ours, 65536))
    except OSError:
        return
    finally:
        link.unlink(missing_ok=True)


def _leave(number: int, frame: object) -> None:
    raise SystemExit(0)


def _shuttle(connection: socket.socket) -> bool:
    while True:
        ready = readable([sys.stdin, connection])
        if connection in ready:
            data = connection.recv(65536)
            if not data:
                return False
            _write(data, sys.stdout.fileno())
        if sys.stdin in ready:
            typed, escape, _ = os.read(sys.stdin.fileno(), 1024).partition(ESCAPE)
            connection.sendall(typed)
            if escape:
                return True


def _write(data: bytes, to: int) -> None:
    while data:
        data = data[os.write(to, data) :]
