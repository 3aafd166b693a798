# SPDX-License-Identifier: MIT
"""The firmware's own modules that also run here: one definition of a layout, whichever side, and
one protocol: what a connection is at the guest's end it is at the device's.

They lie in mpy_modules, beside a `socket` of MicroPython's: so they are not put on Python's path,
but loaded below a package of their own.
"""

import contextlib
import importlib
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import click

from mpfw import paths
from mpfw.device.specialise import Finder

_PACKAGE = "mpfw.device._firmware"
_NAMES = ("portable", "inline", "errnos", "vsock")  # they import these by such names
_LOCK = threading.Lock()
# What a wheel brings along of mpy_modules (mpfw.build.dist).
PARTS = ("portable.py", "inline.py", "errnos.py", "sockets", "virtio", "vsock")


class NoSources(click.ClickException):
    """The firmware's modules are not at hand: one sentence."""


def module(name: str) -> Any:
    """A module of mpy_modules that runs under CPython, such as "vsock.words".

    Raises NoSources in a package that was made without them.
    """
    modules = paths.MODULES
    if not modules.is_dir():
        what = "this installation lacks the firmware's modules"
        raise NoSources(f"{what}: install a wheel of `make dist`, or run mpfw from a checkout")
    with _LOCK, _by_their_names():
        if _PACKAGE not in sys.modules:
            package = types.ModuleType(_PACKAGE)
            package.__path__ = [str(modules)]
            sys.modules[_PACKAGE] = package
            sys.meta_path.insert(0, Finder(_PACKAGE, modules))
        for each in _NAMES:
            sys.modules[each] = importlib.import_module(f"{_PACKAGE}.{each}")
        return importlib.import_module(f"{_PACKAGE}.{name}")


@contextlib.contextmanager
def _by_their_names() -> Iterator[None]:
    """What is imported by one of the names meanwhile is forgotten again."""
    before = {name: sys.modules.pop(name, None) for name in _NAMES}
    try:
        yield
    finally:
        for name, found in before.items():
            sys.modules.pop(name, None)
            if found is not None:
                sys.modules[name] = found


virtio: Any = module("virtio.words")
vsock: Any = module("vsock.words")
packet: Any = module("vsock.packet")
control: Any = module("vsock.control")
credit: Any = module("vsock.credit")
table: Any = module("vsock.table")
types_: Any = module("sockets.types")
