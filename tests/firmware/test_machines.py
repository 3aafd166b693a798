# SPDX-License-Identifier: MIT
"""The image boots to a working prompt on every machine that the README's contracts name."""

import re
import subprocess
from pathlib import Path

import pytest
from idling import share_of_a_core

from mpfw.guest.machine import qemu_program

GIB = 1 << 30


def boots(guest):
    guest.console.wait_prompt(30)
    assert guest.console.eval("6 * 7") == 42


@pytest.mark.parametrize("memory", ["16M", "64M", "512M", "4G", "8G", "64G"])
def test_boots_with_memory(boot, memory):
    boots(boot(memory=memory))


@pytest.mark.parametrize("size", [10 << 20, 1 * GIB, 3 * GIB])
def test_heap_grows_to_the_machines_memory(boot, size):
    memory = {10 << 20: "16M", 1 * GIB: "2G", 3 * GIB: "6G"}[size]
    guest = boot(memory=memory)
    guest.console.wait_prompt(30)
    code = f"b = bytearray({size}); b[-1] = 77; print(len(b), b[0], b[-1])"
    assert guest.console.exec(code, 60) == f"{size} 0 77\n"


@pytest.mark.parametrize("cpu", ["qemu64", "max", "Nehalem"])
def test_boots_on_cpu(boot, cpu):
    boots(boot(cpu=cpu))


@pytest.mark.parametrize("smp", [1, 4])
def test_boots_with_processors(boot, smp):
    boots(boot(smp=smp))


@pytest.mark.parametrize("machine", ["q35", "pc"])
@pytest.mark.parametrize("memory", ["16M", "8G"])
def test_boots_on_chipset(boot, machine, memory):
    boots(boot(machine=machine, memory=memory))


def contract(image: Path, log: Path, *display: str) -> list[str]:
    """The contract's command line, as it stands there, without the vsock device.

    Here the console is QEMU's own standard input and output, as a user has it.
    """
    return [
        *(qemu_program(), "-machine", "q35", "-m", "64"),
        *("-drive", f"if=pflash,format=raw,unit=0,file={image},readonly=on"),
        *("-nic", "none", *display, "-serial", "mon:stdio"),
        *("-debugcon", f"file:{log}", "-global", "isa-debugcon.iobase=0x402"),
    ]


@pytest.mark.parametrize(
    "display",
    [("-nographic",), ("-display", "none"), ("-vnc", "127.0.0.1:60,to=99")],
    ids=["nographic", "display-none", "vnc-on-loopback"],
)
def test_contracts_command_line_boots_and_powers_off(image, tmp_path, display):
    result = subprocess.run(
        contract(image, tmp_path / "debug.log", *display),
        input=b"\r\nprint('sum', 40 + 2)\r\nimport machine; machine.poweroff()\r\n",
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert b"sum 42\r\n" in result.stdout, result.stdout + result.stderr
    assert result.returncode == 0
    log = (tmp_path / "debug.log").read_text()
    assert log.splitlines()
    for line in log.splitlines():
        assert re.match(r"\[ *\d+\.\d{6}\] [A-Z]+ [\w.]+: .", line), line


def test_idle_prompt_uses_at_most_2_percent_of_a_core(repl):
    assert share_of_a_core(repl) <= 0.02


def test_poweroff_ends_qemu_with_0(repl):
    repl.console.send("import machine; machine.poweroff()\r")
    assert repl.wait() == 0


def test_reset_boots_again_and_says_why(repl):
    assert repl.console.eval("__import__('machine').reset_cause()") == 1  # PWRON_RESET
    repl.console.send(b"\x02import machine; machine.reset()\r")
    repl.console.expect(rb"machine\.reset\(\)")
    repl.console.expect(rb"MicroPython v")
    repl.console.wait_prompt()
    assert repl.console.eval("__import__('machine').reset_cause()") == 2  # HARD_RESET


FILL = """
kept = []
try:
    while True:
        kept.append(bytearray(65536))
except MemoryError:
    del kept[:16]
import socket, vsock
print(vsock.get().store.total)
"""


@pytest.mark.parametrize("first, least, most", [("", 64, 640), ("import socket\n", 864, 1728)])
def test_sockets_find_memory_even_if_the_heap_is_full(boot, first, least, most):
    """None is set aside before a program imports socket; two ninths of the RAM are 1728 blocks."""
    guest = boot(memory="32M")
    guest.console.wait_prompt(30)
    blocks = int(guest.console.exec(first + FILL, 60))
    assert least <= blocks <= most
