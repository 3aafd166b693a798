# SPDX-License-Identifier: MIT
"""`mpfw exits`: VM exits per operation and by cause, of the firmware and of a Linux guest.

Under KVM an exit is what costs, and a count of them hardly depends on what else the machine does.
They are counted in the lab, whose kernel has KVM and vhost-vsock, by KVM's own trace.
"""

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mpfw import paths
from mpfw.bench import guests, linux, vmexits
from mpfw.bench.vmexits import COM1_WRITE, EOI, Exits
from mpfw.build import deps
from mpfw.guest.console import ConsoleError
from mpfw.guest.errors import GuestError
from mpfw.guest.machine import Machine
from mpfw.guest.programs import ProgramError
from mpfw.guest.vsockhost import GUEST_CID
from mpfw.lab.host import LabGuest, LabHost
from mpfw.lab.lab import LabError
from mpfw.usage import examples

PEER = "/tmp/exits.py"
ATTEMPTS = 3
BOOT_SECONDS = 180
SECONDS = 240  # that one operation may take, however busy the machine
CAUSES = 12  # lines of the table of causes


@dataclass(frozen=True)
class Operation:
    """What is counted: a function of ci/bench/exits.py, how often, and for which guests."""

    name: str
    function: str
    times: int
    kinds: tuple[str, ...]


BOOT = "boot, to its first line"
OPERATIONS = (
    Operation("round trip of 64 bytes", "trips", 300, ("script", "echo", "linux")),
    Operation("connection, one byte each way", "connections", 100, ("script", "echo", "linux")),
    Operation("64 KiB from the host", "sink", 200, ("script", "linux")),
    Operation("64 KiB to the host", "source", 200, ("script", "linux")),
    Operation("second of rest", "idle", 10, ("prompt", "script", "linux")),
    Operation("second of rest, dialling", "idle", 10, ("echo",)),
    Operation("second of rest, connected", "held", 10, ("echo",)),
)
LABELS = {"prompt": "prompt", "script": "script", "echo": "built-in echo", "linux": "Linux, C"}


@dataclass
class Counted:
    """The run of an operation with the fewest exits."""

    exits: Exits
    times: int
    totals: list[int] = field(default_factory=list)  # of all its runs

    def as_json(self) -> dict[str, Any]:
        """Exits of one time, in all and by cause; all runs' totals."""
        causes = self.exits.by_cause()
        return {
            "exits": len(self.exits) / self.times,
            "interrupts": self.exits.interrupts / self.times,
            "eoi_per_interrupt": causes.get(EOI, 0) / max(1, self.exits.interrupts),
            "causes": {cause: n / self.times for cause, n in causes.items()},
            "runs": [total / self.times for total in self.totals],
        }


class Sitting:
    """All runs; `counted[operation][kind]` has the best of each. `notes`: what went wrong."""

    def __init__(self, host: LabHost, kinds: dict[str, guests.Kind], tell: Callable[[str], None]):
        self.counted: dict[str, dict[str, Counted]] = {}
        self.notes: list[str] = []
        self._host = host
        self._kinds = kinds
        self._tell = tell

    def run(self, rounds: int) -> None:
        """Every guest in turn, `rounds` times."""
        for number in range(rounds):
            for name, kind in self._kinds.items():
                self._tell(f"round {number + 1} of {rounds}: {LABELS[name]}")
                self._round(name, kind)

    def _round(self, name: str, kind: guests.Kind) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                found = self.once(name, kind)
                break
            except (GuestError, LabError, ProgramError, ConsoleError, OSError) as error:
                what = "given up" if attempt == ATTEMPTS else "repeated"
                self.notes.append(f"{LABELS[name]}, {what}: {_first_and_last(str(error))}")
                self.notes += [f"    the lab: {line}" for line in self._host.last_words()]
                self._tell(self.notes[-1])
                self._host.close()  # what locked up is the lab: another one
        else:
            return
        for operation, times, exits in found:
            at = self.counted.setdefault(operation, {})
            best = at.setdefault(name, Counted(exits, times))
            best.totals.append(len(exits))
            if len(exits) < len(best.exits):
                best.exits = exits

    def once(self, name: str, kind: guests.Kind) -> list[tuple[str, int, Exits]]:
        """Boot it and let it do everything: (operation, times, exits) for each."""
        lab = self._host.lab
        vmexits.prepare(lab)
        lab.put(PEER, (guests.SOURCES / "exits.py").read_bytes())
        vmexits.start(lab)
        with self._guest(kind) as guest:
            guest.console.expect(kind.ready, BOOT_SECONDS)
            # It is over with the last byte that it prints, whatever we take to see that.
            found = [(BOOT, 1, vmexits.take(lab).to_last(COM1_WRITE))]
            for operation in OPERATIONS:
                if name in operation.kinds:
                    words = (operation.function, GUEST_CID, operation.times)
                    lab.run(["python3", PEER, *map(str, words)], timeout=SECONDS)
                    found.append((operation.name, operation.times, vmexits.take(lab)))
        return found

    def _guest(self, kind: guests.Kind) -> LabGuest:
        """The guest; files that QEMU reads are put inside the lab."""
        machine, lab, extra = kind.machine, self._host.lab, []
        for word in machine.extra:
            if Path(word).is_file():
                inside = f"/tmp/{Path(word).name}"
                if lab.run(["sh", "-c", f"[ -e {inside} ]"], check=False).code:
                    lab.put(inside, Path(word).read_bytes())
                word = inside
            extra.append(word)
        return self._host.guest(machine.with_options(extra=tuple(extra)), cid=GUEST_CID)


def _first_and_last(text: str) -> str:
    lines = text.splitlines() or [""]
    return lines[0] if len(lines) == 1 else f"{lines[0]} ... {lines[-1]}"


def _kinds(image: Path, cpu: str | None, with_linux: bool) -> dict[str, guests.Kind]:
    """The guests. Raises DependencyError, if the Linux guest's kernel cannot be fetched."""
    machine = Machine(image=image, memory=guests.MEMORY, cpu=cpu)
    idle = machine.with_options(fw_cfg={"opt/micropython/main.py": b"pass\n"})
    kinds = {
        "prompt": guests.Kind("prompt", "prompt", idle, rb">>> "),
        "script": guests.script(machine),
        "echo": guests.echo(machine),
    }
    if with_linux:
        place = paths.BUILD / "bench"
        subprocess.run(
            ["make", "-s", "-C", guests.SOURCES, f"BUILD={place}", f"{place}/peer"], check=True
        )
        kinds["linux"] = guests.linux_guest(machine, linux.provide(place / "peer"))
    return kinds


def table(counted: dict[str, dict[str, Counted]], kinds: list[str]) -> Table:
    """Exits of one time of each operation, and how many of them ended an interrupt."""
    made = Table(title="VM exits, fewest of the runs (in brackets: EOI per interrupt)")
    made.add_column("what")
    for kind in kinds:
        made.add_column(LABELS[kind], justify="right")
    for operation, by_kind in counted.items():
        row = [operation]
        for kind in kinds:
            if kind in by_kind:
                found = by_kind[kind].as_json()
                row.append(f"{found['exits']:,.2f} ({found['eoi_per_interrupt']:.2f})")
            else:
                row.append("")
        made.add_row(*row)
    return made


def causes(operation: str, by_kind: dict[str, Counted]) -> Table:
    """One operation's exits by cause."""
    found = {kind: counted.as_json()["causes"] for kind, counted in by_kind.items()}
    most: dict[str, float] = {}
    for by_cause in found.values():
        for cause, number in by_cause.items():
            most[cause] = max(most.get(cause, 0), number)
    made = Table(title=operation)
    made.add_column("cause")
    for kind in found:
        made.add_column(LABELS[kind], justify="right")
    for cause in sorted(most, key=lambda cause: -most[cause])[:CAUSES]:
        made.add_row(cause, *(f"{by_cause.get(cause, 0):,.2f}" for by_cause in found.values()))
    return made


@click.command(
    epilog=examples(
        "mpfw exits --rounds 1                    a first look",
        "mpfw exits --cpu host,x2apic=off         without one of the processor's features",
    )
)
@click.option("--rounds", default=5, show_default=True, help="Runs; the one with fewest counts.")
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--cpu", help="The guests' CPU model, in place of the lab's own (host).")
@click.option("--processors", default=2, show_default=True, help="Virtual ones of the lab.")
@click.option("--kind", "only", type=click.Choice(list(LABELS)), multiple=True, help="These only.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=paths.BUILD / "bench" / "exits.json",
    help="File for all of it as JSON.",
)
def exits(
    rounds: int, image: Path, cpu: str | None, processors: int, only: tuple[str, ...], output: Path
) -> None:
    """Count VM exits in the lab: of a round trip, a connection, a boot, a second of rest."""
    wanted = only or tuple(LABELS)
    try:
        kinds = _kinds(image, cpu, "linux" in wanted)
        with LabHost(processors=processors) as host:
            sitting = Sitting(
                host,
                {name: kinds[name] for name in wanted},
                lambda text: click.echo(text, err=True),
            )
            sitting.run(rounds)
            notes = [*host.notes, *sitting.notes]
    except (deps.DependencyError, GuestError, LabError) as error:
        raise click.ClickException(str(error)) from error
    console = Console(width=110)
    console.print(table(sitting.counted, list(wanted)))
    for operation, by_kind in sitting.counted.items():
        console.print(causes(operation, by_kind))
    for note in notes:
        console.print(f"- {note}")
    about = {"cpu": cpu or "host", "processors of the lab": processors, "rounds": rounds}
    result = {
        operation: {kind: counted.as_json() for kind, counted in by_kind.items()}
        for operation, by_kind in sitting.counted.items()
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(
        json.dumps({"about": about, "exits": result, "notes": notes}, indent=1) + "\n"
    )
    click.echo(f"{output} is written")
