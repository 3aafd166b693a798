# SPDX-License-Identifier: MIT
"""A guest that is a Python: boot it, run code in it, talk vsock with it. docs/api.md describes it.

Importing the package loads nothing but this; what is named here is loaded when it is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mpfw.aio import AsyncGuest
    from mpfw.api import Guest
    from mpfw.guest.errors import (
        GuestEnded,
        GuestError,
        GuestTimeout,
        NotPossible,
        RemoteError,
        StartError,
    )
    from mpfw.guest.snapshot import Snapshot

__all__ = [
    "AsyncGuest",
    "Guest",
    "GuestEnded",
    "GuestError",
    "GuestTimeout",
    "NotPossible",
    "RemoteError",
    "Snapshot",
    "StartError",
]

_PLACES = {"AsyncGuest": "mpfw.aio", "Guest": "mpfw.api", "Snapshot": "mpfw.guest.snapshot"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'mpfw' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_PLACES.get(name, "mpfw.guest.errors")), name)
