# SPDX-License-Identifier: MIT
"""`mpfw run --capture`: the file has all that passed, however the run ends; what cannot be."""

import os
import signal
import subprocess
import time

import pytest

from mpfw.capture.reader import read
from mpfw.trace.tracer import Tracer

DEVICES = pytest.mark.hosts("vhost-user", "device", "vhost-vsock")

TALK = """
import socket, sys
listener = socket.create_server((socket.VMADDR_CID_LOCAL, 7000))
for i in range(%d):
    caller = socket.create_connection((socket.VMADDR_CID_LOCAL, 7000))
    called, _ = listener.accept()
    caller.sendall(bytes(%d))
    caller.close()
    while called.recv(65536):
        pass
    called.close()
print("done")
"""


def steps(path):
    with open(path, "rb") as file:
        return list(Tracer().steps(read(file)))


@DEVICES
def test_everything_is_in_the_file_up_to_the_last_packet(seat, tmp_path):
    path = tmp_path / "a.pcapng"
    run = seat("--capture", path, "-c", TALK % (50, 5000) + "sys.exit(7)")
    assert (run.code, run.out, run.err) == (7, b"done\n", b"")
    found = steps(path)
    assert found[-1][0].number == 51  # the driver's own packet is the first conversation
    assert found[-1][1].states == ("closed", "closed")
    assert [step.wrong for _, step in found if step.wrong] == []
    assert sum(step.length for _, step in found) == 50 * 5000


@DEVICES
def test_snaplen_cuts_payload_only(seat, tmp_path):
    path = tmp_path / "a.pcapng"
    assert seat("--capture", path, "--snaplen", 3, "-c", TALK % (1, 5000)).code == 0
    with open(path, "rb") as file:
        found = [(len(each.payload), each.length) for each in read(file) if each.length]
    assert found == [(3, 5000)]


@DEVICES
def test_a_run_that_is_ended_leaves_what_there_was(seat, tmp_path):
    path = tmp_path / "a.pcapng"
    code = TALK % (3, 10) + "import time; time.sleep(60)"
    with seat.start("--capture", path, "-c", code, stdout=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"done\n"
        time.sleep(0.5)
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 128 + signal.SIGTERM
    assert steps(path)[-1][0].number == 4


@DEVICES
def test_a_full_disk_is_said_once_and_the_program_goes_on(seat):
    run = seat("--capture", "/dev/full", "-c", TALK % (200, 5000))
    assert (run.code, run.out) == (0, b"done\n")
    said = b"mpfw: the capture has stopped: /dev/full: No space left on device\n"
    assert run.err == said


@DEVICES
def test_a_fifo_whose_reader_goes_ends_the_capture_alone(seat, tmp_path):
    path = tmp_path / "live"
    os.mkfifo(path)
    with subprocess.Popen(["head", "-c", "100", path], stdout=subprocess.DEVNULL):
        run = seat("--capture", path, "-c", TALK % (200, 5000))
    assert (run.code, run.out) == (0, b"done\n")
    assert run.err == b"mpfw: the capture has stopped: %s: its reader has gone\n" % bytes(path)


@DEVICES
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--capture", "-", "-c", "1"), b"--capture -: standard output is the program's"),
        (("--capture", "/nowhere/a", "-c", "1"), b"/nowhere/a: No such file or directory"),
        (("--capture", "a.pcapng"), b"--capture needs a program: give a script, -c or -m"),
        (("--host", "none", "--capture", "a", "-c", "1"), b"need a vsock device: not --host none"),
        (
            ("--host", "lab", "--capture", "a", "-c", "1"),
            b"--host lab: no --capture: its guests are inside",
        ),
    ],
)
def test_what_cannot_be_is_a_sentence(seat, tmp_path, words, says):
    run = seat(*words, cwd=tmp_path)
    assert run.code == 125
    assert says in run.err and run.err.count(b"\n") == 1
    assert not list(tmp_path.iterdir())


@DEVICES
def test_by_hand(seat, tmp_path):
    path = tmp_path / "a.pcapng"
    shown = seat("--dry-run", "--capture", path, "-c", TALK % (3, 10))
    done = subprocess.run(["sh", "-c", shown.out], capture_output=True, env=seat.environment)
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert steps(path)[-1][0].number == 4
