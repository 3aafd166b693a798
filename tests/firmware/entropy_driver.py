# SPDX-License-Identifier: MIT
"""The example driver of an entropy device, and a program that loads it into a guest."""

from mpfw import paths

DRIVER = (paths.ROOT / "examples/entropy.py").read_text()

# Runs at the guest's prompt.
PROGRAM = f"""
with open("entropy.py", "w") as file:
    file.write({DRIVER!r})

import machine
import virtio
from entropy import Entropy
from virtio.device import VirtioDevice


def all_devices():
    return [Entropy(transport) for transport in virtio.find(virtio.ENTROPY)]


def bare_device():
    # Its queue is empty, for a test's own chains, which go into `buffer`.
    global buffer
    rng = all_devices()[0]
    while rng.queue.in_flight:
        rng.queue.pop()
    buffer = machine.DMABuffer(4096)
    return rng


def popped(queue):
    while True:
        done = queue.pop()
        if done >= 0:
            return done
"""
