# SPDX-License-Identifier: MIT
"""CPU exceptions provoked from Python: a readable report on both channels, then Python goes on."""

import errno
import re

import pytest

from mpfw.guest.console import RemoteError
from mpfw.image import layout

PAYLOAD = layout.load().payload["base"]
UNMAPPED = 0x7FFF_0000_0000  # above all RAM and every PCI window

# On the guest: CODE is where a viper function's machine code lies; jump(address) calls what is
# there, by way of the code pointer in the function's object (py/objfun.h, mp_obj_fun_bc_t).
PRELUDE = """
import machine, uctypes
@micropython.viper
def function():
    pass
pointer = id(function) + 24
CODE = machine.mem64[pointer]
def jump(address):
    machine.mem64[pointer] = address
    try:
        function()
    finally:
        machine.mem64[pointer] = CODE
def find(pattern, address):
    while bytes(machine.mem8[address + i] for i in range(len(pattern))) != pattern:
        address += 1
    return address
poked = uctypes.addressof(machine.DMABuffer(4096))
machine.mem16[poked] = 0x0b0f
"""

UD2 = "b'\\x0f\\x0b'"  # an undefined instruction

# What is done, what the report says of it.
PROVOKE = {
    "read of an unmapped address": (
        f"machine.mem32[{UNMAPPED:#x}]",
        rf"CPU exception 14 \(page fault\).*read of {UNMAPPED:x}: not mapped",
    ),
    "read through a null pointer": (
        "machine.mem8[8]",
        r"CPU exception 14 \(page fault\).*read of 8: not mapped",
    ),
    "write to native code": (
        "machine.mem8[CODE] = 0xC3",
        r"CPU exception 14 \(page fault\).*write to [0-9a-f]+: not permitted",
    ),
    "write to the payload's code": (
        f"machine.mem8[{PAYLOAD:#x} + 0x1000] = 0xC3",
        rf"CPU exception 14 \(page fault\).*write to {PAYLOAD + 0x1000:x}: not permitted",
    ),
    "execution of poked memory": (
        "jump(poked)",
        r"CPU exception 14 \(page fault\).*execution of [0-9a-f]+: not permitted",
    ),
    "undefined instruction": (
        f"jump(find({UD2}, {PAYLOAD:#x}))",
        r"CPU exception 6 \(undefined instruction\)",
    ),
}


@pytest.mark.parametrize("what", PROVOKE)
def test_report_is_readable_and_python_goes_on(repl, what):
    code, report = PROVOKE[what]
    repl.console.exec(PRELUDE)
    with pytest.raises(RemoteError, match="EFAULT") as raised:
        repl.console.exec(code)
    on_serial = raised.value.output
    for text in (on_serial, repl.debugcon()):
        assert re.search(report, text, re.DOTALL), text
        for register in ("rax", "rsp", "r15", "cr2"):
            assert re.search(rf"{register} +[0-9a-f]+", text), f"no {register} in {text}"
        assert re.search(r"return addresses:( [0-9a-f]+)+", text)
    assert repl.console.eval("6 * 7") == 42


def test_every_exception_is_an_ordinary_python_exception(repl):
    code = f"""
import machine
for i in range(100):
    try:
        machine.mem32[{UNMAPPED:#x}]
    except OSError as error:
        assert error.errno == {errno.EFAULT}
print('survived')
"""
    assert repl.console.exec(code).endswith("survived\n")


def test_endless_recursion_is_a_runtime_error(repl):
    with pytest.raises(RemoteError, match="RuntimeError: maximum recursion depth exceeded"):
        repl.console.exec("def f(): f()\nf()")
    assert repl.console.eval("6 * 7") == 42


def test_exhausted_memory_is_a_memory_error(repl):
    with pytest.raises(RemoteError, match="MemoryError"):
        repl.console.exec("hoard = []\nwhile True: hoard.append(bytearray(1 << 20))")
    assert repl.console.eval("6 * 7") == 42
