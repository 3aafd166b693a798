# SPDX-License-Identifier: MIT
"""A driver for virtio-rng (virtio 1.2, 5.4): the device fills buffers with random bytes.

How to run it:

    $ mpfw run --host none --qemu-arg=-device --qemu-arg=virtio-rng-pci examples/entropy.py
    00:02.0 Unclassified device: Red Hat Virtio RNG [1af4:1005] 36c1b71bbf2e1c02...
"""

import machine
import virtio
from virtio.buffers import Buffers
from virtio.device import VirtioDevice

COUNT = 4  # buffers that the device has
LENGTH = 64  # bytes of each


class Entropy:
    """An entropy device, given its transport; `read()` gives random bytes."""

    def __init__(self, transport):
        self.device = VirtioDevice(transport)  # reset
        self.device.negotiate()  # no features of its own
        self.queue = self.device.queue(0)  # 5.4.2: requestq is the only one
        self.memory = self.device.borrow(COUNT * LENGTH)
        self.buffers = Buffers(self.queue, LENGTH)
        self.buffers.fill([(self.memory.addr + LENGTH * tag, tag) for tag in range(COUNT)])
        self.device.driver_ok()
        self.buffers.show()

    def read(self):
        """Up to LENGTH random bytes; sleeps until they are there. Raises DeviceBroken."""
        used = self.buffers.take()
        while used < 0:
            self.device.check()
            if not self.queue.enable_interrupts():
                machine.wait(-1 if self.queue.vector else 1000)
            used = self.buffers.take()
        self.queue.disable_interrupts()
        tag = used >> 32
        start = LENGTH * tag
        data = bytes(self.memory[start : start + (used & 0xFFFFFFFF)])
        self.buffers.post(self.memory.addr + start, tag)
        return data

    def close(self):
        """Take the device down; its memory is no more ours."""
        self.device.close()


if __name__ == "__main__":
    for transport in virtio.find(virtio.ENTROPY):
        rng = Entropy(transport)
        print(transport, rng.read().hex())
        rng.close()
