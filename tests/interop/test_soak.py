# SPDX-License-Identifier: MIT
"""`mpfw soak` for a moment: clients that are killed harm neither those beside them nor memory."""

import time

import pytest

from mpfw.guest.conversation import ECHO_PORT
from mpfw.soak.cli import soak
from mpfw.soak.clients import Broken, Transfer
from mpfw.soak.watch import SCRIPT, Watch

SECONDS = 20


@pytest.mark.timeout(240)
# With much memory the device makes no difference: nobody waits for room.
@pytest.mark.parametrize("memory", ["64M", pytest.param("512M", marks=pytest.mark.once)])
def test_healthy_clients_beside_killed_ones(boot, memory):
    guest = boot(vsock=True, memory=memory, fw_cfg=SCRIPT)
    verdict = soak(guest, SECONDS, SECONDS / 2, 6, 0.25)
    assert verdict.failures == []
    assert verdict.missing == []
    assert min(verdict.rates) > 0.1


@pytest.mark.needs("unread end")
def test_a_client_that_reads_nothing_and_goes_leaves_nothing_behind(boot):
    """The echo is full in both directions then, and has to hear of the end nevertheless."""
    guest = boot(vsock=True, fw_cfg=SCRIPT)
    watch = Watch(guest)
    before = watch.figures()
    with guest.vsock.dial(ECHO_PORT) as connection:
        connection.setblocking(False)
        moved = time.monotonic()
        while time.monotonic() < moved + 2:
            try:
                connection.send(bytes(1 << 16))
                moved = time.monotonic()
            except BlockingIOError:
                time.sleep(0.05)
        assert watch.figures().missing(before)
    assert watch.settled(before, 20) == []


def test_a_transfer_that_the_guest_ends_is_a_failure(boot):
    """So is memory that is not back: the soak itself can fail."""
    guest = boot(vsock=True, fw_cfg=SCRIPT)
    watch = Watch(guest)
    before = watch.figures()
    with guest.vsock.dial(ECHO_PORT) as connection:
        transfer = Transfer(connection, memoryview(bytes(100)))
        assert transfer.run()
        assert watch.figures().missing(before)
        watch.reopen()
        with pytest.raises((Broken, OSError)):
            Transfer(connection, memoryview(bytes(1 << 20))).run()
    assert watch.settled(before, 10) == []
