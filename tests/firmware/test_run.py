# SPDX-License-Identifier: MIT
"""`make run` and the smoke test, as their users meet them: the README's contracts."""

import os
import subprocess
import sys

import pytest
from terminal import on_terminal, read_until

MPFW = [sys.executable, "-m", "mpfw"]


@pytest.fixture
def options(image, request):
    """What makes mpfw test the image and the device under test."""
    kind = request.config.getoption("--host")
    return ["--image", str(image), "--host", "auto" if kind == "lab" else kind]


def mpfw(*arguments, timeout=60):
    return subprocess.run(
        [*MPFW, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_run_without_a_terminal_converses_both_ways_and_powers_off(options):
    result = mpfw("run", *options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "guest to host: socat - " in result.stdout
    assert "    < hello from micropython\n" in result.stdout
    assert "host to guest: socat - " in result.stdout
    assert result.stdout.count("    > line ") == result.stdout.count("    < line ") == 6
    assert "power-on to READY" in result.stdout
    assert "powered itself off" in result.stdout


MUTE = """
import socket
print('READY vsock cid=%d port=1234' % socket.get_local_cid())
while True: pass
"""

# Echoes, but not quite what came.
FORGETFUL = """
import socket
listener = socket.create_server((socket.VMADDR_CID_ANY, 1234))
print('READY vsock cid=%d port=1234' % socket.get_local_cid())
connection, peer = listener.accept()
while data := connection.recv(4096):
    connection.sendall(data[:-1] + b'?')
"""


@pytest.fixture
def image_with(tmp_path):
    """A function: an image that runs the script given in place of the echo."""

    def build(script):
        image, app = tmp_path / "other.bin", tmp_path / "app"
        app.mkdir()
        (app / "main.py").write_text(script)
        subprocess.run([*MPFW, "image", "build", "--app", app, "-o", image], check=True)
        return image

    return build


def test_run_fails_when_the_conversation_fails(options, image_with):
    result = mpfw("run", *options, "--image", image_with(MUTE))
    assert result.returncode != 0
    assert "mpfw: socat" in result.stderr


def test_run_on_a_terminal_hands_the_console_over(options):
    with on_terminal([*MPFW, "run", *options]) as (ours, process):
        read_until(ours, b"The console is yours", 60)
        os.write(ours, b"\x03")
        read_until(ours, b">>> ")
        os.write(ours, b"print('sum', 40 + 2)\r")
        read_until(ours, b"sum 42\r\n")
        os.write(ours, b"\x01x")  # Ctrl-A x
        assert process.wait(20) == 0


def test_run_script_with_arguments(options, tmp_path):
    script = tmp_path / "app.py"
    script.write_text("import sys, machine\nprint(sys.argv[1:])\nmachine.poweroff()\n")
    command = [*MPFW, "run", *options, str(script), "it's", "two words"]
    with on_terminal(command) as (ours, process):
        read_until(ours, b"[\"it's\", 'two words']", 60)
        assert process.wait(20) == 0


def test_smoke_passes_on_the_image(options):
    result = mpfw("smoke", options[1], *options[2:])
    assert result.returncode == 0, result.stdout + result.stderr
    assert "1048576 bytes echoed" in result.stdout


def test_smoke_fails_when_the_echo_differs(options, image_with):
    result = mpfw("smoke", image_with(FORGETFUL), *options[2:])
    assert result.returncode != 0
    assert "the echo differs" in result.stderr


def test_smoke_fails_on_an_image_that_does_not_boot(options, image, tmp_path):
    broken = tmp_path / "broken.bin"
    data = bytearray(image.read_bytes())
    data[-16:] = bytes(16)  # no reset vector
    broken.write_bytes(data)
    result = mpfw("smoke", broken, *options[2:], "--timeout", 3)
    assert result.returncode != 0
    assert "READY" in result.stderr
