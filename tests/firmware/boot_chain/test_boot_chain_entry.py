# SPDX-License-Identifier: MIT
"""What the payload finds at its entry: registers, stack, its own segments, a log."""

import struct

import pytest

CR0_PE, CR0_MP, CR0_EM, CR0_TS = 1 << 0, 1 << 1, 1 << 2, 1 << 3
CR0_NE, CR0_WP, CR0_NW, CR0_CD, CR0_PG = 1 << 5, 1 << 16, 1 << 29, 1 << 30, 1 << 31
CR4_PAE, CR4_OSFXSR, CR4_OSXMMEXCPT = 1 << 5, 1 << 9, 1 << 10
EFER_LME, EFER_LMA, EFER_NXE = 1 << 8, 1 << 10, 1 << 11
RFLAGS_IF, RFLAGS_DF = 1 << 9, 1 << 10


@pytest.mark.parametrize("cpu", ["qemu64", "max", "Nehalem"])
def test_registers_are_as_the_boot_contract_says(reached, layout, cpu):
    seen = reached(cpu=cpu)
    registers = seen.registers()
    cr0, cr4, efer = registers["CR0"], registers["CR4"], registers["EFER"]
    wanted = CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_PG
    assert cr0 & (wanted | CR0_EM | CR0_TS | CR0_NW | CR0_CD) == wanted
    assert cr4 & (CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT) == CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT
    assert efer & (EFER_LME | EFER_LMA | EFER_NXE) == EFER_LME | EFER_LMA | EFER_NXE
    assert registers["RFL"] & (RFLAGS_IF | RFLAGS_DF) == 0
    assert (registers["FCW"], registers["MXCSR"]) == (0x37F, 0x1F80)


def test_the_stack_is_as_if_the_payload_had_been_called(reached, layout):
    seen = reached()
    rsp = seen.registers()["RSP"]
    ((start, end),) = [
        (start, end)
        for name, _, start, end in seen.allocations()
        if name == layout.guids["hob_stack"]
    ]
    assert end - start == 512 << 10
    assert rsp == end - 8 and end % 16 == 0
    assert seen.memory(rsp, 8) == bytes(8), "the return address is null"


def test_segments_are_loaded_and_bss_is_cleared(reached):
    seen = reached()
    assert seen.memory(0x201000, 16) == b"payload reached\n"
    assert seen.memory(0x202000, 8000) == struct.pack("<Q", 0x0123456789ABCDEF) * 1000
    assert seen.memory(0x202000 + 8000 + 8, 30000) == bytes(30000)


def test_a_warm_reset_boots_again(reached):
    seen = reached()
    for _ in range(2):
        seen.monitor("system_reset")
        seen.wait_payload()  # it finds its .bss cleared again


def test_the_log_tells_the_boot_in_one_line(reached):
    (line,) = reached().log()
    time, text = line[1:].split("] ")
    assert text == "INFO ipl: q35, RAM to 0x4000000 from fw_cfg"
    assert 0 < float(time) < 5


def test_an_exception_before_the_payload_has_handlers_ends_in_one_line(
    start, make_image, assemble
):
    seen = start(make_image(assemble("-DCRASH")))
    assert seen.wait_refused().startswith("CPU exception 6 at 0x200000: error code 0x0")
    assert "ERROR ipl: CPU exception 6" in seen.log()[-1]
    assert seen.stands_still()


@pytest.mark.parametrize("cpu", ["qemu32", "qemu64,-nx"])
def test_an_unusable_cpu_is_told_so(start, make_image, cpu):
    seen = start(make_image(), cpu=cpu)
    seen.guest.console.expect(rb"reset: this CPU lacks 64-bit mode or no-execute pages\r\n")
    assert seen.stands_still()
