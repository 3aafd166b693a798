# SPDX-License-Identifier: MIT
"""`mpfw smoke`: boot a ready image, wait for READY, have one connection echoed. For other CIs."""

import os
import socket
import time
from pathlib import Path

import click

from mpfw import paths
from mpfw.guest.conversation import ECHO_PORT, wait_ready
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine
from mpfw.usage import examples

SIZE = 1 << 20


@click.command(
    epilog=examples(
        "mpfw smoke                       the image that was built here",
        "mpfw smoke OLD.bin               another one",
    )
)
@click.argument("image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--host", "kind", default="auto", show_default=True, help="The vsock device.")
@click.option("--timeout", default=30.0, show_default=True, help="Seconds to wait for READY.")
def smoke(image: Path, kind: str, timeout: float) -> None:
    """Boot IMAGE and have a mebibyte echoed; exit 0 if it came back as it was sent."""
    with local_host(kind).guest(Machine(image=image)) as guest:
        try:
            ready = wait_ready(guest, timeout)
            started = time.perf_counter()
            echoed = echo(guest.vsock.dial(ECHO_PORT), os.urandom(SIZE))
        except Exception as error:
            raise click.ClickException(f"{error}\n{guest.report()}") from error
        if not echoed:
            raise click.ClickException(f"the echo differs from what was sent\n{guest.report()}")
        elapsed = time.perf_counter() - started
        print(f"READY after {ready:.0f} ms; {SIZE} bytes echoed in {elapsed * 1000:.0f} ms")


def echo(connection: socket.socket, data: bytes, chunk: int = 16384) -> bool:
    """Send `data` in chunks, read each back; whether all of it came back unchanged."""
    with connection:
        connection.settimeout(10)
        for at in range(0, len(data), chunk):
            part = data[at : at + chunk]
            connection.sendall(part)
            received = b""
            while len(received) < len(part):
                more = connection.recv(len(part) - len(received))
                if not more:
                    return False
                received += more
            if received != part:
                return False
    return True
