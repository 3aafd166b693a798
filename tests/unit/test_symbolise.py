# SPDX-License-Identifier: MIT
"""Reports of CPU exceptions, their addresses made functions and lines."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from mpfw import paths
from mpfw.guest.symbolise import Code, annotate, explanation, symbolise
from mpfw.image.built import Build

PAYLOAD, IPL = Build().symbols


@pytest.fixture(scope="module")
def code() -> Code:
    return Code(Build().symbols)


@pytest.fixture(scope="module")
def address() -> Callable[[str], int]:
    """A function: the address of a symbol in one of the two files."""
    table = {}
    for elf in (PAYLOAD, IPL):
        listing = subprocess.run(["nm", elf], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            start, _, name = line.split()
            table[name] = int(start, 16)
    return table.__getitem__


def report(at: int, returns: list[int]) -> str:
    """A report as port/exception.c prints it."""
    return (
        f"\nCPU exception 14 (page fault), error code 0 at {at:x}\n"
        "  read of 7fff00000000: not mapped\n"
        "  rax 00007fff00000000  rbx 0000000000000004\n"
        f"  return addresses: {' '.join(f'{each:x}' for each in returns)}\n"
        "and what came after\n"
    )


def test_the_payloads_report_gets_functions_and_lines(code, address):
    at, returns = address("machine_mem_subscr") + 8, address("mp_obj_subscr") + 20
    lines = list(annotate(report(at, [returns, at]), code))
    place = r"build/micropython-[\d.]+/extmod/machine_mem\.c:\d+$"
    assert re.fullmatch(rf"    at {at:x}: machine_mem_subscr at {place}", lines[2])
    assert lines[3].startswith("  read of")
    assert re.match(rf"    {returns:x}: .*\bmp_obj_subscr at .*/py/obj\.c:\d+$", lines[6])
    assert lines[7].startswith(f"    {at:x}: machine_mem_subscr at ")
    assert lines[8] == "and what came after"


def test_a_file_of_the_project_is_named_from_its_top(code, address):
    assert " at port/main.c:" in code.describe(address("payload_main"))


def test_inlined_functions_are_named_with_whom_they_are_inlined_in(code, address):
    start = address("exception_handle")
    said = {code.describe(at) for at in range(start, start + 64)}
    expected = (
        r"get_cr2 at firmware/x86\.h:\d+, inlined in exception_handle at port/exception\.c:\d+"
    )
    assert any(re.fullmatch(expected, each) for each in said), said


def test_the_ipls_report_gets_function_and_line(code, address):
    at = address("elf_check") + 4
    line = f"[0.003000] ERROR ipl: CPU exception 13 at 0x{at:x}: error code 0x0, address 0x0"
    (said,) = code.explain(line)
    # Newer compilers have inlined what it begins with.
    inlined = r"(\w+ at firmware/ipl/elf\.c:\d+, inlined in )?"
    assert re.fullmatch(rf"    at {at:x}: {inlined}elf_check at firmware/ipl/elf\.c:\d+", said)


def test_a_fault_in_the_report_itself_is_explained_too(code, address):
    at = address("exception_handle")
    (said,) = code.explain(f"CPU exception 6 at {at:x} while reporting one; halted\r")
    assert "exception_handle" in said


def test_frozen_python_has_its_functions_names(code, address):
    at = address("py.fw_cfg._find") + 0x20
    assert code.describe(at) == "fw_cfg._find+0x20 (frozen Python)"
    assert code.describe(at, returned_to=True) == "fw_cfg._find+0x20 (frozen Python)"


def test_what_is_written_in_assembly_has_a_name(code, address):
    assert "vectors.S" in code.describe(address("interrupt_common") + 1)
    assert "vectors.S" in code.describe(address("vector_stubs"))


def test_a_return_address_is_that_of_the_call_before_it(code, address):
    """A call that does not return may be a function's last instruction."""
    after = address("payload_main")
    assert "payload_main" in code.describe(after)
    assert "payload_main" not in code.describe(after, returned_to=True)


@pytest.mark.parametrize("at", [0, 0x1000, 0x757055, 0x7FFF_0000_0000, (1 << 64) - 1])
def test_what_is_no_code_of_the_image_is_said_to_be_none(code, at):
    assert code.describe(at).startswith("not in the image's code")


def test_text_without_a_report_stays_as_it_is(code):
    text = "MicroPython v1.25.0\n>>> 23f7d0\nreturn addresses\nat 23f7d0\n"
    assert list(annotate(text, code)) == text.splitlines()


def test_a_guests_last_report_is_explained(address):
    first, last = address("mp_obj_subscr"), address("machine_mem_subscr")
    said = explanation(report(first, []) + report(last, [first]), paths.IMAGE)
    assert said.count("CPU exception") == 1
    assert "machine_mem_subscr at" in said and "rax" not in said
    assert explanation("nothing of the kind", paths.IMAGE) == ""


def test_another_images_report_is_not_explained_wrongly(tmp_path, address):
    image = tmp_path / "other.bin"
    image.write_bytes(b"\xff" * 4096)
    said = explanation(report(address("mp_obj_subscr"), []), image)
    assert "mp_obj_subscr" not in said and str(image) in said


# -- the command --------------------------------------------------------------------------------


def run(*arguments: str | Path, text: str = ""):
    return CliRunner().invoke(symbolise, [str(each) for each in arguments], input=text)


@pytest.mark.parametrize("way", ["a file", "standard input", "nothing"])
def test_the_command_reads_a_file_or_its_input(way, tmp_path, address):
    path = tmp_path / "report.txt"
    text = report(address("machine_mem_subscr"), [])
    path.write_text(text)
    arguments = {"a file": [path], "standard input": ["-"], "nothing": []}[way]
    result = run(*arguments, text=text)
    assert result.exit_code == 0, result.output
    assert ": machine_mem_subscr at " in result.output


def test_the_command_takes_other_elf_files(address):
    text = report(address("machine_mem_subscr"), [])
    assert "not in the image's code" in run("--elf", IPL, text=text).output
    assert "machine_mem_subscr at" in run("--elf", IPL, "--elf", PAYLOAD, text=text).output


def test_what_is_no_elf_file_is_one_sentence(tmp_path):
    path = tmp_path / "file"
    path.write_text("no ELF file")
    result = run("--elf", path)
    assert result.exit_code == 1
    assert len(result.output.splitlines()) == 1 and str(path) in result.output
