# SPDX-License-Identifier: MIT
"""A script that runs as a program: exact streams over a virtio-console, CPython's exit status."""

import contextlib
import hashlib
import random
import socket
import struct
import subprocess
import sys
import threading

import pytest

from mpfw.guest.programs import drain

STANDARD_ERROR, STATUS, STARTED, INPUT_WANTED, PLACE = range(1, 6)  # frames that the guest sends
ALL_OF_STDIN = 1  # the kind that it takes
NOISE = random.Random(12).randbytes(1 << 20)


class Program:
    """What a run left behind: what QEMU ended with, the script's status, output and errors."""

    def __init__(self, code, out, frames):
        self.code = code
        self.status = None
        self.out = out
        self.err = b""
        while frames:
            kind, length = struct.unpack_from("<II", frames)
            content, frames = frames[8 : 8 + length], frames[8 + length :]
            if kind == STANDARD_ERROR:
                self.err += content
            elif kind == STATUS:
                assert not frames, "something follows the status"
                self.status, written = struct.unpack("<IQ", content)
                assert written == len(out)
            else:
                assert kind in (STARTED, INPUT_WANTED, PLACE)


@pytest.fixture
def run(boot, tmp_path):
    """A function that runs a script to its end: run(source, stdin=b"", argv=b"")."""

    def run(source, stdin=b"", argv=b""):
        ports = []
        options = ["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        options += ["-device", "virtio-serial-pci,max_ports=3"]
        for number, name in enumerate(("io", "err"), 1):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(tmp_path / name))
            listener.listen()
            ports.append(listener)
            options += ["-chardev", f"socket,id={name},path={tmp_path / name}"]
            options += ["-device", f"virtserialport,chardev={name},name=mpfw.{name},nr={number}"]
        guest = boot(
            extra=tuple(options),
            fw_cfg={
                "opt/micropython/main.py": source,
                "opt/micropython/name": "app.py",
                "opt/micropython/argv": argv,
                "opt/micropython/run": "exit",
            },
        )
        io, err = (listener.accept()[0] for listener in ports)
        found = {}
        readers = [
            threading.Thread(target=lambda name=name, port=port: found.update({name: drain(port)}))
            for name, port in (("out", io), ("frames", err))
        ]
        for reader in readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError):  # a program that reads nothing may be over
            err.sendall(struct.pack("<IIQ", ALL_OF_STDIN, 8, len(stdin)))
            io.sendall(stdin)
        code = guest.wait(60)
        for reader in readers:
            reader.join(20)
        for port in (io, err, *ports):
            port.close()
        (tmp_path / "io").unlink()
        (tmp_path / "err").unlink()
        return Program(code, found["out"], found["frames"])

    return run


def test_what_is_printed_arrives_as_it_is_and_the_status_is_0(run):
    text = "one\r\ntwo\nthree\r ä € \U0001f600"
    program = run(f"print({text!r})\nimport sys\nprint('oops', file=sys.stderr)\n")
    assert program.out.decode() == text + "\n"
    assert program.err == b"oops\n"
    assert (program.status, program.code) == (0, 0)


def test_all_values_of_a_byte_pass(run):
    program = run("import sys\nsys.stdout.buffer.write(bytes(range(256)) * 300)\n")
    assert program.out == bytes(range(256)) * 300


def test_standard_input_comes_whole_and_ends(run):
    program = run(
        "import sys\n"
        "data = sys.stdin.buffer.read()\n"
        "sys.stdout.buffer.write(data)\n"
        "print(len(data), sys.stdin.buffer.read(5), file=sys.stderr)\n",
        NOISE,
    )
    assert hashlib.sha256(program.out).digest() == hashlib.sha256(NOISE).digest()
    assert program.err == b"%d b''\n" % len(NOISE)


def test_lines_of_text_have_the_ends_that_cpython_gives_them(run):
    code, lines = "import sys\nprint([line for line in sys.stdin])\n", b"a\nb\r\nc\rd"
    cpython = subprocess.run([sys.executable, "-c", code], input=lines, capture_output=True)
    assert run(code, lines).out == cpython.stdout == b"['a\\n', 'b\\r\\n', 'c\\rd']\n"


def test_ten_megabytes_arrive(run):
    program = run("import sys\nfor i in range(10):\n    sys.stdout.buffer.write(bytes(1000000))\n")
    assert program.out == bytes(10_000_000)


def test_an_exception_is_status_1_and_a_traceback_of_the_scripts_own_lines(run):
    program = run("def f():\n    1 // 0\n\nprint('before')\nf()\n")
    assert (program.status, program.code, program.out) == (1, 3, b"before\n")
    assert program.err.decode().splitlines() == [
        "Traceback (most recent call last):",
        '  File "app.py", line 5, in <module>',
        '  File "app.py", line 2, in f',
        "ZeroDivisionError: divide by zero",
    ]


@pytest.mark.parametrize(
    "ending, status, said",
    [
        ("sys.exit()", 0, b""),
        ("sys.exit(3)", 3, b""),
        ("sys.exit(300)", 44, b""),
        ("sys.exit('that was it')", 1, b"that was it\n"),
        ("raise KeyboardInterrupt", 130, None),
        ("import machine; machine.mem32[0x700000000000]", 123, None),
    ],
)
def test_the_status_is_what_cpython_ends_with(run, ending, status, said):
    program = run(f"import sys\n{ending}\n")
    assert program.status == status
    assert program.err == said if said is not None else b"app.py" in program.err


def test_a_syntax_error_names_its_line(run):
    program = run("x = 1\ny = (\n")
    assert program.status == 1
    assert b'File "app.py", line 3' in program.err and b"SyntaxError" in program.err


def test_a_byte_order_mark_is_no_syntax_error(run):
    assert run("\ufeffprint('hi')\n").out == b"hi\n"


def test_arguments_arrive_word_for_word(run):
    program = run("import sys\nprint(sys.argv)\n", argv=b"a b\0\0'\"\0\xc3\xa9\0")
    assert program.out.decode() == "['app.py', 'a b', '', '\\'\"', '\\xe9']\n"


@pytest.mark.parametrize("ending", ["poweroff", "reset"])
def test_what_was_printed_before_power_off_or_reset_arrives(run, ending):
    program = run(f"import machine\nprint('before')\nmachine.{ending}()\n")
    assert program.out == b"before\n"
    assert (program.status, program.code) == (None, 0)
