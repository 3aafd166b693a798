# SPDX-License-Identifier: MIT
"""What the port takes from CPUID and KVM, from its source: those that help, those that lie."""

import ctypes
import struct
import subprocess
from pathlib import Path

import pytest

from mpfw import paths

HERE = Path(__file__).parent
GHZ = 1_000_000_000
MEASURED = 2_600_000_000  # by the IPL
KVM = struct.unpack("<III", b"KVMKVMKVM\0\0\0")
HYPER_V = struct.unpack("<III", b"Microsoft Hv")
TCG = struct.unpack("<III", b"TCGTCGTCGTCG")
CLOCK, PV_EOI = 1 << 3, 1 << 6
SYSTEM_TIME, PV_EOI_MSR = 0x4B564D01, 0x4B564D04
HYPERVISOR = 1 << 31  # CPUID 1, ECX

CPUID = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.POINTER(ctypes.c_uint32 * 4))
WRMSR = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint64)


class Processor(ctypes.Structure):
    """struct host_processor"""

    _fields_ = [("cpuid", CPUID), ("wrmsr", WRMSR)]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    directory = tmp_path_factory.mktemp("hypervisor")
    source = directory / "processor.c"
    source.write_text("struct host_processor host_processor;\n")
    command = ["gcc", "-std=gnu11", "-O1", "-Wall", "-Werror", "-shared", "-fPIC"]
    command += ["-include", str(HERE / "host_cpuid.h"), "-I", str(paths.ROOT)]
    command += ["-o", str(directory / "hypervisor.so"), str(source)]
    subprocess.run([*command, str(paths.ROOT / "port" / "hypervisor.c")], check=True)
    return directory / "hypervisor.so"


class Host:
    """A processor with these leaves, whose KVM writes `clock` where it is told to."""

    def __init__(self, library, directory, leaves, clock=b""):
        self.leaves, self.clock, self.asked, self.written = leaves, clock, [], []
        copy = directory / "hypervisor.so"  # each has variables of its own
        copy.write_bytes(library.read_bytes())
        self.code = ctypes.CDLL(str(copy))
        self.code.hypervisor_tsc_hz.restype = ctypes.c_uint64
        self._calls = Processor(CPUID(self._cpuid), WRMSR(self._wrmsr))
        processor = Processor.in_dll(self.code, "host_processor")
        processor.cpuid, processor.wrmsr = self._calls.cpuid, self._calls.wrmsr
        self.code.hypervisor_init()

    def _cpuid(self, leaf, answer):
        self.asked.append(leaf)
        answer.contents[:] = self.leaves.get(leaf, (0, 0, 0, 0))

    def _wrmsr(self, msr, value):
        self.written.append((msr, value))
        if msr == SYSTEM_TIME and value & 1:
            ctypes.memmove(value & ~1, self.clock, len(self.clock))

    def tsc_hz(self, measured=MEASURED):
        """What the port believes."""
        return self.code.hypervisor_tsc_hz(ctypes.c_uint64(measured))


@pytest.fixture
def host(library, tmp_path):
    return lambda leaves, clock=b"": Host(library, tmp_path, leaves, clock)


def kvm(features=CLOCK | PV_EOI, last=0x40000001, at=0x40000000, **more):
    """The leaves of a processor under KVM, with others."""
    leaves = {1: (0, 0, HYPERVISOR, 0), at: (last, *KVM), at + 1: (features, 0, 0, 0)}
    return leaves | {int(leaf.strip("_"), 16): values for leaf, values in more.items()}


def pvclock(mul, shift, version=2):
    """struct pvclock_vcpu_time_info"""
    return struct.pack("<IIQQIbBxx", version, 0, 0, 0, mul, shift, 0)


def mul_of(hz, shift=0):
    """What KVM gives for a TSC of that frequency: ns = ticks << shift * mul >> 32."""
    return (GHZ << 32) // hz >> shift if shift >= 0 else (GHZ << 32) // hz << -shift


@pytest.mark.parametrize(("hz", "shift"), [(MEASURED, 0), (MEASURED, -1), (2_599 << 20, -1)])
def test_kvms_clock_tells_the_frequency_and_is_switched_off_again(host, hz, shift):
    machine = host(kvm(), pvclock(mul_of(hz, shift), shift))
    assert machine.tsc_hz() == pytest.approx(hz, rel=1e-6)
    assert [msr for msr, _ in machine.written] == [SYSTEM_TIME, SYSTEM_TIME]
    assert machine.written[-1] == (SYSTEM_TIME, 0)


def test_kvm_behind_hyper_vs_leaves_is_found(host):
    leaves = kvm(at=0x40000100) | {0x40000000: (0x40000005, *HYPER_V)}
    assert host(leaves, pvclock(mul_of(MEASURED), 0)).tsc_hz() == pytest.approx(MEASURED, rel=1e-6)


@pytest.mark.parametrize(
    "clock",
    [
        pvclock(0, 0),
        pvclock(1, 0),
        pvclock(0xFFFFFFFF, 31),
        pvclock(0xFFFFFFFF, 0),
        pvclock(1, -31),
        pvclock(mul_of(MEASURED), 32),
        pvclock(mul_of(MEASURED), -128),
        pvclock(mul_of(MEASURED), 127),
        pvclock(mul_of(MEASURED), 0, version=3),
        pvclock(mul_of(2 * MEASURED), 0),
        pvclock(mul_of(MEASURED // 2), 0),
        b"",
    ],
)
def test_a_clock_that_cannot_be_is_not_believed(host, clock):
    assert host(kvm(), clock).tsc_hz() == 0


def test_who_could_not_measure_believes_nobody(host):
    assert host(kvm(), pvclock(mul_of(MEASURED), 0)).tsc_hz(0) == 0


def test_the_hypervisors_own_leaf_tells_where_kvm_has_no_clock(host):
    leaves = kvm(features=0, last=0x40000010, _40000010=(2_601_000, 1_000_000, 0, 0))
    machine = host(leaves)
    assert machine.tsc_hz() == 2_601_000_000
    assert machine.written == []


def test_a_leaf_beyond_the_last_is_not_asked_for(host):
    machine = host(kvm(features=0, _40000010=(2_600_000, 0, 0, 0)))
    assert machine.tsc_hz() == 0
    assert 0x40000010 not in machine.asked


@pytest.mark.parametrize(
    ("leaf", "believed"),
    [
        ((2, 208, 25_000_000), 2_600_000_000),
        ((0, 208, 25_000_000), 0),
        ((2, 0, 25_000_000), 0),
        ((2, 208, 0), 0),
        ((1, 0xFFFFFFFF, 0xFFFFFFFF), 0),
        ((0xFFFFFFFF, 1, 1), 0),
    ],
)
def test_the_processor_itself_may_know(host, leaf, believed):
    assert host({0: (0x16, 0, 0, 0), 0x15: (*leaf, 0)}).tsc_hz() == believed


def test_a_processor_without_a_hypervisor_is_asked_for_none_of_its_leaves(host):
    machine = host({0: (1, 0, 0, 0), 0x40000000: (0x40000001, *KVM), 0x40000001: (0xFF, 0, 0, 0)})
    assert machine.tsc_hz() == 0
    assert all(leaf < 0x40000000 for leaf in machine.asked)
    assert machine.written == []


@pytest.mark.parametrize(
    ("leaves", "shared"),
    [
        (kvm(), True),
        (kvm(features=CLOCK), False),
        (
            {
                1: (0, 0, HYPERVISOR, 0),
                0x40000000: (0x40000001, *TCG),
                0x40000001: (0xFF, 0, 0, 0),
            },
            False,
        ),
    ],
)
def test_only_a_kvm_that_offers_to_note_ends_of_interrupts_is_told_where(host, leaves, shared):
    machine = host(leaves)
    word = ctypes.c_uint32()
    machine.code.hypervisor_share_eoi(ctypes.byref(word))
    expected = [(PV_EOI_MSR, ctypes.addressof(word) | 1)] if shared else []
    assert machine.written == expected
