# SPDX-License-Identifier: MIT
"""Level "real": the image in QEMU, behind a device of ours that lies; after each batch it is
honest, and then the prompt must compute, memory and tables be as before all, an echo work.

- real_guest.py: the guest, and these checks; real_inside.py runs in it.
- real_inject.py: packets and rings, over vhost-user.
- real_pci.py: events, interrupts, registers, over vfio-user and QEMU's multi-process protocol.
- real_runner.py: batches.
"""

from collections.abc import Callable
from functools import partial

from mpfw.fuzz.classes import FuzzClass, Runner
from mpfw.fuzz.real_pci import Events, Interrupts, Registers
from mpfw.fuzz.real_runner import Injected


def _kind(
    name: str, what: str, runner: Callable[[str], Runner], share: int, batch: int
) -> FuzzClass:
    return FuzzClass(name, "real", what, partial(runner, name), share, batch, parallel=False)


CLASSES = [
    _kind("packets", "any packet, as fast as the guest posts buffers", Injected, 700, 20000),
    _kind("rings", "used rings that lie, and words elsewhere in a queue", Injected, 55, 500),
    _kind("programs", "any packet, while programs wait or do not", Injected, 120, 5000),
    _kind("events", "events, new CIDs, NEEDS_RESET", Events, 55, 500),
    _kind("config", "bring-ups with registers of virtio that lie", Registers, 1, 20),
    _kind("pci", "bring-ups with a configuration space that lies", Registers, 1, 20),
    _kind("interrupts", "bring-ups with interrupts of any vector", Interrupts, 1, 20),
]
