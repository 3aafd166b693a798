# SPDX-License-Identifier: MIT
"""What a guest left guest mode for: KVM's trace in the lab, read as a list of causes.

The lab's processor is AMD's, so the names are those of SVM (AMD APM volume 2, appendix C). The
trace is the kernel's word and trusted; one that lost events is refused.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from mpfw.lab.lab import Lab

TRACING = "/sys/kernel/tracing"
# kvm_exit is an exit; the others say more of the one before them.
_EVENTS = ("kvm_exit", "kvm_mmio", "kvm_msr", "kvm_inj_virq")
_BUFFER_KIB = 32768  # of each processor: a Linux guest's boot has 30,000 exits

_LINE = re.compile(r" [\d.]+: (kvm_\w+): (.*)")
_EXIT = re.compile(r"reason (\S+) .*?info1 0x([0-9a-f]+)")
_MMIO = re.compile(r"mmio (\S+) len (\d) gpa 0x([0-9a-f]+) val 0x([0-9a-f]+)")
_MSR = re.compile(r"(msr_\w+) ([0-9a-f]+)")
_WRITTEN = re.compile(r"entries-in-buffer/entries-written: (\d+)/(\d+)")

_REASONS = {
    "interrupt": "an interrupt of the host's",
    "vintr": "interrupt window",
    "hlt": "HLT",
    "cpuid": "CPUID",
    "nmi": "NMI",
    "npf": "memory, first touched",
}
_IN = 1  # of EXITINFO1 for I/O (15.10.2): a read; the port is in the upper half
_PORTS = {
    range(0x20, 0x22): "8259",
    range(0xA0, 0xA2): "8259",
    range(0x40, 0x44): "PIT",
    range(0x70, 0x72): "CMOS",
    range(0x3F8, 0x400): "COM1",
    range(0x402, 0x403): "log",
    range(0x510, 0x51C): "fw_cfg",
    range(0x600, 0x680): "power management",
    range(0xCF8, 0xD00): "PCI configuration, ports",
}
_PLACES = {
    range(0xB0000000, 0xC0000000): "PCI configuration, ECAM",
    range(0xFEC00000, 0xFEC01000): "I/O APIC",
    range(0xFED00000, 0xFED00400): "HPET",
    range(0xFFC00000, 0x100000000): "flash",
}
_APIC = range(0xFEE00000, 0xFEE01000)
_X2APIC = range(0x800, 0x900)  # the MSR of a register at offset n of the page is 0x800 + n / 16
_APIC_REGISTERS = {
    0x080: "task priority",
    0x0B0: "EOI",
    0x320: "timer mode",
    0x380: "timer",
    0x390: "timer",
    0x3E0: "timer",
}
_MSRS = {
    0x10: "TSC",
    0x1B: "APIC base",
    0x6E0: "APIC: timer",
    0xC0000080: "EFER",
}
_KVM_MSRS = range(0x4B564D00, 0x4B564D08)
COM1_WRITE = "COM1, write"
EOI = "APIC: EOI"


@dataclass
class Exits:
    """Causes of exits in the order in which they came, and how many interrupts there were."""

    causes: list[str] = field(default_factory=list)
    interrupts: int = 0  # injected into the guest

    def __len__(self) -> int:
        return len(self.causes)

    def by_cause(self) -> dict[str, int]:
        """How many of each, most frequent first."""
        return dict(Counter(self.causes).most_common())

    def to_last(self, cause: str) -> "Exits":
        """Those up to the last one of that cause: all, if there is none."""
        if cause not in self.causes:
            return self
        last = len(self.causes) - self.causes[::-1].index(cause)
        return Exits(self.causes[:last], self.interrupts)


def prepare(lab: Lab) -> None:
    """Have the lab's kernel ready to trace exits."""
    lab.run(["sh", "-c", f"[ -e {TRACING}/trace ] || busybox mount -t tracefs tracing {TRACING}"])
    script = f"echo 0 >{TRACING}/tracing_on; echo {_BUFFER_KIB} >{TRACING}/buffer_size_kb"
    for event in _EVENTS:
        script += f"; echo 1 >{TRACING}/events/kvm/{event}/enable"
    lab.run(["sh", "-c", f"set -e; {script}"])


def start(lab: Lab) -> None:
    """Begin a trace; what was traced before is gone."""
    lab.run(["sh", "-c", f"echo >{TRACING}/trace; echo 1 >{TRACING}/tracing_on"])


def take(lab: Lab) -> Exits:
    """End the trace, if it has not ended; what it holds."""
    lab.run(["sh", "-c", f"echo 0 >{TRACING}/tracing_on"])
    return parse(lab.get(f"{TRACING}/trace").decode())


def parse(text: str) -> Exits:
    """Exits in the text of a trace. ValueError if events were lost."""
    written = _WRITTEN.search(text)
    if written is None or written[1] != written[2]:
        raise ValueError("the trace is cut off: events were lost")
    exits = Exits()
    for event, rest in _LINE.findall(text):
        if event == "kvm_exit":
            exits.causes.append(_reason(rest))
        elif event == "kvm_inj_virq":
            exits.interrupts += 1
        elif exits.causes and (more := _more(event, rest, exits.causes[-1])):
            exits.causes[-1] = more
    return exits


def _reason(rest: str) -> str:
    found = _EXIT.search(rest)
    if found is None:
        return rest
    reason, info = found[1], int(found[2], 16)
    if reason == "io":
        return f"{_name(_PORTS, info >> 16, 'port')}, {'read' if info & _IN else 'write'}"
    return _REASONS.get(reason, reason)


def _more(event: str, rest: str, cause: str) -> str | None:
    """What the exit for `cause` was, now that this event followed it; None: as it was."""
    if event == "kvm_mmio" and cause == _REASONS["npf"] and (found := _MMIO.search(rest)):
        return _mmio("write" in found[1], int(found[2]), int(found[3], 16), int(found[4], 16))
    if event == "kvm_msr" and cause == "msr" and (found := _MSR.search(rest)):
        return _msr(int(found[2], 16))
    return None


def _mmio(write: bool, length: int, address: int, value: int) -> str:
    if address in _APIC:
        return f"APIC: {_APIC_REGISTERS.get(address - _APIC.start, 'other')}"
    for places, name in _PLACES.items():
        if address in places:
            return f"{name}, {'write' if write else 'read'}"
    if write and length == 2 and address & 0xFFF == 4 * value & 0xFFF:
        return f"notification, queue {value}"
    return f"registers of devices, {'write' if write else 'read'}"


def _msr(number: int) -> str:
    if number in _X2APIC:
        register = (number - _X2APIC.start) << 4
        return f"APIC: {_APIC_REGISTERS.get(register, 'other')}"
    if number in _KVM_MSRS:
        return "MSR of KVM"
    return _MSRS.get(number, f"MSR {number:#x}")


def _name(table: dict[range, str], number: int, kind: str) -> str:
    for numbers, name in table.items():
        if number in numbers:
            return name
    return f"{kind} {number:#x}"
