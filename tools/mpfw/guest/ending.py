# SPDX-License-Identifier: MIT
"""What a guest's end means if its program has told no exit status: docs/run.md has the table."""

import re
import signal
from typing import TYPE_CHECKING

from mpfw.guest import channel

if TYPE_CHECKING:
    from mpfw.guest.guest import Guest


def status(guest: "Guest", started: bool, timeout: float = 10) -> tuple[int, str]:
    """The exit status of a guest that is ending, and one sentence unless the status says it all.

    `started`: its program has run. Raises GuestError if QEMU goes on for `timeout` seconds.
    """
    try:
        code = guest.wait(timeout)
    except OSError as error:
        return channel.OURS, f"QEMU cannot be started: {error.strerror}"
    if code < 0:
        return channel.OURS, f"QEMU was ended by a signal: {signal.strsignal(-code)}"
    if code == 1 or (code and not started):  # which the firmware never makes it
        return channel.OURS, f"QEMU: {_complaint(guest.qemu_log())}"
    if code > 1:
        return code >> 1, ""  # isa-debug-exit
    last = last_line(guest.debugcon())
    if last.endswith("machine: poweroff"):
        return 0, ""
    if last.endswith("machine: reset"):
        return channel.RESET, ""
    if not started:
        return channel.OURS, f"the guest ended before the script began: {last}"
    return channel.CRASHED, f"the guest reset itself: {last}"


def _complaint(said: str) -> str:
    """What QEMU died of: its last line that begins with its name, which hints do not."""
    lines = [line for line in said.splitlines() if re.match(r"\S*qemu\S*: (?!warning)", line)]
    return lines[-1].partition(": ")[2] if lines else last_line(said)


def last_line(text: str) -> str:
    """The last line of a log."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"
