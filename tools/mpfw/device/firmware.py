# SPDX-License-Identifier: MIT
"""The firmware's own modules that also run here: one definition of a layout, whichever side.

They lie in mpy_modules, beside a `socket` of MicroPython's: so they are not put on Python's path,
but loaded below a package of their own.
"""

import importlib
import sys
import threading
import types
from typing import Any

from mpfw import paths

_PACKAGE = "mpfw.device._firmware"
_SEAM = "portable"  # they import it by this name
_LOCK = threading.Lock()


class NoSources(Exception):
    """The firmware's sources are not at hand: one sentence."""


def module(name: str) -> Any:
    """A module of mpy_modules that runs under CPython, such as "vsock.words".

    Raises NoSources where there is no source tree.
    """
    modules = paths.ROOT / "mpy_modules"
    if not modules.is_dir():
        raise NoSources("a device of one's own needs the source tree: run mpfw from a checkout")
    with _LOCK:
        if _PACKAGE not in sys.modules:
            package = types.ModuleType(_PACKAGE)
            package.__path__ = [str(modules)]
            sys.modules[_PACKAGE] = package
        before = sys.modules.get(_SEAM)
        sys.modules[_SEAM] = importlib.import_module(f"{_PACKAGE}.{_SEAM}")
        try:
            return importlib.import_module(f"{_PACKAGE}.{name}")
        finally:
            if before is None:
                del sys.modules[_SEAM]
            else:
                sys.modules[_SEAM] = before


virtio: Any = module("virtio.words")
vsock: Any = module("vsock.words")
packet: Any = module("vsock.packet")
