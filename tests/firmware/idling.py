# SPDX-License-Identifier: MIT
"""What a guest costs that has nothing to do."""

import statistics
import time

SETTLE, SECONDS, WINDOWS = 2, 2, 5


def share_of_a_core(guest):
    """The processor time of a guest's QEMU, as a share of the time that passes.

    The median of some windows: what befalls a process once, such as its memory being fetched back
    by whatever this machine runs on, counts as its time; a guest that is not idle is so in most.
    """
    time.sleep(SETTLE)
    shares = []
    for _ in range(WINDOWS):
        before, started = guest.cpu_seconds(), time.monotonic()
        time.sleep(SECONDS)
        shares.append((guest.cpu_seconds() - before) / (time.monotonic() - started))
    print("of a core:", *(f"{share:.1%}" for share in shares))
    return statistics.median(shares)
