# SPDX-License-Identifier: MIT
"""`mpfw run-time`: what `mpfw run` costs beside QEMU started by hand, and where that goes.

Both get a guest with the same image and vsock device, in turn. By hand: from QEMU's start to the
READY of the built-in echo. `mpfw run -c 'print(1)'`: from its start to its exit. The vsock daemon
is up in both: it is a group's (mpfw.run.group), where there is no kernel's device.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from mpfw import paths
from mpfw.guest.machine import QEMU, QEMU_VARIABLE, Machine
from mpfw.guest.vsockhost import GUEST_CID, KernelVsock, VsockHost, pick_kind
from mpfw.run import group
from mpfw.run.marks import FILE as MARKS
from mpfw.usage import examples

PROGRAM = "print(1)"
PAUSE = 0.2  # seconds between rounds, in which the daemon turns to its next guest


@dataclass(frozen=True)
class Setting:
    """What both ways share, and what only one of them needs."""

    machine: Machine
    vsock: VsockHost
    words: list[str]  # `mpfw run`'s options


@dataclass
class Times:
    """Milliseconds, a round each."""

    by_hand: list[float] = field(default_factory=list)
    run: list[float] = field(default_factory=list)
    own_daemon: list[float] = field(default_factory=list)
    steps: dict[str, list[float]] = field(default_factory=dict)  # of the run, since the one before


@click.command(name="run-time", epilog=examples("mpfw run-time --rounds 3"))
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--rounds", default=20, show_default=True)
@click.option("--accel", default="auto", show_default=True)
@click.option("--qemu", default=QEMU, show_default=True, envvar=QEMU_VARIABLE)
def run_time(image: Path, rounds: int, accel: str, qemu: str) -> None:
    """Measure `mpfw run -c 'print(1)'` beside QEMU started by hand, to READY."""
    machine = Machine(image=image, accel=accel, qemu=qemu)
    common = ["--image", str(image), "--accel", accel, "--qemu", qemu]
    times = Times()
    if pick_kind() == KernelVsock.kind:
        measure(Setting(machine, KernelVsock(GUEST_CID), common), rounds, times)
    else:
        name = f"run-time-{os.getpid()}"
        vsock = group.join(name, None)
        measure(Setting(machine, vsock, [*common, "--group", name]), rounds, times)
    show(times, rounds)


def measure(setting: Setting, rounds: int, times: Times) -> None:
    """Take the times, both ways in turn; the first round of each is none."""
    with tempfile.TemporaryDirectory(prefix="mpfw-") as name:
        directory = Path(name)
        for number in range(rounds + 1):
            ways: list[tuple[list[float], Callable[[], float]]] = [
                (times.by_hand, lambda: time_by_hand(setting, directory)),
                (times.run, lambda: time_run(setting.words, directory)),
            ]
            for taken, way in ways:
                value = way()
                time.sleep(PAUSE)
                if number:
                    taken.append(value)
            if number:
                for step, value in _steps(directory / "marks", times.run[-1]):
                    times.steps.setdefault(step, []).append(value)
            if "--group" in setting.words:
                own = [word for word in setting.words if word not in setting.words[-2:]]
                value = time_run([*own, "--host", "vhost-user"], directory)
                if number:
                    times.own_daemon.append(value)


def time_by_hand(setting: Setting, directory: Path) -> float:
    """Milliseconds from QEMU's start to READY."""
    vsock = setting.vsock
    machine = setting.machine.with_options(
        devices=vsock.devices, extra=vsock.options, share_memory=vsock.shares_memory
    )
    serial = ("-serial", "stdio", "-monitor", "none")
    command = machine.command(serial, directory / "log", directory)
    start = time.perf_counter()
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as qemu:
        assert qemu.stdout is not None and qemu.stderr is not None
        for line in qemu.stdout:
            if line.startswith(b"READY vsock"):
                taken = _since(start)
                qemu.kill()
                return taken
        raise click.ClickException(f"QEMU by hand: {qemu.stderr.read().decode().strip()}")


def time_run(words: list[str], directory: Path) -> float:
    """Milliseconds from the start of `mpfw run` to its exit."""
    marks = directory / "marks"
    marks.unlink(missing_ok=True)
    program = Path(sys.executable).with_name("mpfw")
    command = [str(program), "run", *words, "-c", PROGRAM]
    environment = {**os.environ, MARKS: str(marks)}
    marks.write_text(f"{time.monotonic()} start\n")
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    taken = _since(start)
    if (done.returncode, done.stdout) != (0, b"1\n"):
        raise click.ClickException(f"mpfw run: {done.stderr.decode().strip()}")
    return taken


def _since(start: float) -> float:
    return (time.perf_counter() - start) * 1000


def _steps(marks: Path, whole: float) -> list[tuple[str, float]]:
    """(step, milliseconds since the one before), of the last run, which took `whole`."""
    lines = [line.split(maxsplit=1) for line in marks.read_text().splitlines()]
    at = [(float(when), step) for when, step in lines]
    steps = [(b[1], (b[0] - a[0]) * 1000) for a, b in zip(at, at[1:], strict=False)]
    return [*steps, ("the process is gone", whole - sum(value for _, value in steps))]


def show(times: Times, rounds: int) -> None:
    """Print the medians, and the table of steps."""
    table = Table(title=f"mpfw run -c '{PROGRAM}', medians of {rounds}, milliseconds")
    for heading in ("step", "median", "from", "to"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    _rows(table, times.steps)
    table.add_section()
    hand, run = statistics.median(times.by_hand), statistics.median(times.run)
    whole = {"mpfw run, from its start to its exit": times.run}
    if times.own_daemon:
        whole["the same with a vsock daemon of its own"] = times.own_daemon
    whole["QEMU by hand, from its start to READY"] = times.by_hand
    _rows(table, whole)
    table.add_section()
    table.add_row("mpfw run takes more by", f"{run - hand:.1f}", "", "")
    Console(width=100).print(table)


def _rows(table: Table, steps: dict[str, list[float]]) -> None:
    for step, values in steps.items():
        numbers: list[Callable[[list[float]], float]] = [statistics.median, min, max]
        table.add_row(step, *(f"{number(values):.1f}" for number in numbers))
