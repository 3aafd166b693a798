# SPDX-License-Identifier: MIT
"""The exit status is the program's; what is ours has statuses of its own and one sentence."""

import re

import pytest

# The same under CPython; but its status for a signal is shown by shells, and subprocess has it
# negative.
ENDINGS = {
    "nothing": ("", 0, b""),
    "exit()": ("import sys; sys.exit()", 0, b""),
    "a number": ("import sys; sys.exit(3)", 3, b""),
    "a large number": ("import sys; sys.exit(256 + 200)", 200, b""),
    "a negative number": ("import sys; sys.exit(-1)", 255, b""),
    "a word": ("import sys; sys.exit('why')", 1, b"why\n"),
    "True": ("import sys; sys.exit(True)", 1, b""),
    "raised": ("raise SystemExit(7)", 7, b""),
    "caught": ("import sys\ntry: sys.exit(3)\nexcept SystemExit: sys.exit(4)", 4, b""),
}


@pytest.mark.parametrize("code, status, err", ENDINGS.values(), ids=ENDINGS)
def test_status(seat, code, status, err):
    result = seat("-c", "print('x')\n" + code)
    assert (result.code, result.out, result.err) == (status, b"x\n", err)


def test_an_exception_is_a_traceback_with_the_right_lines(seat, write):
    script = write(
        "wrong.py", "import sys\n\n\ndef f(x):\n    return 1 // x\n\n\nprint(1)\nf(0)\n"
    )
    result = seat(script)
    assert (result.code, result.out) == (1, b"1\n")
    lines = result.err.decode().splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1:3] == [
        f'  File "{script}", line 9, in <module>',
        f'  File "{script}", line 5, in f',
    ]
    assert lines[3].startswith("ZeroDivisionError") and len(lines) == 4


@pytest.mark.parametrize("name", ["runner.py", "startup.py"])  # as two of the firmware's modules
def test_a_script_of_any_name_is_in_its_traceback(quick, write, name):
    script = write(name, "\nraise ValueError(1)\n")
    err = quick(script.name, cwd=script.parent).err.decode()
    assert f'  File "{name}", line 2, in <module>' in err and err.count("File") == 1


def test_a_syntax_error(seat, write):
    script = write("wrong.py", "print(1)\nx = (1,\nprint(2)\n")
    result = seat(script)
    assert (result.code, result.out) == (1, b"")
    assert b"SyntaxError" in result.err and b"wrong.py" in result.err


def test_a_byte_order_mark(seat, write):
    script = write("bom.py", b"\xef\xbb\xbfprint('h\xc3\xa9')\r\nprint(2)\r\n")
    assert seat(script).out == "hé\n2\n".encode()


def test_a_script_that_is_no_text_is_an_error_of_its_own(quick, write):
    result = quick(write("latin1.py", b"print('h\xe9')\n"))
    assert result.code == 1
    assert re.fullmatch(rb"Traceback .*\nSyntaxError: .*latin1.py: not UTF-8\n", result.err)


def test_power_off_is_success_and_keeps_the_output(seat):
    result = seat("-c", "import machine\nprint('last', end='')\nmachine.poweroff()\nprint('no')")
    assert (result.code, result.out, result.err) == (0, b"last", b"")


def test_a_script_that_takes_all_interrupt_vectors_ends_as_others_do(quick):
    code = """
import machine
taken = []
try:
    while True:
        taken.append(machine.Vector())
except OSError as error:
    print(len(taken) > 100, error.errno)
"""
    result = quick("-c", code)
    assert (result.code, result.out, result.err) == (0, b"True 16\n", b"")


def test_reset_has_a_status_of_its_own(seat):
    result = seat("-c", "import machine\nprint('last', end='')\nmachine.reset()")
    assert (result.code, result.out, result.err) == (122, b"last", b"")


def test_reboot_starts_it_again(quick):
    code = """
import machine, sys
print(machine.reset_cause() == machine.HARD_RESET, sys.stdin.readline())
if machine.reset_cause() == machine.PWRON_RESET:
    machine.reset()
sys.exit(5)
"""
    result = quick("--reboot", "-c", code, stdin=b"one\ntwo\n")
    assert (result.code, result.err) == (5, b"")
    assert result.out.startswith(b"False one\n\nTrue ")


def test_soft_reset_ends_it(quick):
    assert quick("-c", "import machine\nmachine.soft_reset()").code == 0


def test_a_cpu_exception_has_a_status_of_its_own_and_its_report(seat):
    code = "import machine\nprint('before')\nmachine.mem32[0x700000000000]"
    result = seat("-c", code)
    assert (result.code, result.out) == (123, b"before\n")
    assert b"EFAULT" in result.err and b"CPU exception 14" in result.err


def test_a_cpu_exception_that_is_caught_is_none(quick):
    code = "import machine\ntry: machine.mem32[0x700000000000]\nexcept OSError: print('caught')"
    assert quick("-c", code).code == 0


def test_a_time_out_keeps_what_was_printed(seat):
    code = "import time\nfor i in range(3): print(i)\ntime.sleep(1000)"
    result = seat("--timeout", 60 if seat.kind == "lab" else 4, "-c", code)
    assert (result.code, result.out, result.err) == (124, b"0\n1\n2\n", b"")


def test_a_time_out_of_what_computes_keeps_what_was_printed(quick):
    result = quick("--timeout", 4, "-c", "print('last words')\nwhile True: pass")
    assert (result.code, result.out) == (124, b"last words\n")


def test_a_time_out_beyond_what_poll_takes(quick):
    assert quick("--timeout", "1e300", "-c", "print(1)").out == b"1\n"


def sentence(result, status=125):
    """The one sentence that a run of ours ended with."""
    assert result.code == status, result
    text = result.err.decode()
    assert text.startswith("mpfw: ") and text.count("\n") == 1
    return text


def test_there_is_no_qemu(quick):
    assert "install QEMU" in sentence(quick("--qemu", "no-such-qemu", "-c", ""))
    assert "no such program" in sentence(quick("--qemu", "/no/such/qemu", "-c", ""))


def test_qemu_that_is_no_program(quick, write):
    program = write("qemu", "neither")
    program.chmod(0o755)
    assert "QEMU cannot be started" in sentence(quick("--qemu", program, "-c", ""))


def test_qemu_that_ends_at_once(quick, write):
    program = write("qemu", "#!/bin/sh\necho 'libfine.so: cannot open' >&2\nexit 127\n")
    program.chmod(0o755)
    assert "libfine.so: cannot open" in sentence(quick("--qemu", program, "-c", ""))


def test_qemu_that_refuses_its_options(quick):
    assert "nonsense" in sentence(quick("--qemu-arg=-nonsense", "-c", ""))
    assert "machine type" in sentence(quick("--machine", "no-such-machine", "-c", ""))


def test_an_image_that_is_none(quick, tmp_path, write):
    assert "make image" in sentence(quick("--image", tmp_path / "no.bin", "-c", ""))
    assert "no flash image" in sentence(
        quick("--image", write("bad.bin", bytes(2 << 20)), "-c", "")
    )


def test_a_guest_without_memory_enough(quick):
    assert "no RAM" in sentence(quick("--memory", "1M", "-c", ""))


def test_an_image_that_does_not_boot(quick, image, write):
    data = bytearray(image.read_bytes())
    data[-16:] = b"\xfa\xf4" + bytes(14)  # cli; hlt, in place of the reset vector
    result = quick("--timeout", 2, "--image", write("dead.bin", bytes(data)), "-c", "")
    assert result.code == 124


def test_a_script_that_is_not_there(quick):
    assert "can't open 'no.py': No such file" in sentence(quick("no.py"))
    assert "main.py" in sentence(quick("/"))


@pytest.mark.parametrize(
    "words, says",
    [
        (["--no-such-option", "app.py"], "--no-such-option"),
        (["--cid", "two", "app.py"], "'two'"),
        (["--cid", 2, "app.py"], "2 is not in the range"),
        (["--host", "none", "--host", "xen", "app.py"], "'xen'"),
        (["-c"], "requires an argument"),
        (["--timeout", "soon", "app.py"], "'soon'"),
        (["--timeout", "nan", "app.py"], "nan is no number of seconds"),
        (["--timeout", "inf", "app.py"], "inf is no number of seconds"),
        (["--memory", "lots", "-c", ""], "lots"),
        (["--disk", "disk.img,5000", "-c", ""], "multiple of 4 KiB"),
    ],
)
def test_wrong_options_are_a_sentence(quick, words, says, tmp_path):
    assert says in sentence(quick(*words, cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_overlay_with_a_syntax_error_is_a_sentence_of_its_own_status(quick, write, tmp_path):
    write("vsock/oops.py", "x = (\n")
    assert "oops.py:1: '(' was never closed" in sentence(quick("--overlay", tmp_path, "-c", ""), 1)


def test_what_cannot_be_written(quick):
    assert "No such file" in sentence(quick("--log", "/no/such/log", "-c", ""))


def test_the_log(quick, tmp_path):
    log = tmp_path / "with, comma.log"
    assert quick("--log", log, "-c", "import machine; machine.log('here', 'what')").code == 0
    assert "INFO here: what" in log.read_text()


def test_options_are_machines(quick):
    code = "import machine, gc\nprint(machine.unique_id()[:2])"
    words = ["--memory", 32, "--cpus", 2, "--machine", "pc", "--accel", "tcg"]
    uuid = "12340000-0000-0000-0000-000000000000"
    result = quick(*words, "--qemu-arg=-uuid", f"--qemu-arg={uuid}", "-c", code)
    assert (result.code, result.out) == (0, b"b'\\x124'\n")


def test_nothing_but_the_programs_words_is_printed_without_a_terminal(seat):
    result = seat("-c", "pass")
    assert (result.code, result.out, result.err) == (0, b"", b"")


@pytest.mark.hosts("vhost-user")
def test_a_daemon_that_cannot_be_had_is_a_sentence(seat):
    environment = {**seat.environment, "VHOST_DEVICE_VSOCK": "/no/such/daemon"}
    assert "no vsock device" in sentence(seat("-c", "", env=environment))
    result = seat("--host", "auto", "-c", "print(1)", env=environment)
    assert (result.code, result.out) == (0, b"1\n")
    assert result.err.startswith(b"mpfw: no vsock device")
