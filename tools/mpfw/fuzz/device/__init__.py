# SPDX-License-Identifier: MIT
"""Level "device": `mpfw device` before a guest, or a QEMU, that lies; in this process.

- guest.py: a guest's memory, rings and notifications, without a guest.
- world.py: a device with a liar, its sibling, and another guest that must not notice anything.
- packets.py, rings.py, messages.py: what the liar does.
- runner.py: batches, and what must hold after each.
"""

from functools import partial

from mpfw.fuzz.classes import FuzzClass
from mpfw.fuzz.device.messages import Messages
from mpfw.fuzz.device.packets import Changing, Packets
from mpfw.fuzz.device.rings import Rings
from mpfw.fuzz.device.runner import DeviceRunner, Lies


def _kind(name: str, what: str, lies: type[Lies], share: int, batch: int) -> FuzzClass:
    return FuzzClass(name, "device", what, partial(DeviceRunner, name, lies), share, batch)


CLASSES = [
    _kind("packets", "any packet: op, type, CID, ports, length, credit, chain", Packets, 8, 2000),
    _kind("changing", "the same, changed while the device reads them", Changing, 4, 2000),
    _kind("rings", "descriptors, indirect tables, indices, heads of either queue", Rings, 7, 2000),
    _kind("messages", "vhost-user: requests, sizes, regions, descriptors", Messages, 1, 500),
]
