# SPDX-License-Identifier: MIT
"""Where scenarios run: a Linux of one release, the firmware here, the firmware in a lab.

A room starts its sides when they are first needed and ends them on exit; a side that ended is
started again. `run(scenario)` gives what each part of it printed.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Self

from mpfw import paths
from mpfw.differential import nested
from mpfw.differential.scenarios import HOST_CID, LOOPBACK, SETTINGS, Scenario, port_of
from mpfw.differential.sides import (
    LINUX_PROGRAM,
    TIMEOUT,
    FirmwareSide,
    LinuxSide,
    Side,
    SideError,
    both,
)
from mpfw.guest.driven import AGENT, DrivenGuest
from mpfw.guest.host import local_host
from mpfw.guest.machine import Machine
from mpfw.guest.programs import Program
from mpfw.guest.vsockhost import GUEST_CID
from mpfw.lab import image as lab_image
from mpfw.lab.host import LabHost
from mpfw.lab.lab import Lab

SECONDS = 60.0  # that one scenario may take
_SLOTS = 2  # groups of ports that one may have: to meet, and its own
_BATCH = 16  # scenarios that run in one go
_MODULE = "vhost_vsock"


class Room:
    """What all rooms have. A setting's side is made by the function of that name in `makers`."""

    def __init__(self, makers: dict[str, Callable[[], Side]]):
        self._makers = makers
        self._sides: dict[str, Side] = {}
        self._number = 0
        self._setting = ""

    def side(self, name: str) -> Side:
        """The side "loopback", "guest" or "host", started if need be."""
        if name not in self._sides:
            self._sides[name] = self._makers[name]()
        return self._sides[name]

    def enter(self, setting: str) -> None:
        """Be ready for a setting; what was started for another one ends."""
        if setting != self._setting:
            self.end_sides()  # a Linux has its vsock device in one of them only
            self._setting = setting

    def run_all(self, scenarios: Iterable[Scenario]) -> Iterator[tuple[Scenario, dict[str, str]]]:
        """Each scenario with what its parts printed; many run in one go, by setting."""
        ordered = sorted(scenarios, key=lambda each: SETTINGS.index(each.setting))
        for setting, group in itertools.groupby(ordered, lambda each: each.setting):
            for batch in _batches(list(group)):
                self.enter(setting)
                try:
                    printed = self._run(batch)
                except SideError:
                    self.end_sides()
                    printed = [one for each in batch for one in self._run([each])]
                for each, parts in zip(batch, printed, strict=True):
                    again = len(batch) > 1 and any(_disturbed(text) for text in parts.values())
                    yield each, self.run(each) if again else each.joined(parts)

    def run(self, scenario: Scenario) -> dict[str, str]:
        """What its parts printed: {"script": text}, or {"guest": text, "host": text}."""
        self.enter(scenario.setting)
        try:
            (printed,) = self._run([scenario])
        except SideError:
            self.end_sides()
            (printed,) = self._run([scenario])
        return scenario.joined(printed)

    def _run(self, batch: list[Scenario]) -> list[dict[str, str]]:
        ports = [port_of(self._number + _SLOTS * place) for place in range(len(batch))]
        self._number += _SLOTS * len(batch)
        each = list(zip(batch, ports, strict=True))
        if batch[0].setting == LOOPBACK:
            scripts = [scenario.script(port) for scenario, port in each]
            return [{"script": text} for text in self.side("loopback").run(scripts, SECONDS)]
        guest, host = self.side("guest"), self.side("host")
        guests = [scenario.part("guest", HOST_CID, port) for scenario, port in each]
        hosts = [scenario.part("host", GUEST_CID, port) for scenario, port in each]
        said = both(lambda: host.run(hosts, SECONDS), lambda: guest.run(guests, SECONDS))
        return [{"host": beside, "guest": inside} for beside, inside in zip(*said, strict=True)]

    def end_sides(self) -> None:
        """End what was started; run() starts it anew."""
        for side in self._sides.values():
            side.close()
        self._sides.clear()

    def close(self) -> None:
        """End all of it."""
        self.end_sides()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LinuxRoom(Room):
    """A Linux of one Debian release: for loopback the lab itself, else a guest inside it."""

    def __init__(self, release: str):
        """`release`: bookworm, trixie or sid. Raises DependencyError if its lab cannot be made."""
        self.release = release
        self._host = LabHost(image=lab_image.provide(release))
        makers: dict[str, Callable[[], Side]] = {
            "loopback": lambda: self._start(self._alone),
            "guest": lambda: self._start(self._nested),
            "host": lambda: self._start(self._beside),
        }
        super().__init__(makers)

    @property
    def lab(self) -> Lab:
        """The lab, running."""
        return self._host.lab

    @property
    def kernel(self) -> str:
        """What `uname -r` says there."""
        return self.lab.run(["uname", "-r"]).out.decode().strip()

    def _start(self, program: Callable[[], Program]) -> LinuxSide:
        return LinuxSide(program)

    def _python(self) -> Program:
        return self.lab.spawn(["python3", "-I", "-c", LINUX_PROGRAM])

    def _alone(self) -> Program:
        """A Linux with no vsock device but the loopback."""
        _with_device(self.lab, False)
        return self._python()

    def _beside(self) -> Program:
        _with_device(self.lab, True)
        return self._python()

    def _nested(self) -> Program:
        _with_device(self.lab, True)
        nested.prepare(self.lab)
        return nested.start(self.lab)

    def close(self) -> None:
        super().close()
        self._host.close()


class FirmwareRoom(Room):
    """The firmware: for loopback a guest on this machine without a device, else one in a lab."""

    def __init__(self, image: Path = paths.IMAGE, release: str | None = None):
        """`release`: of the lab, which the host setting needs; None: there is none."""
        self._machine = Machine(image=image)
        self._host = LabHost(image=lab_image.provide(release)) if release else None
        makers: dict[str, Callable[[], Side]] = {
            "loopback": lambda: FirmwareSide(self._here),
            "guest": lambda: FirmwareSide(self._inside),
            "host": lambda: LinuxSide(self._beside),
        }
        super().__init__(makers)

    def _here(self) -> DrivenGuest:
        guest = local_host().guest(self._machine, vsock=False, drive=AGENT)
        guest.__enter__()
        return guest

    def _inside(self) -> DrivenGuest:
        assert self._host is not None, "this room has no lab"
        return self._host.guest(self._machine, drive=AGENT).__enter__()

    def _beside(self) -> Program:
        assert self._host is not None, "this room has no lab"
        return self._host.spawn(["python3", "-I", "-c", LINUX_PROGRAM])

    def close(self) -> None:
        super().close()
        if self._host is not None:
            self._host.close()


def _with_device(lab: Lab, wanted: bool) -> None:
    """Have the lab's kernel with or without its vhost-vsock."""
    there = _MODULE in lab.run(["cat", "/proc/modules"]).out.decode()
    if wanted and not there:
        lab.run(["busybox", "insmod", f"/lab/{_MODULE}.ko"])
    if there and not wanted:
        lab.run(["busybox", "rmmod", _MODULE])


def _batches(scenarios: list[Scenario]) -> Iterator[list[Scenario]]:
    for start in range(0, len(scenarios), _BATCH):
        yield scenarios[start : start + _BATCH]


def _disturbed(printed: str) -> bool:
    """Whether a part may have suffered from one before it that hung, or from a starved machine."""
    return printed.endswith(TIMEOUT) or "\nraised " in f"\n{printed}"
