# SPDX-License-Identifier: MIT
"""Level "fast": the firmware's modules without a machine, on the unit tests' bench.

- engines.py: the two Pythons that run a batch, and what they need (tests/unit/engines.py).
- runner.py: a batch in both, what they came to side by side.

What happens in a batch is made of its bytes by the modules in ../guest, in either engine alike.
"""

from functools import partial

from mpfw.fuzz.classes import FuzzClass
from mpfw.fuzz.fast.runner import FastRunner


def _kind(name: str, what: str, share: int, batch: int, per_input: int = 24) -> FuzzClass:
    return FuzzClass(name, "fast", what, partial(FastRunner, name, per_input), share, batch)


CLASSES = [
    _kind("packets", "any packet, in any order, to connections in all states", 5, 1500),
    _kind("rings", "used rings that lie: heads, lengths, indices", 4, 1000),
    _kind("events", "events, new CIDs, NEEDS_RESET", 3, 1000),
    _kind("programs", "calls that wait or do not, while all that happens", 3, 1000, 48),
    _kind("interrupts", "handlers between any two calls, with news and without", 2, 1000, 48),
    _kind("config", "bring-up: features, queues, CIDs, vectors, resets", 1, 200, 120),
    _kind("pci", "configuration space, bridges, BARs, capabilities, MSI-X tables", 1, 100, 300),
    _kind("fw_cfg", "directories, sizes, DMA that fails, contents that change", 1, 300, 60),
]
