# SPDX-License-Identifier: MIT
"""`mpfw forward`: connections between a guest's vsock and TCP or Unix sockets, either way."""

import asyncio
import sys

import click

from mpfw.guest.addresses import FORMS, AddressError, parse
from mpfw.guest.relay import forward_all

_HELP = f"""Hand connections on between a guest's vsock and this machine.

Whoever connects to LISTEN is connected to TARGET; any number of such pairs. Each is one of

\b
{FORMS}

vsock:CID:PORT finds a guest that `mpfw run` has started, whichever vsock device it has, else the
kernel's. Each pair is printed once it listens; then this goes on until Ctrl-C.

\b
Examples:
  mpfw forward tcp:8080 vsock:33:80                      the guest's web server, here on port 8080
  mpfw forward unix:/tmp/app.sock vsock:33:1234          the same at a Unix socket
  mpfw forward vsock:5000 tcp:127.0.0.1:5432             the guest calls CID 2, port 5000
  mpfw forward tcp:8080 uds:/tmp/guest.vsock:80          the guest with that hybrid socket
  mpfw forward tcp:8080 vsock:33:80 vsock:5000 tcp:5432  both directions

Half-close passes where the carrier has it: AF_VSOCK, TCP and Unix sockets do. Behind the hybrid
socket of vhost-device-vsock it does not: a client that stops sending looks to the guest as if it
had hung up, and a guest that stops sending is not heard of until it closes.
"""


@click.command(help=_HELP)
@click.argument("addresses", nargs=-1, required=True, metavar="LISTEN TARGET [LISTEN TARGET]...")
def forward(addresses: tuple[str, ...]) -> None:
    if len(addresses) % 2:
        raise click.UsageError(f"addresses come in pairs, LISTEN TARGET: {addresses[-1]} is alone")
    try:
        pairs = [
            (parse(listen, listening=True), parse(target))
            for listen, target in zip(addresses[::2], addresses[1::2], strict=True)
        ]
        asyncio.run(forward_all(pairs, _complain, _announce))
    except AddressError as error:
        raise click.ClickException(str(error)) from None


def _announce(line: str) -> None:
    print(line, flush=True)


def _complain(sentence: str) -> None:
    print(f"mpfw forward: {sentence}", file=sys.stderr, flush=True)
