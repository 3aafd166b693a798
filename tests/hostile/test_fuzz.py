# SPDX-License-Identifier: MIT
"""`mpfw fuzz --level real` for a moment: some inputs of each class, and what it would find."""

import random

import pytest

from mpfw.fuzz.real import CLASSES
from mpfw.fuzz.real_guest import Wrong
from mpfw.fuzz.real_runner import RealRunner

SEED = 20
BATCHES = {  # class -> inputs
    "packets": 20_000,
    "rings": 500,
    "programs": 5000,
    "events": 500,
    "config": 5,
    "pci": 20,
    "interrupts": 10,
}


@pytest.fixture
def runner():
    """runner(name): a class at work; its guest ends with the test."""
    made = []

    def runner(name):
        made.append(next(each for each in CLASSES if each.name == name).open())
        return made[-1]

    yield runner
    for each in made:
        each.close()


def test_every_class_is_tried():
    assert [each.name for each in CLASSES] == list(BATCHES)


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch(runner, name):
    outcome = runner(name).run(SEED, BATCHES[name], False)
    assert outcome.failure is None, outcome.failure.what + "\n" + outcome.failure.detail
    assert outcome.inputs == BATCHES[name]


class Spoiling(RealRunner):
    """Does one bad thing to the guest of packets."""

    kind = "vhost-user"

    def __init__(self, code):
        super().__init__("packets")
        self.code = code

    def tell(self, guest, source, count):
        guest.stop()
        guest.console.exec(self.code)
        return count


@pytest.mark.parametrize(
    "code, what",
    [
        ("vsock.get().store.promise(1)", "promised"),
        ("kept = bytearray(300000)", "heap"),
        ("vsock.get().store.take_large()", "spare"),
        ("served._poller = None", "AttributeError"),
        ("import machine; machine.log('x', 'CPU exception')", "CPU exception"),
    ],
)
def test_what_is_wrong_is_found(runner, code, what):
    assert runner("packets").run(SEED, 100, False).failure is None
    failure = Spoiling(code).run(SEED, 1, False).failure
    assert failure is not None and what in failure.what
    assert (failure.level, failure.name, failure.seed, failure.count) == ("real", "packets", 20, 1)


def test_a_guest_that_takes_nothing_is_found(runner, monkeypatch):
    monkeypatch.setattr("mpfw.fuzz.real_runner._STILL", 0.5)
    packets = runner("packets")
    guest = packets.guest()
    guest.guest.qmp("stop")
    with pytest.raises(Wrong, match="takes nothing"):
        packets.tell(guest, random.Random(1), 1000)
    guest.guest.qmp("cont")
