# SPDX-License-Identifier: MIT
"""`mpfw floods`: what a guest's prompt and its other connections have of a flood by its device.

The device is of this process (mpfw.device). At the guest's prompt, in turn: it answers, a program
computes, a connection of another peer carries bytes there and back, Ctrl-C ends a program.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from mpfw import paths
from mpfw.build import deps
from mpfw.device import floods as kinds
from mpfw.device.host import DeviceHost
from mpfw.device.pci_hosts import VfioUserHost
from mpfw.device.policy import Stream
from mpfw.device.vsock import DeviceError
from mpfw.guest.console import ConsoleError
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.errors import GuestError, RemoteError
from mpfw.guest.machine import Machine
from mpfw.lab import qemus
from mpfw.usage import examples

SCRIPT = "opt/micropython/main.py"  # fw_cfg: an empty one leaves the prompt
MEMORIES = ("16M", "64M", "512M")
PATIENCE = 30  # seconds, for whatever should take two at most
SINK, ECHO = 5000, 5001
OTHER_CID = 77  # a sibling's: the peer beside the flood
SERVERS = f"""
import errno, gc, machine, socket, time
def listening(port):
    sock = socket.socket()
    sock.bind((socket.VMADDR_CID_ANY, port))
    sock.listen(16)
    sock.setblocking(False)
    return sock
sink, echo = listening({SINK}), listening({ECHO})
echoing = set()
def serve(sock):
    try:
        if sock is sink or sock is echo:
            for _ in range(16):
                conn, peer = sock.accept()
                conn.setblocking(False)
                if sock is echo:
                    echoing.add(conn)
                background.register(conn)
            background.register(sock)
            return
        for _ in range(16):
            data = sock.recv(4096)
            if not data:
                break
            if sock in echoing:
                sock.send(data)
        else:
            background.register(sock)
            return
    except OSError as error:
        if error.errno == errno.EAGAIN:
            return
    if sock is not sink and sock is not echo:
        echoing.discard(sock)
        sock.close()
background = socket.background(serve)
background.register(sink)
background.register(echo)
def compute(milliseconds):
    begin = time.ticks_ms()
    turns = 0
    while time.ticks_diff(time.ticks_ms(), begin) < milliseconds:
        turns += 1
    return turns
"""
COMPUTE_MS = 200
MEMORY = "(gc.collect(), gc.mem_alloc() + machine.dma_used())[1]"


class FloodError(Exception):
    """The guest did not bear a flood: one sentence."""


@dataclass
class Borne:
    """What was seen of one flood. Times are in seconds."""

    kind: str
    memory: str
    rate: float = 0.0  # taken a second
    prompt: list[float] = field(default_factory=list)  # until it answered
    ctrl_c: float = 0.0
    echo: list[float] = field(default_factory=list)  # 64 bytes there and back, of another peer
    turns: list[int] = field(default_factory=list)  # of a program that computes, in COMPUTE_MS
    alone: int = 0  # the same without a flood
    bytes: int = 0  # heap and DMA memory in use, at most

    @property
    def share(self) -> float:
        """Of its speed alone, what a program had."""
        return statistics.median(self.turns) / self.alone


def flood(kind: str, memory: str, seconds: float, image: Path = paths.IMAGE) -> Borne:
    """Flood a guest of so much memory. Raises FloodError, DependencyError."""
    borne = Borne(kind, memory)
    machine = Machine(image=image, memory=memory, fw_cfg={SCRIPT: ""})
    try:
        if kind == kinds.EVENTS:
            _events(machine, seconds, borne)
        else:
            _packets(machine, seconds, borne)
    except RemoteError as error:
        raise FloodError(f"{kind}, {memory}: {str(error).splitlines()[-1]}") from error
    except (GuestError, ConsoleError, DeviceError, ConnectionResetError) as error:
        raise FloodError(f"{kind}, {memory}: {error}") from error
    return borne


def _packets(machine: Machine, seconds: float, borne: Borne) -> None:
    source = (
        kinds.InterruptFlood()
        if borne.kind == kinds.INTERRUPTS
        else kinds.PacketFlood(borne.kind, SINK)
    )
    guest = DrivenGuest(machine, DeviceHost(source))
    with guest:
        _begin(guest, borne)
        _bear(guest, source, source.connect(ECHO, src_cid=OTHER_CID), seconds, borne)


def _events(machine: Machine, seconds: float, borne: Borne) -> None:
    """Each event ends all connections, as it is meant to: there is none beside the flood."""
    source = kinds.EventFlood()
    machine = machine.with_options(qemu=str(qemus.provide("sid")))
    guest = DrivenGuest(machine, VfioUserHost(source, source.vectors))
    with guest:
        _begin(guest, borne)
        _bear(guest, source, None, seconds, borne)


def _begin(guest: DrivenGuest, borne: Borne) -> None:
    guest.console.wait_prompt(20)
    guest.console.exec(SERVERS)
    borne.alone = max(guest.console.eval(f"compute({COMPUTE_MS})") for _ in range(3))
    borne.bytes = guest.console.eval(MEMORY)


def _bear(
    guest: DrivenGuest,
    source: kinds.PacketFlood | kinds.InterruptFlood | kinds.EventFlood,
    stream: Stream | None,
    seconds: float,
    borne: Borne,
) -> None:
    """Flood, and look at everything in turn until the time is over."""
    source.begin()
    began = time.monotonic()
    while not borne.prompt or time.monotonic() - began < seconds:
        borne.prompt.append(_timed(lambda: _computes(guest)))
        borne.turns.append(guest.console.eval(f"compute({COMPUTE_MS})", PATIENCE))
        borne.bytes = max(borne.bytes, guest.console.eval(MEMORY, PATIENCE))
        if stream is not None:
            borne.echo.append(_timed(lambda: _echoes(stream)))
    guest.console.start_endless(PATIENCE)
    borne.ctrl_c = _timed(lambda: guest.console.interrupt(PATIENCE))
    taken, took = source.end(), time.monotonic() - began
    borne.rate = taken / took
    _computes(guest)


def _timed(action: Callable[[], None]) -> float:
    begun = time.monotonic()
    action()
    return time.monotonic() - begun


def _computes(guest: DrivenGuest) -> None:
    answer = guest.console.exec("print(6 * 7)", PATIENCE)
    if answer != "42\n":
        raise FloodError(f"6 * 7 is {answer!r} at the prompt")


def _echoes(stream: Stream) -> None:
    data = bytes(range(64))
    stream.send(data)
    if stream.receive(len(data), PATIENCE) != data:
        raise FloodError("the connection of another peer has ended")


@click.command(
    epilog=examples(
        "mpfw floods                             all kinds, three sizes of guests, 10 s each",
        "mpfw floods --seconds 2 --memory 64M --kind REQUEST --kind RST",
    )
)
@click.option("--seconds", default=10.0, show_default=True, help="How long each flood lasts.")
@click.option(
    "--memory", multiple=True, default=MEMORIES, show_default=True, help="Of the guests."
)
@click.option(
    "--kind", multiple=True, type=click.Choice(kinds.KINDS), help="Only these. [default: all]"
)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=paths.IMAGE,
    help="Another image than this tree's.",
)
def floods(seconds: float, memory: tuple[str, ...], kind: tuple[str, ...], image: Path) -> None:
    """Flood guests by a device of our own; what their prompts and other peers have of it."""
    wanted = [(each, size) for each in kind or kinds.KINDS for size in memory]
    table = Table(title=f"floods of {seconds:g} s, at most {kinds.RATE:,} a second")
    for heading, _ in COLUMNS:
        table.add_column(heading, justify="left" if heading in ("flood", "RAM") else "right")
    failed = []
    with Progress(transient=True) as progress:
        for each, size in progress.track(wanted, description="floods"):
            try:
                borne = flood(each, size, seconds, image)
            except (FloodError, deps.DependencyError) as error:
                failed.append(str(error).splitlines()[0])
                table.add_row(each, size, "failed")
            else:
                table.add_row(*[show(borne) for _, show in COLUMNS])
    Console(width=110).print(table)
    if failed:
        raise click.ClickException("\n".join(failed))


COLUMNS: tuple[tuple[str, Callable[[Borne], str]], ...] = (
    ("flood", lambda borne: borne.kind),
    ("RAM", lambda borne: borne.memory),
    ("a second", lambda borne: f"{borne.rate:,.0f}"),
    ("prompt, worst", lambda borne: f"{max(borne.prompt):.3f} s"),
    ("Ctrl-C", lambda borne: f"{borne.ctrl_c:.3f} s"),
    ("another's echo, worst", lambda borne: f"{max(borne.echo):.3f} s" if borne.echo else "-"),
    ("program's speed", lambda borne: f"{borne.share:.0%}"),
    ("memory, most", lambda borne: f"{borne.bytes / (1 << 20):.1f} MiB"),
)
