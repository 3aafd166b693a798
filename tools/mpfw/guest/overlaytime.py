# SPDX-License-Identifier: MIT
"""From an edit to the line that the edited module prints on a guest's console: `--overlay`.

The clock starts before the edited module is written and stops when the line has been read. Two
ways, in turn: `mpfw run --overlay` started anew on a pseudo-terminal, and a guest booted by a
harness that runs already, as tests boot theirs.
"""

import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from mpfw import paths
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.guest.overlay import MODULES, OverlayError, overlay
from mpfw.readable import readable
from mpfw.usage import examples

SCRIPT = "opt/micropython/main.py"


@dataclass(frozen=True)
class Edit:
    """A module that has `line`, and a `script` that prints it."""

    overlay: Path  # the directory
    module: Path  # below it
    source: str
    line: str

    @property
    def script(self) -> str:
        """What the guest runs."""
        name = ".".join(self.module.with_suffix("").parts).removesuffix(".__init__")
        return f"from {name} import EDITED\nprint(EDITED)\n"

    def write(self) -> None:
        """Make the edit: from here on the time counts."""
        (self.overlay / self.module).write_text(f'{self.source}\nEDITED = "{self.line}"\n')


def time_harness(edit: Edit, image: Path) -> float:
    """Seconds from the edit until a guest booted here has printed the line."""
    start = time.perf_counter()
    edit.write()
    fw_cfg = overlay(edit.overlay, image).fw_cfg | {SCRIPT: edit.script}
    with Guest(Machine(image=image, fw_cfg=fw_cfg)) as guest:
        guest.console.expect(edit.line)
        return time.perf_counter() - start


def time_terminal(edit: Edit, image: Path) -> float:
    """Seconds until `mpfw run --overlay`, started on a pseudo-terminal, has shown the line."""
    main = edit.overlay.parent / "main.py"
    main.write_text(edit.script)
    command = [sys.executable, "-m", "mpfw", "run", "--image", str(image)]
    command += ["--overlay", str(edit.overlay), str(main)]
    ours, theirs = pty.openpty()
    start = time.perf_counter()
    edit.write()
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    try:
        _read_until(ours, edit.line.encode(), 30)
        return time.perf_counter() - start
    finally:
        process.wait(30)
        os.close(ours)


def _read_until(terminal: int, wanted: bytes, timeout: float) -> None:
    said, deadline = b"", time.monotonic() + timeout
    while wanted not in said:
        left = max(0.0, deadline - time.monotonic())
        if not readable([terminal], left):
            raise click.ClickException(f"no {wanted!r} in {timeout} s; the terminal says {said!r}")
        try:
            said += os.read(terminal, 65536)
        except OSError:  # its other end is closed
            raise click.ClickException(f"it ended; the terminal says {said!r}") from None


@click.command(
    name="overlay-time",
    epilog=examples(
        "mpfw overlay-time --rounds 3",
    ),
)
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--rounds", default=10, show_default=True)
@click.option("--module", default="virtio/queue.py", show_default=True, help="What is edited.")
def overlay_time(image: Path, rounds: int, module: str) -> None:
    """Measure from an edit to the line that the edited module prints, with --overlay."""
    if not (MODULES / module).is_file():
        raise click.ClickException(f"{MODULES / module}: there is no such module")
    source = (MODULES / module).read_text()
    ways = {"on a pseudo-terminal": time_terminal, "in a harness": time_harness}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory(prefix="mpfw-") as name:
        directory = Path(name) / "overlay"
        (directory / module).parent.mkdir(parents=True)
        for number in range(rounds):
            for way, measure in ways.items():
                edit = Edit(directory, Path(module), source, f"edit {number} {way}")
                try:
                    taken[way].append(measure(edit, image))
                except OverlayError as error:
                    raise click.ClickException(str(error)) from None
    print(f"from an edit of {module} to the line that it prints, {rounds} times each:")
    for way, seconds in taken.items():
        median = statistics.median(seconds)
        print(f"  {way:22}{median:6.2f} s  ({min(seconds):.2f} to {max(seconds):.2f})")
