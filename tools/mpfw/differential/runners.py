# SPDX-License-Identifier: MIT
"""Runs generated sequences in a room: what each printed, its calls' lines in order."""

from collections.abc import Callable

from mpfw.differential import generate
from mpfw.differential.generate import PRELUDE, Program
from mpfw.differential.rooms import Room
from mpfw.differential.scenarios import HOST_CID, LOOPBACK, MEETING, port_of
from mpfw.differential.sides import SideError, both
from mpfw.guest.vsockhost import GUEST_CID

SECONDS = 20.0  # that one sequence may take
_SLOTS = 2  # groups of ports that a sequence between guest and host has: to meet, and its own


def runner(room: Room, setting: str) -> Callable[[list[Program]], list[str]]:
    """What runs sequences of a setting in a room; if a side ends, the batch is run once more."""
    turn = _Turns(room)
    once = turn.loopback if setting == LOOPBACK else turn.host

    def run(programs: list[Program]) -> list[str]:
        room.enter(setting)
        try:
            return once(programs)
        except SideError:
            room.end_sides()
            return once(programs)

    return run


class _Turns:
    """The ports that a room's sequences have had."""

    def __init__(self, room: Room):
        self._room = room
        self._slot = 0

    def _ports(self, count: int, slots: int) -> list[int]:
        first = self._slot
        self._slot += count * slots
        return [port_of(first + slots * number) for number in range(count)]

    def loopback(self, programs: list[Program]) -> list[str]:
        ports = self._ports(len(programs), 1)
        scripts = [generate.script(*each) for each in zip(programs, ports, strict=True)]
        return self._room.side("loopback").run(scripts, SECONDS, PRELUDE)

    def host(self, programs: list[Program]) -> list[str]:
        ports = self._ports(len(programs), _SLOTS)
        prelude = f"{PRELUDE}\n{MEETING}"
        each = list(zip(programs, ports, strict=True))
        guest, host = self._room.side("guest"), self._room.side("host")
        guests = [generate.part(program, "guest", HOST_CID, port) for program, port in each]
        hosts = [generate.part(program, "host", GUEST_CID, port) for program, port in each]
        printed = both(
            lambda: host.run(hosts, SECONDS, prelude), lambda: guest.run(guests, SECONDS, prelude)
        )
        return [
            generate.woven(program, theirs, beside)
            for program, beside, theirs in zip(programs, *printed, strict=True)
        ]
