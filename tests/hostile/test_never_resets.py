# SPDX-License-Identifier: MIT
"""A device that resets when it is opened, and not when it is closed.

It may still write to all that it was given: that goes to nobody else, and never becomes more.
"""

from pci_guest import proxied, quiet

from mpfw.device import virtio_pci as v
from mpfw.device.vsock_pci import VsockFunction

ROUNDS = 6  # each takes the second that a reset is waited for
USED = "(machine.dma_used(), vsock.get().store.spare)"


class Stubborn(VsockFunction):
    """Its driver takes it down, and it does not say that it has reset; the next one may."""

    def __init__(self):
        super().__init__(vectors=0)
        self.record.keep = False
        self.resists = False
        self.places = []  # of the rings, as often as a driver has given it some
        self.lie(v.COMMON, v.STATUS, 1, lambda status: status | self.resists)

    def _write_status(self, value):
        if value == 0:
            self.resists = self.status != 0
        super()._write_status(value)

    def started(self):
        super().started()
        self.places.append([(queue.desc, queue.size) for queue in self.queues])

    def scribble(self):
        """Write all over the rings that it still has: 26 bytes an entry (2.7)."""
        assert self.bus is not None
        for desc, size in self.places[-1]:
            self.bus.memory.at(desc, 26 * size)[:] = b"\xa5" * (26 * size)


def echoes(guest, function):
    """A program's connection to the host works."""
    function.policy.listen(5000)
    guest.console.exec(
        "sock = socket.socket()\nsock.connect((2, 5000))\nsock.sendall(b'are you there')"
    )
    assert function.policy.accept(5000).receive(13) == b"are you there"


def test_its_memory_is_kept_for_itself_and_does_not_grow(image):
    """Once: 12 KB more with each time."""
    function = Stubborn()
    with proxied(image, function, fw_cfg={"opt/micropython/main.py": ""}) as guest:
        guest.console.wait_prompt(20)
        guest.console.exec("import gc, machine, socket, vsock\nvsock.get()")
        working = guest.console.eval(USED)
        for _ in range(ROUNDS):
            guest.console.exec("vsock.close()")
            assert function.resists
            function.scribble()
            guest.console.exec("vsock.reopen()")
            assert guest.console.eval(USED) == working
            echoes(guest, function)
        assert function.places == function.places[:1] * (ROUNDS + 1)
        quiet(guest)
