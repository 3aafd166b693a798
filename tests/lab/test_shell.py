# SPDX-License-Identifier: MIT
"""`make lab`, as a person at a terminal meets it."""

import os
import pty
import subprocess
import sys

import pytest
from terminal import read_until


@pytest.fixture
def shell(image):
    """(process, our end of its terminal) of `mpfw lab`, at its first prompt."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mpfw", "lab", "--image", str(image)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    read_until(ours, b"/lab # ", 60)
    yield process, ours
    process.kill()
    process.wait()
    os.close(ours)


def test_person_boots_the_firmware_in_the_lab_and_leaves(shell):
    process, terminal = shell
    os.write(terminal, b"firmware\r")
    read_until(terminal, b"READY vsock cid=33 port=1234", 60)
    os.write(terminal, b"\x03")
    read_until(terminal, b">>> ")
    os.write(terminal, b"\x01x")
    read_until(terminal, b"/lab # ")
    os.write(terminal, b"exit 3\r")
    assert process.wait(20) == 3
