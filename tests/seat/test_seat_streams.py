# SPDX-License-Identifier: MIT
"""A program's standard streams are exact, both ways, with an end, at any speed."""

import hashlib
import os
import subprocess
import sys
import time

import pytest

TEN_MB = 10_000_000
COPY = """
import sys
while data := sys.stdin.buffer.read(65536):
    sys.stdout.buffer.write(data)
print('end', file=sys.stderr)
"""
# Under CPython with newline="" these are the bytes that the guest is to write.
TEXT = r"""
import sys
if sys.implementation.name == 'cpython':
    sys.stdout.reconfigure(newline='', encoding='utf-8')
print('lf\ncr\rcrlf\r\nnul\0', end='\r\n')
print('\x01\x03\x04 h\xe9llo \u20ac \U0001f40d')
sys.stdout.flush()
sys.stdout.buffer.write(bytes(range(256)))
"""


def test_what_is_printed_comes_out(seat):
    result = seat("-c", "import sys\nprint('out')\nprint('err', file=sys.stderr)")
    assert (result.code, result.out, result.err) == (0, b"out\n", b"err\n")


def test_text_and_all_bytes_are_as_cpython_writes_them(seat, write):
    script = write("text.py", TEXT)
    expected = subprocess.run([sys.executable, script], capture_output=True, check=True).stdout
    result = seat(script)
    assert (result.code, result.err) == (0, b"")
    assert result.out == expected


def test_ten_megabytes_of_output(seat):
    code = (
        f"import sys\nfor i in range(100): sys.stdout.buffer.write(bytes([i]) * {TEN_MB // 100})"
    )
    result = seat("-c", code)
    expected = b"".join(bytes([i]) * (TEN_MB // 100) for i in range(100))
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(expected).digest()
    assert result.code == 0


def test_ten_megabytes_of_errors(quick):
    result = quick("-c", f"import sys\nsys.stderr.buffer.write(b'e' * {TEN_MB})\nprint('out')")
    assert (result.code, result.out) == (0, b"out\n")
    assert result.err == b"e" * TEN_MB


def test_ten_megabytes_of_input_come_back_and_end(seat, write):
    data = b"\0\3\4\r\n" + os.urandom(TEN_MB)
    result = seat(write("copy.py", COPY), stdin=data)
    assert (result.code, result.err) == (0, b"end\n")
    assert hashlib.sha256(result.out).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("stdin", [b"", b"x", b"one\ntwo", b"\r\n", b"4096 " * 4096])
def test_input_of_any_length_ends(quick, write, stdin):
    assert quick(write("copy.py", COPY), stdin=stdin).out == stdin


def test_lines_and_input(quick):
    code = "print(repr(input('? ')), [line for line in __import__('sys').stdin])"
    result = quick("-c", code, stdin=b"first\nsecond\nthird")
    assert result.out == b"? 'first' ['second\\n', 'third']\n"
    result = quick("-c", "input()")
    assert result.code == 1 and b"EOFError" in result.err


def test_output_comes_as_it_is_printed(seat):
    code = "import time\nfor i in range(4):\n    print('line', i)\n    time.sleep(0.5)"
    with seat.start("-c", code, stdout=subprocess.PIPE) as process:
        times = []
        for number in range(4):
            assert process.stdout.readline() == b"line %d\n" % number
            times.append(time.monotonic())
    assert times[-1] - times[0] > 1.2  # not all at the end
    assert process.returncode == 0


def test_output_comes_while_the_program_computes(quick):
    with quick.start("-c", "print('first')\nwhile True: pass", stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"first\n"
        process.terminate()
    assert process.returncode == 143


def test_errors_come_after_what_was_printed_before(quick):
    code = "import sys\nfor i in range(50):\n    print(i)\n    print('e', i, file=sys.stderr)"
    process = quick.start("-c", code, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = process.communicate(timeout=60)[0].decode()
    assert said == "".join(f"{i}\ne {i}\n" for i in range(50))


def resident(pid):
    """A process's memory, in KiB."""
    with open(f"/proc/{pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmRSS")).split()[1])


def test_a_slow_reader_holds_the_program_up_and_memory_does_not_grow(quick):
    code = "import sys\nfor i in range(1000): sys.stdout.buffer.write(bytes(100000))\n"
    with quick.start("-c", code, stdout=subprocess.PIPE) as process:
        process.stdout.read(1)
        before = resident(process.pid)
        time.sleep(1)
        assert resident(process.pid) < before + 4096
        assert len(process.stdout.read()) == 100_000_000 - 1
    assert process.returncode == 0


def test_a_closed_standard_output_ends_it_quietly(seat):
    code = "while True: print('again and again')"
    pipe = subprocess.PIPE
    process = seat.start("-c", code, stdout=pipe, stderr=pipe)
    assert process.stdout.readline() == b"again and again\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 1


@pytest.mark.parametrize("between", ["time.sleep(0.1)", "sum(range(300000))"])
def test_a_closed_standard_output_ends_what_prints_now_and_then(quick, between):
    code = f"import time\nwhile True:\n    print('tick')\n    {between}"
    process = quick.start("-c", code, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(60) == 1
    process.stderr.close()


def test_a_program_may_find_that_its_output_is_closed(quick):
    code = """
import sys
try:
    while True: print('again')
except OSError as error:
    print('errno', error.errno, file=sys.stderr)
"""
    pipe = subprocess.PIPE
    process = quick.start("-c", code, stdout=pipe, stderr=pipe)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"errno 32\n"
    assert process.wait(60) in (0, 1)


def test_input_that_the_program_does_not_read_is_left_for_others(quick, tmp_path):
    lines = tmp_path / "lines"
    lines.write_text("one\ntwo\n")
    with open(lines, "rb") as file:
        process = quick.start("-c", "print('no input')", stdin=file)
        assert process.wait(60) == 0
        assert os.read(file.fileno(), 100) == b"one\ntwo\n"


def test_standard_streams_that_are_not_there(quick):
    shell = '"$@" <&- >&- 2>&-'
    command = ["sh", "-c", shell, "sh", *quick.command("-c", "print(input())")]
    assert subprocess.run(command, env=quick.environment, timeout=60, check=False).returncode == 1


def test_poll_on_standard_input(quick):
    code = """
import select, sys
poll = select.poll()
poll.register(sys.stdin, select.POLLIN)
print(bool(poll.poll(10000)), sys.stdin.readline())
"""
    assert quick("-c", code, stdin=b"typed\n").out == b"True typed\n\n"


def redirected(seat, how, code):
    """A run from a shell that changes its standard streams."""
    command = ["sh", "-c", f'"$@" {how}', "sh", *seat.command("-c", code)]
    run = subprocess.run(command, capture_output=True, env=seat.environment, timeout=60)
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize(
    "how, out, err",
    [
        ("<&-", b"out ''\n", b"err\n"),
        (">&-", b"", b"err\n"),
        ("2>&-", b"out ''\n", b""),
        (">&- 2>&-", b"", b""),
        ("<&- >&- 2>&-", b"", b""),
    ],
)
def test_streams_that_are_closed_from_the_start(quick, how, out, err):
    """As CPython: what would go there goes nowhere, and the program runs to its end."""
    code = "import sys\nprint('out', repr(sys.stdin.read()))\nprint('err', file=sys.stderr)"
    assert redirected(quick, how, code) == (0, out, err)


def test_nothing_is_said_where_nobody_reads(quick):
    assert redirected(quick, "<&- 2>&-", "import sys; sys.exit('why')") == (1, b"", b"")


@pytest.mark.parametrize("count", [1, 1_000_000])
def test_output_that_is_lost_is_a_sentence(quick, count):
    """As on a full disk: a run whose output is not all there does not succeed."""
    code, _, err = redirected(quick, ">/dev/full", f"print('x' * {count})")
    assert (code, err[-60:]) == (125, b"mpfw: standard output: No space left on device\n")
