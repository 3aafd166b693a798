# SPDX-License-Identifier: MIT
"""`mpfw run` on a terminal: it feels like python."""

import os
import pty
import subprocess
import time
from contextlib import contextmanager

from terminal import read_until


@contextmanager
def at_terminal(seat, *words):
    """A run on a terminal of its own: our end of it, the process."""
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", "--wait", *seat.command(*words)]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=seat.environment
    )
    os.close(theirs)
    try:
        yield ours, process
        assert process.wait(20) is not None
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_ctrl_c_interrupts_and_twice_ends(quick):
    code = """
import time
print('go')
while True:
    try:
        time.sleep(100)
    except KeyboardInterrupt:
        print('interrupted')
"""
    with at_terminal(quick, "-c", code) as (terminal, process):
        read_until(terminal, b"go")
        os.write(terminal, b"\x03")
        read_until(terminal, b"interrupted")
        time.sleep(1.1)
        os.write(terminal, b"\x03")
        read_until(terminal, b"interrupted")
        os.write(terminal, b"\x03")
        assert process.wait(20) == 130


def test_lines_are_edited_and_ctrl_d_is_the_end(quick):
    code = "import sys\nprint('name?')\nprint('hello', input())\nprint(sys.stdin.read() == '')"
    with at_terminal(quick, "-c", code) as (terminal, process):
        read_until(terminal, b"name?")
        os.write(terminal, b"Bpb\x7f\x7fob\n")
        read_until(terminal, b"hello Bob\r\n")
        os.write(terminal, b"\x04")
        read_until(terminal, b"True\r\n")
        assert process.wait(20) == 0


def test_what_is_printed_keeps_its_order(quick):
    code = "import sys\nfor i in range(9): print('e', i, file=sys.stderr); print('o', i)"
    with at_terminal(quick, "-c", code) as (terminal, process):
        said = read_until(terminal, b"o 8\r\n")
        assert said == b"".join(b"e %d\r\no %d\r\n" % (i, i) for i in range(9))


def test_the_prompt_afterwards(seat):
    with at_terminal(seat, "-i", "-c", "x = 40\nprint('go')") as (terminal, process):
        assert b"go\r\n" in read_until(terminal, b">>> ", 90)
        os.write(terminal, b"print('sum', x + 2)\r")
        read_until(terminal, b"sum 42\r\n>>> ")
        os.write(terminal, b"\x03")
        read_until(terminal, b">>> ")
        os.write(terminal, b"\x04")
        assert process.wait(20) == 0


def test_the_prompt_after_an_exception(quick):
    with at_terminal(quick, "-i", "-c", "x = 1\n1 / 0") as (terminal, process):
        assert b"ZeroDivisionError" in read_until(terminal, b">>> ")
        os.write(terminal, b"x\r")
        read_until(terminal, b"x\r\n1\r\n")
        os.write(terminal, b"\x01x")
        assert process.wait(20) == 0


def test_commands_from_a_file_are_typed_at_the_prompt(quick):
    result = quick("-i", "-c", "x = 40", stdin=b"print('sum', x + 2)\n")
    assert result.code == 0 and b"sum 42\r\n" in result.out


def test_a_closed_terminal_ends_it(seat):
    ours, theirs = pty.openpty()
    command = ["setsid", "--ctty", "--wait", *seat.command("-c", "print('go')\nwhile True: pass")]
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=seat.environment
    )
    os.close(theirs)
    read_until(ours, b"go", 90)
    os.close(ours)
    assert process.wait(20) == 129
    seat.wait_for_nothing()
