# SPDX-License-Identifier: MIT
"""The device level of `mpfw fuzz`: a short run of all classes, and that each can fail."""

import os

import pytest
from click.testing import CliRunner

from mpfw.device import vhost_user
from mpfw.device.memory import GuestMemory, MemoryFault
from mpfw.device.switch import Switch
from mpfw.device.wire import Wire
from mpfw.fuzz.classes import choose
from mpfw.fuzz.cli import fuzz
from mpfw.fuzz.device.packets import Changing, Packets
from mpfw.fuzz.device.rings import Rings
from mpfw.fuzz.device.world import TICK, World


@pytest.mark.timeout(300)
def test_a_short_run_finds_nothing():
    done = CliRunner().invoke(fuzz, ("--level", "device", "--count", "20000", "--jobs", "1"))
    assert done.exit_code == 0, done.output
    rows = {line.split()[0] for line in done.output.splitlines()}
    assert {each.name for each in choose("device")} <= rows


@pytest.mark.parametrize("lies", [Packets, Changing, Rings])
def test_a_batch_follows_from_its_seed(lies):
    def memory(seed):
        with World(seed) as world:
            found = lies(world)
            for _ in range(300):
                world.now += TICK
                found.step()
            found.close()
            return bytes(world.liar.mapped)

    assert memory(5) == memory(5) != memory(6)


def outside(patch):
    """An address outside of memory is another error than the one that is expected."""
    at = GuestMemory.at

    def wrong(self, address, n):
        try:
            return at(self, address, n)
        except MemoryFault as fault:
            raise IndexError(address) from fault

    patch.setattr(GuestMemory, "at", wrong)


def untold(patch):
    """A queue that stops is told to nobody."""
    patch.setattr(Switch, "log", lambda *_: None)


def shared(patch):
    """A guest whose queue breaks takes another one's connections with it."""
    lose = Wire.lose

    def wrong(self):
        for wire in self._outside.wires:
            lose(wire)

    patch.setattr(Wire, "lose", wrong)


def unchecked(patch):
    """A header's length is believed."""
    read = Wire._read

    def wrong(self, chain):
        views = read(self, chain)
        assert not views or sum(map(len, views)) == self._words[6]
        return [*views, memoryview(b"?")] if views else views

    patch.setattr(Wire, "_read", wrong)


def descriptors(patch):
    """What came with a message and nobody took stays open: those are left to the test."""
    left: list[int] = []
    patch.setattr(vhost_user, "_close", left.extend)
    return left


def queues(patch):
    """A queue outside of memory is an error that nobody expects."""
    patch.setattr(vhost_user, "MemoryFault", ZeroDivisionError)


@pytest.mark.parametrize(
    ("name", "hole", "batches"),
    [
        ("rings", outside, 1),
        ("rings", untold, 1),
        ("rings", shared, 1),
        ("packets", unchecked, 1),
        ("messages", descriptors, 14),
        ("messages", queues, 5),
    ],
)
def test_a_hole_is_found(name, hole, batches, monkeypatch):
    left = hole(monkeypatch)
    runner = choose("device", [name])[0].open()
    found = [runner.run(seed, 300, False).failure for seed in range(batches)]
    for descriptor in left or ():
        os.close(descriptor)
    assert any(found)
