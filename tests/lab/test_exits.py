# SPDX-License-Identifier: MIT
"""What KVM offers is taken: exits that guests in the lab do not have; `mpfw exits` counts all."""

import pytest

from mpfw.bench import exits, guests
from mpfw.guest.machine import Machine

MEMORY = "64M"


@pytest.fixture(scope="module")
def counted(lab, image):
    """Exits of the built-in echo by operation: (times, Exits)."""
    if lab.accel != "kvm":
        pytest.skip("LAB_ACCEL=tcg: KVM has no part in it")
    kind = guests.echo(Machine(image=image, memory=MEMORY))
    sitting = exits.Sitting(lab, {"echo": kind}, print)
    return {name: (times, found) for name, times, found in sitting.once("echo", kind)}


def test_nothing_is_calibrated_where_kvm_knows(counted):
    _, boot = counted[exits.BOOT]
    causes = boot.by_cause()
    assert causes.get("power management, read", 0) < 20
    assert causes.get("CMOS, read", 0) < 8  # nor is anybody asked for the date, which takes 17


def test_kvm_notes_the_ends_of_interrupts_by_itself(counted):
    times, trips = counted["round trip of 64 bytes"]
    assert trips.interrupts > times / 10
    assert trips.by_cause().get(exits.EOI, 0) < trips.interrupts / 4


def test_a_sleep_takes_one_access_to_the_timer_at_most(counted):
    _, rest = counted["second of rest, connected"]
    causes = rest.by_cause()
    assert "APIC: timer mode" not in causes
    assert causes.get("APIC: timer", 0) <= causes["HLT"]
