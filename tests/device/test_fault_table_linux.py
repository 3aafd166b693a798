# SPDX-License-Identifier: MIT
"""docs/faults.md: the column of Linux in its table. The lab itself is the guest; it boots once,
and anew after a rule that it does not get over."""

import inspect
import tomllib
from pathlib import Path

import pytest
import talk
from test_fault_table import LINUX

from mpfw.device.faults.scripted import ScriptedDevice
from mpfw.lab import image
from mpfw.lab.lab import Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

CALL = inspect.getsource(talk.call)
ASK = f"import sys\n{CALL}\nprint(call(int(sys.argv[1]), float(sys.argv[2]), {talk.WORDS}))\n"
MODULES = "cd /lab/guest; while read -r module; do insmod $module; done <modules 2>/dev/null; true"
BIND = "cd /sys/bus/virtio/drivers/vmw_vsock_virtio_transport; for one in virtio[0-9]*; do"
AGAIN = f"{BIND} echo $one >unbind; echo $one >bind; done"


class Faulty(Lab):
    """A lab whose own vsock is a scripted device."""

    def __init__(self, suite: str):
        self.device = ScriptedDevice()
        super().__init__(image.provide(suite), memory=700)

    def _start(self) -> None:
        self.device.stop()
        self.device.start(Path(self._directory))
        super()._start()

    def command(self) -> list[str]:
        words = super().command()
        words[words.index("q35")] += ",memory-backend=ram"
        memory = f"memory-backend-memfd,id=ram,size={self._memory}M,share=on"
        devices = [word for one in self.device.devices for word in ("-device", one)]
        return [*words, "-object", memory, *self.device.options, *devices]

    def stop(self) -> None:
        super().stop()
        self.device.stop()


class Linux:
    """What talk.outcome() asks of a guest."""

    def __init__(self, suite):
        self.lab = Faulty(suite)
        self.device = self.lab.device
        self.listen = self.device.listen
        self.lab.run(["sh", "-c", MODULES])

    def call(self, function, *arguments):
        """Of talk's functions the one that is asked for."""
        if function is talk.reopened:
            self.lab.run(["sh", "-c", AGAIN])
            return ""
        port, patience, _ = arguments
        asked = ["python3", "-c", ASK, str(port), str(patience)]
        return self.lab.run(asked).out.decode().strip()


@pytest.fixture(scope="module", params=["bookworm", "trixie"])
def booted(request):
    """A function that gives the guest, which works; another one where the last one does not."""
    guests: list[Linux] = []

    def booted():
        if guests and talk.talk(guests[-1], 4999) != talk.ALL:
            guests.pop().lab.stop()
        if not guests:
            guests.append(Linux(request.param))
        return guests[-1]

    yield booted
    for each in guests:
        each.lab.stop()


@pytest.mark.parametrize("rule, says", LINUX, ids=[rule for rule, _ in LINUX])
def test_linux_does_what_the_table_says(booted, rule, says):
    guest = booted()
    keys = tomllib.loads(f"rule = {{ {rule} }}")["rule"]
    there = guest.device.fault(keys.pop("do"), **keys)
    try:
        assert talk.outcome(guest, guest.device) in says.split(" / ")
    finally:
        guest.device.heal()
    assert there.done > 0
