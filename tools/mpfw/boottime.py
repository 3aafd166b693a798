# SPDX-License-Identifier: MIT
"""Power-on to the first prompt, against QEMU's own floor: an image that ends it at once.

Wall time from starting the QEMU process, both machines in turn, so that what else the host does
meets both.
"""

import json
import re
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from mpfw import paths
from mpfw.guest import Guest
from mpfw.machine import Machine

EXIT_PORT = 0xF4
EXIT_DEVICE = f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1"
# The reset vector, 16 bytes below 4 GiB, in 16-bit code: mov dx, EXIT_PORT; out dx, al; hlt.
EXIT_CODE = b"\xba" + EXIT_PORT.to_bytes(2, "little") + b"\xee\xf4"


@dataclass(frozen=True)
class BootTime:
    """Medians and all rounds, in milliseconds of wall time."""

    floor: float
    prompt: float
    over_floor: float
    floors: list[float]
    prompts: list[float]
    log: list[tuple[float, str]]  # of the last boot: milliseconds since reset, line


def floor_image(size: int) -> bytes:
    """A flash image of `size` bytes that ends QEMU with its first instructions."""
    return bytes(size - 16) + EXIT_CODE.ljust(16, b"\xf4")


def measure(image: Path = paths.IMAGE, rounds: int = 10, accel: str = "auto") -> BootTime:
    """Boot `image` and the floor in turn, `rounds` times each."""
    with tempfile.TemporaryDirectory(prefix="mpfw-") as directory:
        nothing = Path(directory) / "floor.bin"
        nothing.write_bytes(floor_image(image.stat().st_size))
        floors, prompts, log = [], [], ""
        for _ in range(rounds):
            floors.append(_time_to_exit(nothing, accel))
            elapsed, log = _time_to_prompt(image, accel)
            prompts.append(elapsed)
    floor, prompt = statistics.median(floors), statistics.median(prompts)
    return BootTime(floor, prompt, prompt - floor, floors, prompts, _parse_log(log))


def _time_to_exit(image: Path, accel: str) -> float:
    with Guest(Machine(image=image, accel=accel, devices=(EXIT_DEVICE,))) as guest:
        guest.wait()
        return guest.elapsed_ms()


def _time_to_prompt(image: Path, accel: str) -> tuple[float, str]:
    with Guest(Machine(image=image, accel=accel, devices=(EXIT_DEVICE,))) as guest:
        guest.console.expect(rb">>> ")
        return guest.elapsed_ms(), guest.debugcon()


def _parse_log(log: str) -> list[tuple[float, str]]:
    lines = re.findall(r"^\[ *(\d+\.\d+)\] (.*)$", log, re.MULTILINE)
    return [(float(seconds) * 1000, text) for seconds, text in lines]


@click.command(name="boot-time")
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--rounds", default=10, show_default=True)
@click.option("--accel", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Everything measured, for machines.")
def boot_time(image, rounds, accel, as_json):
    """Measure power-on to the first prompt against QEMU's own floor."""
    result = measure(image, rounds, accel)
    if as_json:
        print(json.dumps(asdict(result), indent=1))
        return
    print(f"medians of {rounds}, wall time from starting QEMU:")
    print(f"  QEMU's floor        {result.floor:7.1f} ms  {_spread(result.floors)}")
    print(f"  the first prompt    {result.prompt:7.1f} ms  {_spread(result.prompts)}")
    print(f"  more than the floor {result.over_floor:7.1f} ms")
    print("the guest's own log of the last boot, milliseconds since reset:")
    for at, text in result.log:
        print(f"  {at:9.3f}  {text}")


def _spread(values: list[float]) -> str:
    return f"({min(values):.1f} to {max(values):.1f})"
