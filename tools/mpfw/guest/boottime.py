# SPDX-License-Identifier: MIT
"""Power-on to the first prompt, against QEMU's own floor.

The floor is an image whose first instructions write one byte to the serial port and end QEMU.
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
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.usage import examples

EXIT_PORT = 0xF4
EXIT_DEVICE = f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=1"
# The reset vector, 16 bytes below 4 GiB, in 16-bit code:
# mov dx, 0x3f8; mov al, '>'; out dx, al; mov dx, EXIT_PORT; out dx, al; hlt.
FLOOR_CODE = b"\xba\xf8\x03\xb0>\xee\xba" + EXIT_PORT.to_bytes(2, "little") + b"\xee\xf4"


@dataclass(frozen=True)
class BootTime:
    """Medians and all rounds, in milliseconds of wall time."""

    floor: float  # first byte on the serial port
    floor_exit: float  # end of the QEMU process
    prompt: float
    over_floor: float  # prompt - floor
    floors: list[float]
    floor_exits: list[float]
    prompts: list[float]
    log: list[tuple[float, str]]  # of the last boot: milliseconds since reset, line


def floor_image(size: int) -> bytes:
    """A flash image of `size` bytes that prints a byte and ends QEMU with its first code."""
    return bytes(size - 16) + FLOOR_CODE.ljust(16, b"\xf4")


def measure(image: Path = paths.IMAGE, rounds: int = 10, accel: str = "auto") -> BootTime:
    """Boot `image` and the floor in turn, `rounds` times each."""
    with tempfile.TemporaryDirectory(prefix="mpfw-") as directory:
        nothing = Path(directory) / "floor.bin"
        nothing.write_bytes(floor_image(image.stat().st_size))
        floors: list[float] = []
        floor_exits: list[float] = []
        prompts: list[float] = []
        log = ""
        for _ in range(rounds):
            first, end = _time_floor(nothing, accel)
            floors.append(first)
            floor_exits.append(end)
            elapsed, log = _time_to_prompt(image, accel)
            prompts.append(elapsed)
    floor, end, prompt = map(statistics.median, (floors, floor_exits, prompts))
    all_rounds = (floors, floor_exits, prompts)
    return BootTime(floor, end, prompt, prompt - floor, *all_rounds, _parse_log(log))


def _time_floor(image: Path, accel: str) -> tuple[float, float]:
    with Guest(Machine(image=image, accel=accel, devices=(EXIT_DEVICE,))) as guest:
        guest.console.expect(rb">")
        first = guest.elapsed_ms()
        guest.wait()
        return first, guest.elapsed_ms()


def _time_to_prompt(image: Path, accel: str) -> tuple[float, str]:
    with Guest(Machine(image=image, accel=accel, devices=(EXIT_DEVICE,))) as guest:
        guest.console.expect(rb">>> ")
        return guest.elapsed_ms(), guest.debugcon()


def _parse_log(log: str) -> list[tuple[float, str]]:
    lines = re.findall(r"^\[ *(\d+\.\d+)\] (.*)$", log, re.MULTILINE)
    return [(float(seconds) * 1000, text) for seconds, text in lines]


@click.command(
    name="boot-time",
    epilog=examples(
        "mpfw boot-time                   ten boots of each",
        "mpfw boot-time --rounds 3 --json",
    ),
)
@click.option("--image", type=click.Path(path_type=Path, exists=True), default=paths.IMAGE)
@click.option("--rounds", default=10, show_default=True)
@click.option("--accel", default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Everything measured, for machines.")
def boot_time(image: Path, rounds: int, accel: str, as_json: bool) -> None:
    """Measure power-on to the first prompt against QEMU's own floor."""
    result = measure(image, rounds, accel)
    if as_json:
        print(json.dumps(asdict(result), indent=1))
        return
    print(f"medians of {rounds}, wall time from starting QEMU:")
    print(f"  QEMU's floor, first byte on serial {_numbers(result.floor, result.floors)}")
    print(
        f"  QEMU's floor, to its exit          {_numbers(result.floor_exit, result.floor_exits)}"
    )
    print(f"  the first prompt                   {_numbers(result.prompt, result.prompts)}")
    print(f"  prompt over first byte             {result.over_floor:7.1f} ms")
    print("the guest's own log of the last boot, milliseconds since reset:")
    for at, text in result.log:
        print(f"  {at:9.3f}  {text}")


def _numbers(median: float, values: list[float]) -> str:
    return f"{median:7.1f} ms  ({min(values):.1f} to {max(values):.1f})"
