# SPDX-License-Identifier: MIT
"""`mpfw soak`: does the echo serve healthy clients for as long as others die beside them?"""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from mpfw import paths
from mpfw.guest.console import ConsoleError
from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.errors import GuestError
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine
from mpfw.lab.host import lab_host
from mpfw.soak.clients import Client, Tally
from mpfw.soak.watch import SCRIPT, Figures, Watch
from mpfw.usage import examples

HOSTS = ("vhost-user", "vhost-vsock", "device", "lab")
TELLS = {"vhost-vsock", "lab"}  # the guest hears of a client that was killed
_SETTLING = 30.0  # seconds until what has ended is gone everywhere
_HEADING = (
    "  until  transfers  killed   MB/s  heap used  heap free  blocks promised   holding"
    "  connections  refused"
)


@dataclass
class Verdict:
    """How a soak ended; all of it good if there are no failures and nothing is missing."""

    failures: list[str]
    missing: list[str]
    rates: list[float]  # MB/s that came back, by parts
    late: int

    @property
    def good(self) -> bool:
        """Whether all healthy transfers were whole and memory came back."""
        return not self.failures and not self.missing


@contextmanager
def crowd(
    guest: DrivenGuest, tally: Tally, clients: int, kill: float, seed: int
) -> Iterator[None]:
    """While this lasts, so many clients are at work; at the end each finishes its transfer."""
    over = threading.Event()

    def dial() -> Any:
        return guest.vsock.dial_once(ECHO_PORT, 10)

    threads = [Client(dial, tally, over, kill, 1000 * seed + number) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def soak(
    guest: DrivenGuest, seconds: float, part: float, clients: int, kill: float, seed: int = 1
) -> Verdict:
    """Keep a booted guest busy and print a line for each part, `part` seconds long.

    Raises ConsoleTimeout if the guest stops telling its figures.
    """
    watch = Watch(guest)
    warm = Tally()
    with crowd(guest, warm, clients, 0, seed + 1):
        time.sleep(min(5.0, part))
    missing = watch.settled(watch.figures(), 1)  # the first figures come once
    before = watch.figures()
    tally, rates = Tally(failures=warm.failures), list[float]()
    click.echo(_HEADING)
    begin = time.monotonic()
    with crowd(guest, tally, clients, kill, seed):
        while (done := time.monotonic() - begin) < seconds:
            rates.append(_part(watch, tally, min(part, seconds - done), done))
    tells = guest.vsock.kind in TELLS
    if tells or not kill:
        missing = watch.settled(before, _SETTLING)
    if not missing:
        watch.reopen()  # of what a daemon keeps to itself the guest hears now
        missing = watch.settled(before, _SETTLING)
    missing += watch.trouble()
    return Verdict(tally.failures, missing, rates, tally.late)


def _part(watch: Watch, tally: Tally, seconds: float, done: float) -> float:
    """Wait for so long and print what happened; MB/s."""
    start = time.monotonic()
    was = tally.moved, tally.whole, tally.killed
    time.sleep(seconds)
    figures = watch.figures()
    took = time.monotonic() - start
    rate = (tally.moved - was[0]) / took / 1e6
    click.echo(_row(done + took, tally.whole - was[1], tally.killed - was[2], rate, figures))
    return rate


def _row(until: float, whole: int, killed: int, rate: float, now: Figures) -> str:
    minutes = f"{int(until) // 60}:{int(until) % 60:02}"
    blocks = f"{now.promised} of {now.blocks}"
    return (
        f"{minutes:>7}{whole:11}{killed:8}{rate:7.1f}{now.heap_used:11}{now.heap_free:11}"
        f"{blocks:>17}{now.holding:10}{now.connections:13}{now.refused:9}"
    )


def _report(verdict: Verdict) -> None:
    """Print how it ended. Raises ClickException if it did not end well."""
    if len(verdict.rates) > 1 and verdict.rates[0]:
        share = 100 * verdict.rates[-1] / verdict.rates[0]
        click.echo(f"throughput of the last part: {share:.0f} % of the first one's")
    if verdict.late:
        click.echo(f"{verdict.late} transfers failed after their own client stood still")
    for line in verdict.failures[:20]:
        click.echo(f"failed: {line}")
    for line in verdict.missing:
        click.echo(f"not back at the end: {line}")
    if not verdict.good:
        what = f"{len(verdict.failures)} healthy transfers failed"
        raise click.ClickException(f"{what}, {len(verdict.missing)} things did not come back")
    click.echo("every healthy transfer was whole, and all memory came back")


@click.command(
    epilog=examples(
        "mpfw soak --minutes 0.2             a look",
        "mpfw soak --minutes 0.2 --kill 0    the same clients, none of which is killed",
    )
)
@click.option("--minutes", default=30.0, show_default=True)
@click.option("--part", default=5.0, show_default=True, help="Minutes that a printed line is of.")
@click.option("--host", type=click.Choice(HOSTS), default="vhost-user", show_default=True)
@click.option("--memory", default="64", show_default=True, help="The guest's, in MiB.")
@click.option("--clients", default=6, show_default=True, help="How many at a time.")
@click.option("--kill", default=0.25, show_default=True, help="Share that goes in the middle.")
@click.option("--seed", default=1, show_default=True, help="Of sizes, contents, and who goes.")
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
def soak_command(
    minutes: float,
    part: float,
    host: str,
    memory: str,
    clients: int,
    kill: float,
    seed: int,
    image: Path,
) -> None:
    """Have many clients of random sizes talk to the echo, a share of which die in the middle.

    Every transfer whose client is never silent for two seconds must come back whole, and at the
    end the guest must have its memory back.
    """
    machine = Machine(image=image, memory=f"{memory}M", fw_cfg=SCRIPT)
    try:
        with ExitStack() as stack:
            lab = stack.enter_context(lab_host()) if host == "lab" else None
            guest = (lab or local_host(host)).guest(machine, vsock=True)
            stack.enter_context(guest)
            verdict = soak(guest, 60 * minutes, 60 * part, clients, kill, seed)
    except (ConsoleError, GuestError, ConnectionError, TimeoutError) as error:
        raise click.ClickException(str(error)) from error
    _report(verdict)
