# SPDX-License-Identifier: MIT
"""gdb on a guest: from the IPL's first instruction to frozen Python, by name."""

import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from mpfw.guest.debugger import Stub, stub
from mpfw.guest.guest import Guest

FAULT = {"opt/micropython/main.py": "import machine\nmachine.mem32[0x7fff00000000]\n"}

KEYS = b"x" * 14  # at this level the UART interrupts without a pause after the last one


@pytest.fixture
def listening() -> Iterator[Stub]:
    with stub() as listening:
        yield listening


@pytest.fixture
def gdb(listening: Stub, boot: Callable[..., Guest]) -> Callable[..., str]:
    """A function: what gdb says to some orders, on a guest that has not started."""

    def gdb(*orders: str, **machine) -> str:
        assert listening.listens(boot(extra=listening.options, **machine).process)
        return attach(listening.command(), *orders)

    return gdb


def attach(command: list[str], *orders: str) -> str:
    """Run gdb with these orders; what it said. It lets the guest go in the end."""
    words = [word for order in orders for word in ("-ex", order)]
    run = subprocess.run(
        [*command, "-nx", "-batch", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return run.stdout + run.stderr


def test_the_guest_waits_at_the_reset_vector(gdb):
    assert re.search(r"^rip +0xfff0 ", gdb("info registers rip"), re.MULTILINE)


def test_the_ipl_stops_at_a_function_in_flash(gdb):
    said = gdb("break elf_check", "continue", "bt")
    assert re.search(r"^#0 +elf_check .* at ipl/elf\.c:\d+", said, re.MULTILINE), said
    assert re.search(r"^#\d+ .*\bipl_main \(\) at ipl/main\.c:\d+", said, re.MULTILINE), said


def test_the_payload_stops_at_a_function_and_shows_who_called(gdb):
    said = gdb("break machine_init", "continue", "bt")
    assert re.search(r"^#0 +machine_init ", said, re.MULTILINE), said
    assert re.search(
        r"^#1 +0x\w+ in payload_main .* at \./port/main\.c:\d+", said, re.MULTILINE
    ), said


def test_frozen_python_stops_at_a_function_and_shows_who_called(gdb):
    said = gdb("break py.fw_cfg._find", "continue", "bt")
    assert re.search(r"^#0 +0x\w+ in py\.fw_cfg\._find ", said, re.MULTILINE), said
    for caller in ("mp_execute_bytecode", "pyexec_frozen_module", "payload_main"):
        assert re.search(rf"^#\d+ .*\b{caller} ", said, re.MULTILINE), said


def test_a_backtrace_goes_on_through_a_fault_to_what_it_interrupted(gdb):
    said = gdb("break exception_handle", "continue", "bt", fw_cfg=FAULT)
    assert re.search(r"^#0 +exception_handle ", said, re.MULTILINE), said
    assert re.search(r"^#2 +machine_mem_subscr .*machine_mem\.c:\d+$", said, re.MULTILINE), said
    assert re.search(r"^#\d+ .*payload_main ", said, re.MULTILINE), said


def test_an_interrupt_right_before_the_guest_halts_wakes_it(listening, boot, tmp_path):
    """Nested in an emulated SVM one comes between sti and hlt at times; gdb makes that happen."""
    stopped, typed = tmp_path / "stopped", tmp_path / "typed"
    guest = boot(extra=listening.options)
    assert listening.listens(guest.process)
    orders = (
        *("break *cpu_sti_hlt", "continue", "delete"),
        *("set $eflags = $eflags | 0x200", "set $rip = (long) &cpu_hlt"),
        f"shell touch {stopped}; until [ -e {typed} ]; do sleep 0.05; done",
    )
    with ThreadPoolExecutor() as pool:
        gdb = pool.submit(attach, listening.command(), *orders)
        while not stopped.exists() and not gdb.done():
            time.sleep(0.05)
        guest.console.send(KEYS)
        time.sleep(0.5)  # the UART raises its interrupt meanwhile
        typed.touch()
        assert "cpu_sti_hlt" in gdb.result()
    guest.console.expect(b">>> " + KEYS)


def test_run_prints_the_command_that_attaches_gdb(image, tmp_path):
    script = tmp_path / "app.py"
    script.write_text("import machine\nprint('on its way')\nmachine.poweroff()\n")
    command = [sys.executable, "-m", "mpfw", "run", "--gdb", "--image", image, script]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout
    assert output is not None
    try:
        line = next(line for line in output if line.startswith("  gdb "))
        said = attach(
            shlex.split(line), "break payload_main", "continue", "bt", "delete", "continue"
        )
        assert re.search(r"^#0 +payload_main ", said, re.MULTILINE), said
        assert output.read() == "on its way\n"
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        output.close()


def test_run_refuses_an_image_whose_symbols_it_has_not(image, tmp_path):
    other = tmp_path / "other.bin"
    data = bytearray(image.read_bytes())
    data[data.index(b"\x7fELF") + 0x2000] ^= 1
    other.write_bytes(data)
    command = [sys.executable, "-m", "mpfw", "run", "--gdb", "--image", other]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 125
    assert run.stderr.startswith(f"mpfw: {other}: not made of the build in ")
    assert len(run.stderr.splitlines()) == 1
