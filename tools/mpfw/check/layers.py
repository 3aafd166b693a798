# SPDX-License-Identifier: MIT
"""Which way imports point in the frozen modules: down; in vsock the protocol knows no device, in
virtio only one transport knows PCI.

Imports inside functions count as well. What is in no layer below, such as `time`, belongs to
MicroPython and may be imported by everybody.
"""

from collections.abc import Iterator
from pathlib import Path

from mpfw.check.sources import Finding, Module, firmware_modules, imports, target

# From the top down; those of one line may import each other.
LAYERS = (
    ("_boot", "_disk", "_overlay", "main", "services", "startup"),
    ("runner",),
    ("apps", "_notify"),
    ("asyncio", "fcntl", "select", "selectors", "socket", "sockets"),
    ("vsock",),
    ("_entropy", "channel"),
    ("virtio",),
    ("pci",),
    ("os",),
    ("_credentials", "fw_cfg", "hob"),
    ("machine",),  # the port's
)
# They know nothing of the layers, so that every layer may import them.
EVERYWHERE = ("errno", "errnos", "inline", "portable")

# The modules of vsock that know a device and its queues ("vsock" is its __init__). All others are
# the protocol: they run on any host, at either end of a wire.
DRIVER = {
    "vsock",
    "vsock.attention",
    "vsock.device",
    "vsock.packets",
    "vsock.pcap",
    "vsock.tap",
    "vsock.transmit",
    "vsock.wait",
}
# What the protocol sees only through the seam.
NOT_FOR_PROTOCOL = {"machine", "micropython", "pci", "uctypes", "virtio"}
SEAM = {"portable", "vsock.portable"}

# The transport: another one is another module beside it.
KNOWS_PCI = "virtio.pci"

_RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def rank(top: str) -> int:
    """How far from the top a module's layer is; those for everywhere are below all others."""
    return _RANK.get(top, len(LAYERS))


_ORDER = " > ".join(", ".join(names) for names in LAYERS)


def check(tree: Path) -> Iterator[Finding]:
    """Imports upwards, and what the protocol may not know."""
    modules = firmware_modules(tree)
    known = {module.name for module in modules}
    for module in modules:
        if module.top in EVERYWHERE:
            continue
        if module.top not in _RANK:
            says = f"{module.top} is in no layer: LAYERS of tools/mpfw/check/layers.py lists them"
            yield Finding(module.path, 1, says)
            continue
        yield from _upwards(module)
        if module.top == "vsock" and module.name not in DRIVER | SEAM:
            yield from _protocol(module, known)
        if module.top == "virtio" and module.name != KNOWS_PCI:
            yield from _no_pci(module, known)


def _upwards(module: Module) -> Iterator[Finding]:
    own = _RANK[module.top]
    for one in imports(module):
        top = one.module.partition(".")[0]
        if _RANK.get(top, own) < own:
            says = f"{module.top} imports {top}, which is above it ({_ORDER})"
            yield Finding(module.path, one.line, says)


def _protocol(module: Module, known: set[str]) -> Iterator[Finding]:
    for one in imports(module):
        reached = target(one, known)
        if reached.partition(".")[0] in NOT_FOR_PROTOCOL:
            says = f"a module of the protocol imports {reached}: only `portable` may"
            yield Finding(module.path, one.line, says)
        elif reached in DRIVER:
            says = f"a module of the protocol imports {reached}, which is the driver's"
            yield Finding(module.path, one.line, says)


def _no_pci(module: Module, known: set[str]) -> Iterator[Finding]:
    for one in imports(module):
        reached = target(one, known)
        if reached.partition(".")[0] == "pci":
            says = f"{module.name} imports {reached}: in virtio only {KNOWS_PCI} knows PCI"
            yield Finding(module.path, one.line, says)
