# SPDX-License-Identifier: MIT
"""What a guest costs that has nothing to do."""

import statistics
import time

SETTLE, SECONDS, WINDOWS = 2, 2, 5


def shares_of_a_core(*guests):
    """The processor time of each guest's QEMU, as a share of the time that passes.

    The median of some windows, which the guests have in common: what befalls a process once, such
    as its memory being fetched back by whatever this machine runs on, counts as its time; a guest
    that is not idle is so in most.
    """
    time.sleep(SETTLE)
    shares: list[list[float]] = [[] for _ in guests]
    for _ in range(WINDOWS):
        before = [(guest.cpu_seconds(), time.monotonic()) for guest in guests]
        time.sleep(SECONDS)
        for guest, own, (used, started) in zip(guests, shares, before, strict=True):
            own.append((guest.cpu_seconds() - used) / (time.monotonic() - started))
    for own in shares:
        print("of a core:", *(f"{share:.1%}" for share in own))
    return [statistics.median(own) for own in shares]


def share_of_a_core(guest):
    """That of one guest."""
    return shares_of_a_core(guest)[0]
