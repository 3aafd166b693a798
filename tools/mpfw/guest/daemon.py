# SPDX-License-Identifier: MIT
"""The program vhost-device-vsock: the user's own (VHOST_DEVICE_VSOCK), the one that was fetched,
the machine's on PATH, or one fetched now: to build/ of a source tree, else to the user's cache.
"""

import os
import sys
import time
from pathlib import Path

from mpfw import paths

NAME = "vhost-device-vsock"
OVERRIDE = "VHOST_DEVICE_VSOCK"
_IN_PACKAGE = f"usr/bin/{NAME}"
_FAILURE_HOLDS = 600.0  # seconds before what could not be fetched is tried again unasked
_ADVICE = f"set {OVERRIDE} to a program of your own, or do without a device (--host none)"


class NoDaemonError(Exception):
    """The program cannot be had: one sentence that says what to do."""


def program(unasked: bool = False) -> str:
    """The program's path. Raises NoDaemonError.

    `unasked`: nobody asked for this device, so that a fetch that has failed a moment ago is not
    tried again.
    """
    return present() or _fetch(paths.fetched(), unasked)


def present() -> str | None:
    """The program's path; None: it is to be fetched. Raises NoDaemonError."""
    own = os.environ.get(OVERRIDE)
    if own:
        if not os.path.isfile(own) or not os.access(own, os.X_OK):
            raise NoDaemonError(f"{OVERRIDE}={own}: there is no such program")
        return os.path.abspath(own)
    fetched = paths.fetched() / "deps" / NAME / _IN_PACKAGE
    return str(fetched) if fetched.exists() else _on_path()


def _on_path() -> str | None:
    places = (os.path.join(place, NAME) for place in os.get_exec_path())
    return next((path for path in places if os.access(path, os.X_OK)), None)


def _fetch(directory: Path, unasked: bool) -> str:
    """Fetch it; its path."""
    from mpfw.build import deps

    failed = directory / f"{NAME}.failed"
    if unasked and (why := _lately(failed)):
        raise NoDaemonError(why)
    if sys.stderr.isatty():
        print(f"fetching {NAME}, once: this takes some seconds", file=sys.stderr)
    try:
        place = deps.provide(NAME, directory)
    except deps.DependencyError as error:
        why = f"{NAME} cannot be fetched ({error.why}): {_ADVICE}"
        failed.parent.mkdir(parents=True, exist_ok=True)
        failed.write_text(why)
        raise NoDaemonError(why) from None
    except OSError as error:
        why = f"{NAME} cannot be put into {directory} ({error.strerror}): {_ADVICE}"
        raise NoDaemonError(why) from None
    failed.unlink(missing_ok=True)
    return str(place / _IN_PACKAGE)


def _lately(failed: Path) -> str:
    """What went wrong a moment ago; nothing if that is long ago."""
    try:
        age = time.time() - failed.stat().st_mtime
        return failed.read_text() if 0 <= age < _FAILURE_HOLDS else ""
    except OSError:
        return ""
