# SPDX-License-Identifier: MIT
"""Causes of VM exits, out of the text of KVM's trace."""

import pytest

from mpfw.bench import vmexits

HEAD = "# entries-in-buffer/entries-written: {0}/{1}   #P:1\n"


def trace(*events, lost=0):
    """The text of a trace."""
    lines = [
        f" qemu-system-x86-123     [000] d..1.    12.{n:06}: {event}\n"
        for n, event in enumerate(events)
    ]
    return HEAD.format(len(events), len(events) + lost) + "".join(lines)


def left(reason, info=0):
    return (
        f"kvm_exit: vcpu 0 reason {reason} rip 0x1234 info1 0x{info:016x} "
        "info2 0x0000000000000000 intr_info 0x00000000 error_code 0x00000000"
    )


def mmio(kind, length, address, value):
    return f"kvm_mmio: mmio {kind} len {length} gpa 0x{address:x} val 0x{value:x}"


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ([left("hlt")], "HLT"),
        ([left("io", 0x04020010)], "log, write"),
        ([left("io", 0x03FD0011)], "COM1, read"),
        ([left("io", 0x99990011)], "port 0x9999, read"),
        ([left("npf")], "memory, first touched"),
        ([left("npf"), mmio("write", 4, 0xFEE000B0, 0)], "APIC: EOI"),
        (
            [left("npf"), mmio("unsatisfied-read", 4, 0xB0008000, 0)],
            "PCI configuration, ECAM, read",
        ),
        ([left("npf"), mmio("write", 2, 0xC1007004, 1)], "notification, queue 1"),
        ([left("npf"), mmio("write", 2, 0xC1004018, 1)], "registers of devices, write"),
        ([left("msr", 1), "kvm_msr: msr_write 80b = 0x0"], "APIC: EOI"),
        ([left("msr", 1), "kvm_msr: msr_write 6e0 = 0x123"], "APIC: timer"),
        ([left("msr", 1), "kvm_msr: msr_write 4b564d04 = 0x1"], "MSR of KVM"),
        ([left("write_cr4"), mmio("write", 4, 0xFEE000B0, 0)], "write_cr4"),
    ],
)
def test_an_exit_has_the_cause_that_it_had(events, cause):
    assert vmexits.parse(trace(*events)).causes == [cause]


def test_exits_are_counted_by_cause_and_interrupts_beside_them():
    exits = vmexits.parse(trace(left("hlt"), "kvm_inj_virq: Intr 0x40", left("hlt"), left("nmi")))
    assert exits.by_cause() == {"HLT": 2, "NMI": 1}
    assert (len(exits), exits.interrupts) == (3, 1)


def test_a_boot_ends_with_the_last_byte_that_it_prints():
    exits = vmexits.Exits(["CPUID", "COM1, write", "CPUID", "COM1, write", "HLT"])
    assert len(exits.to_last(vmexits.COM1_WRITE)) == 4
    assert len(exits.to_last("nothing")) == 5


def test_a_trace_that_lost_events_is_refused():
    with pytest.raises(ValueError, match="lost"):
        vmexits.parse(trace(left("hlt"), lost=1))
    with pytest.raises(ValueError, match="lost"):
        vmexits.parse("")
