# SPDX-License-Identifier: MIT
"""virtio-rng that lies to the driver of examples/entropy.py: a program's own driver is as safe as
the firmware's, since rings and buffers are virtio's."""

import pytest
from pci_guest import computes, proxied, with_msi

from mpfw import paths
from mpfw.device import liars
from mpfw.device.virtio_pci import VirtioFunction

DRIVER = (paths.ROOT / "examples/entropy.py").read_text().partition("\nif __name__")[0]
MAIN = "opt/micropython/main.py"
WAYS = {"interrupts": (with_msi, 2), "none": (proxied, 0)}
ENTROPY = 4  # device type
BYTES = 64
TRY = """
def tried(function):
    try:
        return len(function())
    except OSError as error:
        return -error.errno
"""


class Source(VirtioFunction):
    """An entropy device that fills what it is asked to fill."""

    def __init__(self, vectors):
        super().__init__(ENTROPY, (8,), b"", vectors)
        self.length = BYTES  # that it says to have written
        self.fills = True

    def notified(self, index):
        ring = self.ring(index)
        while self.fills and ring is not None and (ring.waiting or ring.ask()):
            chain = ring.pop()
            assert chain is not None
            ring.push(chain, self.length)
            ring.interrupt()


@pytest.fixture(params=WAYS)
def source(image, request):
    guests, vectors = WAYS[request.param]
    function = Source(vectors)
    with guests(image, function, fw_cfg={MAIN: ""}) as guest:
        guest.console.wait_prompt(20)
        guest.console.exec(DRIVER + TRY)
        yield guest, function


READS = "[tried(rng.read) for _ in range(8)]"


def test_an_entropy_device_that_keeps_to_the_rules(source):
    guest, _ = source
    guest.console.exec("rng = Entropy(virtio.find(virtio.ENTROPY)[0])")
    assert guest.console.eval(READS) == [BYTES] * 8


@pytest.mark.parametrize("length, read", [(0, 0), (1, 1), (BYTES + 1, -5), (0xFFFFFFFF, -5)])
def test_what_it_says_to_have_written_is_checked(source, length, read):
    guest, function = source
    function.length = length
    guest.console.exec("rng = Entropy(virtio.find(virtio.ENTROPY)[0])")
    assert guest.console.eval(READS) == [read] * 8
    computes(guest)


@pytest.mark.parametrize("lie", liars.RECEIVE_LIES, ids=lambda lie: lie.__name__)
def test_a_ring_that_breaks_is_eio(source, lie):
    guest, function = source
    function.fills = False
    guest.console.exec("rng = Entropy(virtio.find(virtio.ENTROPY)[0])")
    guest.console.start(f"print({READS})")
    with function.lock:
        lie(function.queues[0].ring)
    assert guest.console.finish(10) == f"{[-5] * 8}\n"
    function.fills = True
    guest.console.exec("rng.close(); rng = Entropy(virtio.find(virtio.ENTROPY)[0])")
    assert guest.console.eval(READS) == [BYTES] * 8


def test_a_device_that_needs_a_reset_is_eio(source):
    guest, function = source
    function.fills = False
    guest.console.exec("rng = Entropy(virtio.find(virtio.ENTROPY)[0])")
    guest.console.start(f"print({READS})")
    function.needs_reset()
    assert guest.console.finish(10) == f"{[-5] * 8}\n"


WAYS_TO_FAIL = {
    "nothing": {"fills": False},
    "empty buffers": {"length": 0},
    "more than there is room for": {"length": 0xFFFFFFFF},
}


@pytest.mark.parametrize("way", WAYS_TO_FAIL.values(), ids=WAYS_TO_FAIL)
def test_urandom_does_without_a_device_that_gives_nothing(source, way):
    guest, function = source
    for name, value in way.items():
        setattr(function, name, value)
    guest.console.exec("import os")
    assert guest.console.eval("len(os.urandom(100))", 20) == 100
    log = guest.debugcon()
    assert "gives no random numbers: " in log
    assert "WARNING os: random numbers can be guessed" in log
    computes(guest)


def test_urandom_takes_what_a_slow_device_gives_little_by_little(source):
    guest, function = source
    function.length = 7
    guest.console.exec("import os")
    assert guest.console.eval("len(os.urandom(100))", 20) == 100
    assert "WARNING" not in guest.debugcon()
