# SPDX-License-Identifier: MIT
"""os.urandom and the seed of `random`: the CPU, virtio-rng, or a warning in the log."""

import pytest

WARNING = "WARNING os: random numbers can be guessed"
DRAW = "import os; print(os.urandom(20) != os.urandom(20), len(os.urandom(1000)), os.urandom(0))"
DRAWN = "True 1000 b''\n"
SEED = "import random; print(random.getrandbits(32) != random.getrandbits(32))"
SOURCES = {
    "RDRAND": {"cpu": "qemu64,+rdrand"},
    "virtio-rng": {"devices": ("virtio-rng-pci",)},
    "virtio-rng without interrupts": {"devices": ("virtio-rng-pci,vectors=0",)},
}


@pytest.fixture
def prompt(boot):
    """prompt(**machine): a guest at its prompt; its CPU has no generator unless asked for."""

    def started(**machine):
        guest = boot(**{"cpu": "qemu64"} | machine)
        guest.console.wait_prompt()
        return guest

    return started


@pytest.mark.parametrize("machine", SOURCES.values(), ids=SOURCES)
def test_a_source_gives_without_a_warning(prompt, machine):
    guest = prompt(**machine)
    assert guest.console.exec(DRAW) == DRAWN
    assert guest.console.exec(SEED) == "True\n"
    assert "WARNING" not in guest.debugcon()


@pytest.mark.parametrize("first, gives", [(DRAW, DRAWN), (SEED, "True\n")])
def test_without_any_the_log_warns_once(prompt, first, gives):
    guest = prompt()
    assert WARNING not in guest.debugcon()  # nobody asked
    assert guest.console.exec(first) == gives
    guest.console.exec(DRAW)
    assert guest.debugcon().count(WARNING) == 1


def test_two_guests_do_not_draw_the_same(prompt):
    guests = [prompt(devices=("virtio-rng-pci",)) for _ in range(2)]
    code = "import os, random; print(os.urandom(8), random.getrandbits(32))"
    assert len({guest.console.exec(code) for guest in guests}) == 2


def test_a_program_may_have_the_device_for_itself(prompt):
    guest = prompt(devices=("virtio-rng-pci",))
    code = """
import os, virtio
from virtio.device import VirtioDevice
os.urandom(8)
mine = VirtioDevice(virtio.find(virtio.ENTROPY)[0])
mine.negotiate()
print(len(os.urandom(8)), mine.status)
mine.close()
print(len(os.urandom(8)))
"""
    guest.console.exec(code.partition("mine")[0])
    assert WARNING not in guest.debugcon()
    assert guest.console.exec(code) == "8 11\n8\n"  # ACKNOWLEDGE, DRIVER, FEATURES_OK
    assert WARNING in guest.debugcon()  # while it was taken


def test_a_negative_length_is_refused(prompt):
    assert (
        prompt().console.exec(
            "try:\n import os; os.urandom(-1)\nexcept ValueError as error: print(error)"
        )
        == "negative argument not allowed\n"
    )


def test_platform_and_uname_tell_of_this_machine(prompt):
    guest = prompt()
    guest.console.exec("import os, platform")
    assert guest.console.eval("platform.platform()").startswith("MicroPython-1.25.0-x86_64-")
    assert guest.console.eval("platform.libc_ver()") == ("", "")
    assert guest.console.eval("os.uname()[:2]") == ("x86_64", "x86_64")
    assert guest.console.eval("os.uname().machine") == "QEMU pflash with x86_64"
