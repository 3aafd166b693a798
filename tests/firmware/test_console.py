# SPDX-License-Identifier: MIT
"""COM1 is MicroPython's console: REPL, raw REPL, raw paste, Ctrl-C, soft reset."""

import time

import pytest

from mpfw.guest.console import RemoteError


def test_banner_names_version_and_port(boot):
    guest = boot()
    banner = guest.console.expect(rb"(MicroPython v[^\r]*)\r\n.*>>> ").group(1)
    assert b"1.25" in banner
    assert b"x86_64" in banner


def test_uncaught_exception_gives_traceback_and_prompt(repl):
    repl.console.send("def f(): return 1 // 0\r\r")
    repl.console.wait_prompt()
    repl.console.send("f()\r")
    said = repl.console.expect(rb"Traceback(.*?)>>> ").group(1)
    assert b'File "<stdin>", line 1, in f' in said
    assert said.endswith(b"ZeroDivisionError: divide by zero\r\n")
    assert repl.console.eval("1 + 1") == 2


def test_exception_in_raw_repl_reaches_the_caller(repl):
    with pytest.raises(RemoteError, match="KeyError: missing"):
        repl.console.exec("print('before')\n{}['missing']")


def test_ctrl_c_interrupts_an_endless_loop(repl):
    repl.console.send("while True: pass\r\r")
    time.sleep(0.3)
    repl.console.send(b"\x03")
    repl.console.expect(rb"KeyboardInterrupt: \r\n>>> ")


@pytest.mark.parametrize(
    "waiting",
    [
        "import time; time.sleep(60)",
        "from machine import wait\rwhile True: wait(60_000_000)\r",
        "import sys; sys.stdin.readline()",
        "import asyncio; asyncio.run(asyncio.wait_for(asyncio.Event().wait(), 60))",
        "import select, sys; p = select.poll(); p.register(sys.stdout, 1); p.poll(60000)",
    ],
)
def test_ctrl_c_interrupts_waiting(repl, waiting):
    repl.console.send(waiting + "\r")
    time.sleep(0.3)
    started = time.monotonic()
    repl.console.send(b"\x03")
    repl.console.expect(rb"KeyboardInterrupt: \r\n>>> ")
    assert time.monotonic() - started < 50


def test_soft_reset_clears_names_and_keeps_files(repl):
    repl.console.exec("x = 1\nopen('kept', 'w').write('kept')")
    repl.console.soft_reset()
    with pytest.raises(RemoteError, match="NameError"):
        repl.console.exec("x")
    assert repl.console.eval("open('kept').read()") == "kept"


def test_fifty_soft_resets_leak_no_memory(repl):
    def free():
        return repl.console.eval("(__import__('gc').collect(), __import__('gc').mem_free())[1]")

    repl.console.soft_reset()
    before = free()
    for _ in range(50):
        repl.console.soft_reset()
    assert abs(free() - before) < 4096


def test_raw_paste_of_200_kb_loses_no_byte(repl):
    lines = [f"total += {n}\n" for n in range(14_500)]
    code = "total = 0\n" + "".join(lines) + "print(total)"
    assert len(code) >= 200_000
    assert repl.console.exec(code, 60) == f"{sum(range(len(lines)))}\n"


def test_output_of_1_mb_arrives_whole(repl):
    output = repl.console.exec("for i in range(16384): print('%063d' % i)", 60)
    assert output == "".join(f"{i:063d}\n" for i in range(16384))


def test_stdin_is_a_stream_that_poll_watches(repl):
    repl.console.start(
        "import sys, select\np = select.poll()\np.register(sys.stdin, select.POLLIN)\n"
        "print(p.poll(0), end='|')\nprint(len(p.poll(5000)), sys.stdin.read(3))"
    )
    repl.console.expect(rb"\[\]\|")
    time.sleep(0.2)
    repl.console.send("abc")
    assert repl.console.finish() == "1 abc\n"


def test_clock_tells_the_hosts_time(repl):
    assert abs(repl.console.eval("__import__('time').time()") - time.time()) < 5
    code = "import time; print(time.gmtime(86400.9)[:6])"
    assert repl.console.exec(code) == "(1970, 1, 2, 0, 0, 0)\n"


@pytest.mark.parametrize("clock", ["time", "monotonic", "perf_counter"])
def test_clocks_measure_parts_of_seconds(repl, clock):
    code = f"import time; a = time.{clock}(); time.sleep(0.2); print(time.{clock}() - a)"
    assert 0.19 < float(repl.console.exec(code)) < 10


def test_ticks_run_at_the_hosts_pace(repl):
    code = "a = time.ticks_us(); time.sleep(3); print(time.ticks_diff(time.ticks_us(), a))"
    started = time.monotonic()
    elapsed = repl.console.exec(f"import time; {code}")
    host = time.monotonic() - started
    assert 2.95e6 < int(elapsed) < host * 1.02e6
