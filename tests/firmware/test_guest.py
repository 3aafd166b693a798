# SPDX-License-Identifier: MIT
"""mpfw.Guest, as its users have it, without a vsock device: scripts, requests, errors, its end."""

import asyncio
import errno
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

import mpfw
from mpfw import paths
from mpfw.guest import guest as guests

SECONDS = 30


@pytest.fixture
def start(image):
    """A function that takes what mpfw.Guest takes; its guests end with the test."""
    started = []

    def start(*arguments, **options):
        made = mpfw.Guest(*arguments, **{"host": "none", "image": image, "timeout": 30} | options)
        started.append(made)
        return made.__enter__()

    yield start
    for each in started:
        each.close()


@pytest.fixture
def guest(start):
    """A guest that takes requests."""
    return start()


# -- scripts --------------------------------------------------------------------------------------


def test_a_script_has_arguments_input_output_errors_and_a_status(start):
    code = (
        "import sys, os\n"
        "print(sys.argv[1:], os.getenv('WHO'), sys.stdin.read())\n"
        "print('oops', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    guest = start(code=code, args=["a b", ""], stdin=b"typed", env={"WHO": "me"})
    assert guest.wait_status() == 3
    assert guest.status == 3
    assert (guest.output, guest.errors) == ("['a b', ''] me typed\n", "oops\n")


def test_a_scripts_file_brings_its_modules_along(start, tmp_path):
    (tmp_path / "app.py").write_text("import beside\nprint(beside.WORD)\n")
    (tmp_path / "beside.py").write_text("WORD = 'beside'\n")
    guest = start(tmp_path / "app.py")
    assert (guest.wait_status(), guest.output) == (0, "beside\n")


def test_all_of_a_megabyte_of_input_comes_back(start):
    data = bytes(range(256)) * 4096
    code = "import sys\nsys.stdout.buffer.write(sys.stdin.buffer.read())\n"
    guest = start(code=code, stdin=data)
    assert guest.wait_status() == 0
    assert guest.output_bytes == data


@pytest.mark.parametrize(
    "ending, status",
    [("1 // 0", 1), ("machine.poweroff()", 0), ("machine.reset()", 122)],
)
def test_the_status_is_that_of_mpfw_run(start, ending, status):
    guest = start(code=f"import machine\n{ending}\n")
    assert guest.wait_status() == status
    assert ("ZeroDivisionError" in guest.errors) == (status == 1)


def test_a_script_that_runs_has_no_status_yet_and_can_be_interrupted(start):
    guest = start(code="print('on')\nwhile True:\n    pass\n")
    guest.ready("on")
    assert guest.status is None
    with pytest.raises(mpfw.GuestTimeout, match="still runs after 0.3 s") as raised:
        guest.wait_status(timeout=0.3)
    assert "--- output ---\non" in raised.value.last_words
    guest.interrupt()
    assert guest.wait_status() == 130
    assert "KeyboardInterrupt" in guest.errors


def test_expect_reads_on_where_it_left_off(start):
    guest = start(code="for n in range(3):\n    print('line', n)\n")
    found = [guest.expect(r"line (\d)").group(1) for _ in range(3)]
    assert found == [b"0", b"1", b"2"]
    with pytest.raises(mpfw.GuestEnded, match="did not print 'line'"):
        guest.expect("line")


def test_a_script_takes_no_requests_and_says_so(start):
    guest = start(code="pass")
    with pytest.raises(mpfw.NotPossible, match="runs a script of its own"):
        guest.run("print(1)")


# -- requests -------------------------------------------------------------------------------------


def swapped(one, two, *, times=1):
    print("swapping")
    return [two, one] * times, {"both": (one, two)}


@pytest.mark.parametrize(
    "value", [None, True, -1, 1 << 70, 1.5, "ä€\U0001f600\n\0", b"\0\xff", [], {"a": [1, (2,)]}]
)
def test_values_pass_both_ways_as_they_are(guest, value):
    assert guest.call(swapped, value, "x") == (["x", value], {"both": (value, "x")})


def test_keywords_pass_and_what_is_printed_is_kept(guest):
    assert guest.call(swapped, 1, 2, times=2)[0] == [2, 1, 2, 1]
    assert guest.output == "swapping\n"


def test_run_gives_what_was_printed_and_its_names_stay(guest):
    assert guest.run("x = 6\nprint('x is', x)") == "x is 6\n"
    assert guest.run("print(x * 7)") == "42\n"
    guest.run("def seven():\n    return 7\n")
    assert guest.call("seven") == 7
    assert guest.output == "x is 6\n42\n"


def test_a_file_is_run_under_its_own_name(guest, tmp_path):
    (tmp_path / "code.py").write_text("def f():\n    1 // 0\n")
    guest.run(tmp_path / "code.py")
    with pytest.raises(mpfw.RemoteError, match='File "code.py", line 2, in f'):
        guest.call("f")


def fails(number):
    print("before")
    raise OSError(number)


def test_an_exception_comes_with_its_traceback_in_our_lines(guest):
    with pytest.raises(mpfw.RemoteError) as raised:
        guest.call(fails, 104)
    error = raised.value
    assert (error.name, error.errno, error.output) == ("ConnectionResetError", 104, "before\n")
    line = fails.__code__.co_firstlineno + 2
    assert str(error).splitlines() == [
        "Traceback (most recent call last):",
        f'  File "test_guest.py", line {line}, in fails',
        "ConnectionResetError: [Errno 104] ECONNRESET",
    ]
    assert guest.call(swapped, 1, 2)


def gives(what):
    return {"object": object(), "nan": float("nan"), "deep": [{"x": {1: object}}]}[what]


@pytest.mark.parametrize("what", ["object", "nan", "deep"])
def test_a_result_that_json_has_not_is_an_error_of_the_call(guest, what):
    with pytest.raises(mpfw.RemoteError, match="JSON"):
        guest.call(gives, what)


def test_an_argument_that_json_has_not_is_refused_here(guest):
    with pytest.raises(TypeError, match="arguments that JSON has"):
        guest.call(swapped, object(), 1)
    with pytest.raises(TypeError, match="define it in a file, with def"):
        guest.call(print)
    with pytest.raises(TypeError, match="plain functions"):
        guest.call(lambda: 1)


def for_ever():
    print("on and on")
    while True:
        pass


def test_a_call_that_takes_too_long_is_interrupted_and_the_guest_goes_on(guest):
    with pytest.raises(mpfw.GuestTimeout, match=r"no answer in 0.3 s") as raised:
        guest.call(for_ever, timeout=0.3)
    assert "in for_ever\nKeyboardInterrupt" in str(raised.value)
    assert "on and on" in raised.value.last_words
    assert guest.call(swapped, 1, 2)[0] == [2, 1]


def test_threads_take_turns(guest):
    answers = []

    def ask(number):
        answers.append((number, guest.call(swapped, number, 0)[0][1]))

    threads = [threading.Thread(target=ask, args=[n]) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(answers) == [(n, n) for n in range(20)]


@pytest.mark.parametrize("length", [0, 1, 65536, 3_000_001])
def test_files_come_back_as_they_were_put(guest, length):
    data = bytes(range(251)) * (length // 251 + 1)
    guest.files.put("/file", data[:length])
    assert guest.files.get("/file") == data[:length]


def test_a_text_and_a_file_of_ours_can_be_put(guest, tmp_path):
    (tmp_path / "here").write_text("from here")
    guest.files.put("/text", "täxt")
    guest.files.put("/there", tmp_path / "here")
    assert guest.run("print(open('/text').read(), open('/there').read())") == "täxt from here\n"


def test_a_file_that_cannot_be_read_or_written_is_an_error_with_its_number(guest):
    with pytest.raises(mpfw.RemoteError) as raised:
        guest.files.get("/nowhere")
    assert raised.value.errno == errno.ENOENT
    with pytest.raises(mpfw.RemoteError) as raised:
        guest.files.put("/no/where", bytes(200_000))
    assert raised.value.errno == errno.ENOENT
    assert guest.run("print(1)") == "1\n"


@pytest.mark.parametrize("how", ["machine.poweroff()", "machine.reset()"])
def test_a_guest_that_ends_under_a_call_is_told_of(guest, how):
    with pytest.raises(mpfw.GuestEnded) as raised:
        guest.run(f"import machine\nprint('the last word')\n{how}")
    assert "the last word" in raised.value.last_words
    if how == "machine.reset()":
        assert guest.run("print('again')") == "again\n"
    else:
        with pytest.raises(mpfw.GuestEnded):
            guest.run("print(1)")


def test_qmp_the_log_and_the_report_are_there(guest):
    guest.ready()
    assert guest.qmp("query-status")["status"] == "running"
    assert "INFO startup: mpfw.agent" in guest.log
    assert "qemu-system-x86_64" in guest.report()


# -- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_is_where_another_guest_goes_on(guest, start):
    guest.run("x = 41")
    snapshot = guest.snapshot()
    guest.run("x += 1")
    assert guest.run("print(x)") == "42\n"
    other = start(snapshot=snapshot)
    assert other.run("x += 100; print(x)") == "141\n"
    assert guest.run("print(x)") == "42\n"


# -- errors at the start --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, says",
    [
        ({"script": "/no/where.py"}, "can't open '/no/where.py'"),
        ({"qemu": "/no/qemu"}, "/no/qemu: there is no such program"),
        ({"image": "/no/image"}, "/no/image: No such file"),
        ({"host": "usb"}, "no vsock device 'usb'"),
        ({"disk": "/no/where/disk"}, "/no/where/disk cannot be a disk"),
        ({"script": "a.py", "code": "b"}, "a script or code, not both"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_what_cannot_be_started_is_one_sentence(start, options, says):
    with pytest.raises(mpfw.StartError) as raised:
        start(**options)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_qemu_refuses_is_in_the_error(start):
    with pytest.raises(mpfw.GuestEnded, match="QEMU: .*no-such-option"):
        start(qemu_args=["-no-such-option"]).ready()


def test_without_a_device_the_error_says_why(guest):
    with pytest.raises(mpfw.NotPossible, match="no vsock device"):
        guest.connect(7)


# -- its end --------------------------------------------------------------------------------------


def test_a_closed_guest_is_one_that_has_ended(guest):
    guest.close()
    for ask, about in (guest.run, "1"), (guest.call, "abs"), (guest.files.get, "/"):
        with pytest.raises(mpfw.GuestEnded):
            ask(about)


def test_nothing_is_left_of_a_guest(start):
    guest = start()
    guest.ready()
    directory, process = guest.directory, guest.process
    assert directory.exists()
    guest.close()
    guest.close()
    assert not directory.exists()
    assert process.poll() is not None
    assert guest not in guests.running


KILLED = """
import sys, time, mpfw
guest = mpfw.Guest(host="none", image=sys.argv[1]).__enter__()
guest.ready()
print(guest.directory, guest.process.pid, flush=True)
time.sleep(100)
"""


def test_nothing_is_left_if_the_program_is_killed(image):
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, image], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    with process.stdout as said:
        directory, pid = said.readline().split()
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + SECONDS
    gone = ["sh", "-c", f"! [ -e {directory} ] && ! [ -e /proc/{pid} ]"]
    while subprocess.run(gone, check=False).returncode:
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.01)


# -- asyncio --------------------------------------------------------------------------------------


def test_two_event_loops_use_one_guest_each_after_the_other(image):
    guest = mpfw.AsyncGuest(host="none", image=image)

    async def begin():
        await guest.__aenter__()
        return await guest.run("print('one loop')")

    async def end():
        try:
            await guest.files.put("/file", b"data")
            return await guest.call(swapped, 1, 2), await guest.files.get("/file")
        finally:
            await guest.__aexit__()

    assert asyncio.run(begin()) == "one loop\n"
    assert asyncio.run(end()) == (([2, 1], {"both": (1, 2)}), b"data")


def test_a_call_that_is_cancelled_is_interrupted(image):
    async def main():
        async with mpfw.AsyncGuest(host="none", image=image) as guest:
            task = asyncio.create_task(guest.call(for_ever))
            await guest.expect("on and on", SECONDS)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return await guest.run("print('free')", SECONDS)

    assert asyncio.run(main()) == "free\n"


def test_guests_of_one_loop_run_side_by_side(image):
    async def one(number):
        code = f"import sys, time\ntime.sleep(0.5)\nsys.exit({number})"
        async with mpfw.AsyncGuest(code=code, host="none", image=image) as guest:
            return await guest.wait_status()

    async def main():
        return await asyncio.gather(*map(one, range(4)))

    assert asyncio.run(main()) == [0, 1, 2, 3]


# -- documents ------------------------------------------------------------------------------------

PROGRAMS = [
    pytest.param(text, id=f"{name}-{number}")
    for name in ("README.md", "docs/api.md")
    for number, text in enumerate(
        re.findall(r"^```python\n(.*?)^```$", (paths.ROOT / name).read_text(), re.M | re.S)
    )
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_a_document_shows_runs(program, tmp_path):
    (tmp_path / "shown.py").write_text(program)
    command = [sys.executable, "shown.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
