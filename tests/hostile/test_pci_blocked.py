# SPDX-License-Identifier: MIT
"""A device that wants to be reset while programs wait for it: with an interrupt, and without."""

import blocked
import pytest
from pci_guest import proxied, with_msi

from mpfw.device.vsock_pci import VsockFunction

MAIN = "opt/micropython/main.py"  # fw_cfg: nothing runs in place of the echo
WAYS = {"interrupt": (with_msi, 4), "look": (proxied, 0)}  # how the guest sees it; MSI-X vectors


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("call", blocked.CALLS)
def test_a_program_that_waits_hears_that_the_device_needs_a_reset(image, call, way):
    guests, vectors = WAYS[way]
    function = VsockFunction(blocked.Quiet(), vectors=vectors)
    with guests(image, function, fw_cfg={MAIN: ""}) as guest:
        guest.console.wait_prompt(20)
        wanted = blocked.wait_in(guest, function.policy, call)
        function.needs_reset()
        assert guest.console.finish(10).split() == [str(wanted)]
        assert "needs a reset" in guest.debugcon()
        blocked.goes_on(guest, function.policy)


@pytest.mark.parametrize("way", WAYS)
def test_a_server_of_asyncio_goes_on_after_reopen(image, way):
    guests, vectors = WAYS[way]
    function = VsockFunction(vectors=vectors)
    with guests(image, function, fw_cfg={MAIN: ""}) as guest:
        guest.console.wait_prompt(20)
        blocked.serve(guest)
        function.needs_reset()
        blocked.serves_again(guest, function.policy)


@pytest.mark.parametrize("call", ["poll, connected", "asyncio: read"])
def test_a_program_that_waits_in_poll_hears_of_bytes(image, call, way="look"):
    """Once: without interrupts nothing ended its sleep."""
    guests, vectors = WAYS[way]
    policy = blocked.Quiet()
    function = VsockFunction(policy, vectors=vectors)
    with guests(image, function, fw_cfg={MAIN: ""}) as guest:
        guest.console.wait_prompt(20)
        blocked.wait_in(guest, policy, call)
        policy.accept(blocked.PORT).send(b"x")
        guest.console.finish(10)
