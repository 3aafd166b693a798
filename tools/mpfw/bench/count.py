# SPDX-License-Identifier: MIT
"""`mpfw count OLD [NEW]`: how many instructions a guest takes for what programs do most.

QEMU counts them (-icount), so that the figures hardly depend on what else the machine does: on a
shared machine they show what times cannot. They are no times: an instruction that leaves the
translated code, such as an access to a device, counts as one.
"""

import re
import socket
import threading
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mpfw import paths
from mpfw.guest.errors import GuestError
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.guest.vsockhost import VhostUserVsock
from mpfw.usage import examples

SCRIPT = paths.ROOT / "ci" / "bench" / "count.py"
PORT = 5000  # of the host, which the script calls
BYTES = 64 * 200  # what the host sends when it is the guest's turn to take


@click.command(
    epilog=examples(
        "mpfw count OLD.bin               OLD.bin, and the image that was built here",
    )
)
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument(
    "new", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=paths.IMAGE
)
def count(old: Path, new: Path) -> None:
    """Count instructions of image OLD and of NEW (this tree's)."""
    try:
        before, after = counted(old), counted(new)
    except GuestError as error:
        raise click.ClickException(str(error)) from error
    table = Table(title="instructions, the fewest of many times")
    for heading in ("what", "old", "new", "new to old"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, number in before.items():
        if name in after:
            table.add_row(
                name, f"{number:,}", f"{after[name]:,}", f"{after[name] / number - 1:+.1%}"
            )
    Console(width=100).print(table)


def counted(image: Path) -> dict[str, int]:
    """Instructions by what they are for, with the given image. Raises GuestError."""
    machine = Machine(
        image=image,
        accel="tcg",
        fw_cfg={"opt/micropython/main.py": SCRIPT.read_bytes(), "opt/micropython/argv": str(PORT)},
        extra=("-icount", "shift=0"),
    )
    vsock = VhostUserVsock()
    with Guest(machine, vsock) as guest:
        listener = vsock.listen(PORT)
        thread = threading.Thread(target=_peer, args=(listener,), daemon=True)
        thread.start()
        guest.wait(60)
        listener.close()
        said = bytes(guest.console.transcript).decode(errors="replace")
    return {name: int(number) for name, number in re.findall(r"^(.+): (\d+)\r?$", said, re.M)}


def _peer(listener: socket.socket) -> None:
    """Take what comes; when asked, give something to take."""
    connection, _ = listener.accept()
    with connection:
        while data := connection.recv(1 << 16):
            if data.endswith(b"now you"):
                connection.sendall(bytes(BYTES))
