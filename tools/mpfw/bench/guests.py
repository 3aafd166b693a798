# SPDX-License-Identifier: MIT
"""The benchmark's guests: what they are made of, how they are built and booted.

All run in the same kind of machine, with the same accelerator, memory and vsock device, and are
spoken to by the same program. Knows nothing of what is measured, but for the time of the boot.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from mpfw import paths
from mpfw.bench import linux
from mpfw.bench.client import Client, MeasurementError, Result
from mpfw.guest.boottime import EXIT_DEVICE, floor_image
from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.guest import Guest
from mpfw.guest.machine import Machine
from mpfw.guest.vsockhost import DeviceVsock, VhostUserVsock
from mpfw.image import build as image_build
from mpfw.image import layout

SOURCES = paths.ROOT / "ci" / "bench"
STATS_PORT, HOLD_PORT = 1237, 1238  # of ci/bench/guest.py; every guest echoes on ECHO_PORT
MEMORY = "256M"  # what the Linux guest needs
BOOT_SECONDS = 60


@dataclass(frozen=True)
class Kind:
    """One of the guests that are compared. `services` are those it has beside the echo, `host`
    the vsock device that it gets."""

    name: str
    label: str
    machine: Machine
    ready: bytes  # what it prints once it listens
    services: frozenset[str] = frozenset()
    host: type[VhostUserVsock] = VhostUserVsock


@dataclass(frozen=True)
class Parts:
    """All that is built for a sitting."""

    client: Path
    kinds: dict[str, Kind]
    nothing: Machine  # QEMU's own floor: ends with its first instructions
    kernel: str  # version of the Linux guest's kernel package
    payload_bytes: int  # of the firmware's payload


def build(accel: str, image: Path = paths.IMAGE, peer: bool = True) -> Parts:
    """Build programs and images; without `peer` no Linux guest, for which a kernel is fetched.

    The firmware's own parts have been built by `make image`.
    """
    place = paths.BUILD / "bench"
    subprocess.run(
        ["make", "-s", "-C", SOURCES, f"BUILD={place}", f"FIRMWARE={paths.BUILD / 'firmware'}"],
        check=True,
    )
    machine = Machine(image=image, memory=MEMORY, accel=accel)
    nothing = place / "nothing.bin"
    nothing.write_bytes(floor_image(image.stat().st_size))
    guest = linux.provide(place / "peer") if peer else None
    kinds = [linux_guest(machine, guest)] if guest else []
    kinds += [_floor(machine, place), script(machine), echo(machine)]
    return Parts(
        place / "client",
        {kind.name: kind for kind in kinds},
        machine.with_options(image=nothing, devices=(EXIT_DEVICE,)),
        guest.version if guest else "",
        (paths.BUILD / "port" / "micropython.elf").stat().st_size,
    )


def variants(parts: Parts, images: dict[str, Path]) -> Parts:
    """The same sitting with nothing but the script and the echo of several images, by label."""
    kinds = {}
    for label, image in images.items():
        for name in ("script", "echo"):
            kind = parts.kinds[name]
            machine = kind.machine.with_options(image=image)
            title = f"{label}, {name}"
            kinds[title] = replace(kind, name=title, label=title, machine=machine)
    return replace(parts, kinds=kinds)


def devices(parts: Parts) -> Parts:
    """The same with nothing but the script, on the daemon's device and on `mpfw device`."""
    script = parts.kinds["script"]
    kinds = {
        host.name: replace(script, name=host.name, label=host.name, host=host)
        for host in (VhostUserVsock, DeviceVsock)
    }
    return replace(parts, kinds=kinds)


def linux_guest(machine: Machine, guest: linux.LinuxGuest) -> Kind:
    boot = ("-kernel", guest.kernel, "-initrd", guest.archive, "-append", linux.COMMAND_LINE)
    machine = machine.with_options(image=None, extra=tuple(map(str, boot)))
    return Kind("linux", "Linux, C", machine, rb"READY", frozenset({"bulk", "many"}))


def _floor(machine: Machine, place: Path) -> Kind:
    image = place / "floor.bin"
    image.write_bytes(_image((place / "floor.elf").read_bytes()))
    machine = machine.with_options(image=image)
    return Kind("floor", "bare metal, C", machine, rb"READY", frozenset({"bulk", "many"}))


def script(machine: Machine) -> Kind:
    script = (SOURCES / "guest.py").read_bytes()
    machine = machine.with_options(fw_cfg={"opt/micropython/main.py": script})
    services = frozenset({"bulk", "hold", "stats"})
    return Kind("script", "firmware, script", machine, rb"READY\r", services)


def echo(machine: Machine) -> Kind:
    return Kind("echo", "firmware, built-in echo", machine, rb"READY vsock", frozenset({"many"}))


def _image(payload: bytes) -> bytes:
    firmware = paths.BUILD / "firmware"
    parts = image_build.Parts(
        (firmware / "reset_vector.bin").read_bytes(),
        (firmware / "ipl.elf").read_bytes(),
        payload,
    )
    return image_build.build(layout.load(), parts)


class BenchGuest:
    """A booted guest of some kind. Context manager; entering it waits for the first echoed byte.

    `boot_ms`: from starting QEMU to that byte; `ready_ms`: to the line that says it listens.
    """

    def __init__(self, parts: Parts, kind: Kind):
        self.kind = kind
        self._parts = parts
        self.guest = Guest(kind.machine, kind.host())

    def __enter__(self) -> "BenchGuest":
        self.guest.__enter__()
        try:
            # The daemon's name for the socket that takes host programs.
            self.client = Client(self._parts.client, self.guest.directory / "vsock-33")
            with self.client.start("first", ECHO_PORT, BOOT_SECONDS) as first:
                self._wait_ready()
                self.ready_ms = self.guest.elapsed_ms()
                at = first.go(BOOT_SECONDS)["at_ns"]
            # time.perf_counter() is CLOCK_MONOTONIC, as the client's clock is.
            self.boot_ms = at / 1e6 - self.guest.started_at * 1e3
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def _wait_ready(self) -> None:
        said = self.guest.console.expect(self.kind.ready + rb"|>>> |Kernel panic", BOOT_SECONDS)
        if not re.match(self.kind.ready, said.group()):
            raise MeasurementError(f"{self.kind.label}: does not get ready")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            error.add_note(self.guest.report())
        self.guest.close()

    def run(self, *arguments: str | float, seconds: float = 0.0) -> Result:
        """One measurement (client.c says what and how)."""
        return self.client.run(*arguments, seconds=seconds)

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """While `count` further connections are open and idle."""
        port = HOLD_PORT if "hold" in self.kind.services else ECHO_PORT
        with self.client.start("hold", port, count) as held:
            held.line()
            yield

    def stats(self) -> tuple[int, int]:
        """Bytes in use in the collector's heap and of DMA memory, from a guest with "stats"."""
        with self.guest.vsock.dial(STATS_PORT) as connection:
            heap, dma = connection.makefile().readline().split()
        return int(heap), int(dma)

    def idle_share(self, seconds: float) -> float:
        """The share of one core that QEMU uses while nobody asks it for anything."""
        before = self.guest.cpu_seconds()
        time.sleep(seconds)
        return (self.guest.cpu_seconds() - before) / seconds


def time_nothing(parts: Parts) -> float:
    """Milliseconds from starting QEMU to its end, for a guest that ends it at once."""
    with Guest(parts.nothing, VhostUserVsock()) as guest:
        guest.wait()
        return guest.elapsed_ms()
