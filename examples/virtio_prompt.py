# SPDX-License-Identifier: MIT
r"""A virtio device explored at the prompt: virtio-rng, by hand, step by step.

The script finds the device; -i leaves you at the prompt with its names. `memory` is what the
device may write to. Chapters are those of virtio 1.2.

    $ mpfw run -i --host none --qemu-arg=-device --qemu-arg=virtio-rng-pci \
        examples/virtio_prompt.py
    00:02.0 Unclassified device: Red Hat Virtio RNG [1af4:1005]
    MicroPython v1.25.0 on ...
    Type "help()" for more information.
    >>> device = VirtioDevice(transport)     # 3.1.1: reset, ACKNOWLEDGE, DRIVER
    >>> hex(device.negotiate())              # 2.2: which features both sides have
    '0x130000000'
    >>> queue = device.queue(0)              # 5.4.2: the only queue
    >>> device.driver_ok()                   # 3.1.1: the device may begin
    >>> queue.add1(memory.addr, 16, True)    # 2.7.5: 16 bytes, for the device to write
    0
    >>> queue.publish()                      # 2.7.13: here is a buffer
    >>> queue.pop()                          # 2.7.14: which one came back, how long it is
    16
    >>> bytes(memory[:16]).hex()
    '5d2f0a6f1f0bd64b5a2b2f6f6f1d2a3c'
    >>> machine.poweroff()
"""

import machine
import virtio
from virtio.device import VirtioDevice  # noqa: F401, for you

transport = virtio.find(virtio.ENTROPY)[0]
memory = machine.DMABuffer(4096)
print(transport)
