# SPDX-License-Identifier: MIT
"""Nothing is left of a run, however it ends: no process, no socket, no file. The fixtures look."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

ENDLESS = "import time\nprint('go')\nwhile True: time.sleep(1)"
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL]


def popen(words, **options):
    """A program that may be a run's parent."""
    return subprocess.Popen(words, stdout=subprocess.PIPE, **options)


def started(seat, *words, **options):
    """A run whose program runs."""
    process = seat.start(*words, "-c", ENDLESS, stdout=subprocess.PIPE, **options)
    assert process.stdout.readline() == b"go\n"
    return process


def ended(process, seconds=20):
    """The exit status; the pipes are closed."""
    with process:
        return process.wait(seconds)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal(seat, number):
    process = started(seat, stderr=subprocess.PIPE)
    process.send_signal(number)
    said = process.stderr.read()
    expected = -number if number == signal.SIGKILL else 128 + number
    assert ended(process) == expected
    assert (b"KeyboardInterrupt" in said) == (number == signal.SIGINT)
    seat.wait_for_nothing()


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_to_its_process_group(quick, number):
    process = started(quick, start_new_session=True, stderr=subprocess.DEVNULL)
    os.killpg(process.pid, number)
    ended(process)
    quick.wait_for_nothing()


def test_ctrl_c_is_the_programs(quick):
    code = """
import time
print('go')
try:
    time.sleep(100)
except KeyboardInterrupt:
    print('interrupted')
"""
    process = quick.start("-c", code, stdout=subprocess.PIPE)
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == b"interrupted\n"
    assert ended(process) == 0


def test_a_second_ctrl_c_ends_what_does_not_care(quick):
    code = """
import time
while True:
    try:
        print('go')
        time.sleep(100)
    except KeyboardInterrupt:
        pass
"""
    process = quick.start("-c", code, stdout=subprocess.PIPE)
    for _ in range(2):
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
    assert ended(process) == 130


def test_an_ignored_hangup_ends_nothing(quick):
    shell = 'trap "" HUP; exec "$@"'
    words = ["sh", "-c", shell, "sh", *quick.command("-c", ENDLESS)]
    process = popen(words, env=quick.environment)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.terminate()
    assert ended(process) == 143


PARENT = """
import subprocess, sys
subprocess.Popen(sys.argv[1:]).wait()
"""


def test_a_killed_parent(seat):
    words = [sys.executable, "-c", PARENT, *seat.command("-c", ENDLESS)]
    parent = popen(words, env=seat.environment)
    assert parent.stdout.readline() == b"go\n"
    parent.kill()
    ended(parent)
    seat.wait_for_nothing()


def test_a_parent_that_ends_leaves_what_ignores_hangups(quick):
    words = ["sh", "-c", 'trap "" HUP; "$@" & read line', "sh", *quick.command("-c", ENDLESS)]
    shell = popen(words, stdin=subprocess.PIPE, env=quick.environment)
    assert shell.stdout.readline() == b"go\n"
    shell.stdin.close()
    shell.wait(10)
    time.sleep(0.5)
    (number,) = [pid for pid, line in quick.processes().items() if b"mpfw\0run" in line][:1]
    os.kill(number, signal.SIGTERM)
    shell.stdout.close()
    quick.wait_for_nothing()


def test_a_thread_that_ends_ends_nothing(quick):
    code = """
import subprocess, sys, threading, time
def start():
    global run
    run = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
thread = threading.Thread(target=start)
thread.start()
thread.join()
print(run.stdout.readline())
time.sleep(1)
print(run.poll())
run.terminate()
print(run.wait())
"""
    words = [sys.executable, "-c", code, *quick.command("-c", ENDLESS)]
    said = subprocess.run(
        words, capture_output=True, env=quick.environment, timeout=60, check=True
    )
    assert said.stdout == b"b'go\\n'\nNone\n143\n"


def guardian_of(seat, process):
    """The guardian's process number."""
    children = f"/proc/{process.pid}/task/{process.pid}/children"
    with open(children) as file:
        (number,) = file.read().split()
    return int(number)


def test_a_killed_guardian_takes_its_guest_along(seat):
    process = started(seat)
    os.kill(guardian_of(seat, process), signal.SIGKILL)
    assert ended(process) == 125
    seat.wait_for_nothing()


def test_a_killed_qemu(quick):
    process = started(quick, stderr=subprocess.PIPE)
    (number,) = [pid for pid, line in quick.processes().items() if b"\0-machine\0" in line]
    os.kill(number, signal.SIGKILL)
    assert process.stderr.read() == b"mpfw: QEMU was ended by a signal: Killed\n"
    assert ended(process) == 125


def test_eight_at_once(seat, write):
    script = write("app.py", "import sys\nprint(sys.argv[1] * 100000)\nsys.exit(int(sys.argv[1]))")
    pipe = subprocess.PIPE
    runs = [seat.start(script, number, stdout=pipe) for number in range(8)]
    for number, run in enumerate(runs):
        assert run.stdout.read() == b"%d" % number * 100000 + b"\n"
        assert ended(run, 60) == number


CID = "import socket, sys\nprint(socket.get_local_cid())\nsys.stdin.read()"


@pytest.mark.hosts("vhost-user", "device", "vhost-vsock")  # each lab has a kernel of its own
def test_guests_at_once_have_cids_of_their_own(seat):
    pipe = subprocess.PIPE
    runs = [seat.start("-c", CID, stdin=pipe, stdout=pipe) for _ in range(3)]
    assert len({run.stdout.readline() for run in runs}) == 3
    for run in runs:
        run.stdin.close()
        assert run.wait(20) == 0
        run.stdout.close()


@pytest.mark.hosts("vhost-user", "device", "vhost-vsock", "lab")
def test_a_cid_of_ones_choice(seat):
    assert seat("--cid", 1234, "-c", CID).out == b"1234\n"


def kill_at_random(seat, count):
    """Start and kill runs, at moments from the first instruction to after the end."""
    for turn in range(count):
        number = SIGNALS[turn % len(SIGNALS)]
        process = seat.start("-c", ENDLESS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(random.uniform(0, 0.5))
        process.send_signal(number)
        if number == signal.SIGINT:  # which the program may catch in the middle of something
            time.sleep(random.uniform(0, 0.1))
            process.send_signal(number)
        process.wait(20)
        if turn % 6 == 5:
            seat.wait_for_nothing()
    seat.wait_for_nothing()


@pytest.mark.hosts("none", "vhost-user", "device", "vhost-vsock")
def test_killed_at_random_moments(seat):
    kill_at_random(seat, 12)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.hosts("vhost-user", "device", "vhost-vsock", "lab")
def test_killed_two_hundred_times(seat):
    kill_at_random(seat, 8 if seat.kind == "lab" else 200)
