# SPDX-License-Identifier: MIT
"""Fixtures of the tests against a device that lies: a guest beside a device of this process.

Each test sees what a user sees: COM1 and the device. `--image` runs them against another image.
"""

import pytest

from mpfw.device.host import DeviceHost
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine

SCRIPT = "opt/micropython/main.py"  # fw_cfg: what runs instead of the echo
READY = "READY vsock cid=33 port=1234"


class Beside(DrivenGuest):
    """A guest, and the device beside it."""

    def __init__(self, machine, host):
        super().__init__(machine, host)
        self.device = host.device
        self.policy = host.device.policy

    def answers(self, timeout=10):
        """The prompt computes: whatever ran is interrupted by Ctrl-C."""
        assert self.console.eval("6 * 7", timeout) == 42

    def tracebacks(self):
        """What the console shows of errors that nobody expected."""
        text = bytes(self.console.transcript).decode(errors="backslashreplace")
        return text[text.index("Traceback") :] if "Traceback" in text else ""


@pytest.fixture
def beside(image):
    """beside(policy=None, script=None, cid=33, **machine): boot a guest with such a device.

    Without a script it runs the built-in echo.
    """
    booted = []

    def beside(policy=None, script=None, cid=33, **machine):
        entries = {} if script is None else {SCRIPT: script}
        made = Machine(**{"image": image, "fw_cfg": entries} | machine)
        guest = Beside(made, DeviceHost(policy, cid))
        guest.__enter__()
        booted.append(guest)
        return guest

    yield beside
    for guest in reversed(booted):
        guest.close()


@pytest.fixture
def echo(beside):
    """echo(policy=None, **machine): a guest whose echo listens."""

    def echo(policy=None, **machine):
        guest = beside(policy, **machine)
        guest.console.expect(READY, 20)
        return guest

    return echo


@pytest.fixture
def prompt(beside):
    """prompt(policy=None, **machine): a guest at its prompt, for code over the raw REPL."""

    def prompt(policy=None, **machine):
        guest = beside(policy, "", **machine)
        guest.console.wait_prompt(20)
        return guest

    return prompt
