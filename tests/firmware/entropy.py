# SPDX-License-Identifier: MIT
"""Runs in the guest: a driver for virtio-rng (virtio 1.2, 5.4), the smallest user of a queue."""

import machine
import virtio
from virtio.device import VirtioDevice


class Entropy:
    """An entropy device; read() gives random bytes."""

    def __init__(self, function):
        self.device = VirtioDevice(function)
        self.device.negotiate()
        self.queue = self.device.queue(0)
        self.device.driver_ok()
        self.buffer = machine.DMABuffer(4096)

    def wait(self):
        """The next completion; sleeps until the interrupt, or polls where there is none."""
        while True:
            done = self.queue.pop()
            if done >= 0:
                self.queue.disable_interrupts()
                return done
            if not self.queue.enable_interrupts() and self.queue.vector:
                machine.idle()

    def read(self, count):
        """`count` random bytes, at most 4096."""
        head = self.queue.add1(self.buffer.addr, count, True)
        self.queue.publish()
        done = self.wait()
        assert done >> 32 == head
        return bytes(self.buffer[: done & 0xFFFFFFFF])

    def close(self):
        self.device.close()
        self.buffer.free()


def all_devices():
    """A driver for each entropy device of the machine, in bus order."""
    return [Entropy(function) for function in virtio.find(virtio.ENTROPY)]
