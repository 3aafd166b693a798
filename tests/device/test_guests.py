# SPDX-License-Identifier: MIT
"""`mpfw device` with QEMU and a guest at it, and the programs that people use."""

import shutil
import signal
import socket
import subprocess

import pytest
from places import Place

from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine
from mpfw.guest.vsockhost import DeviceVsock

READY = "READY vsock cid=33 port=1234"


DIALS = """
import hashlib, socket, time
data = bytes(range(256)) * 4096
s = socket.socket()
while True:
    try:
        s.connect((33, 1234))
        break
    except OSError as error:
        print(error)
        time.sleep(0.1)
s.settimeout(60)
got = hashlib.sha256()
n = 0
for at in range(0, len(data), 32768):
    s.sendall(data[at : at + 32768])
    want = min(at + 32768, len(data))
    while n < want:
        more = s.recv(65536)
        got.update(more)
        n += len(more)
s.shutdown(socket.SHUT_WR)
print("end", s.recv(1), got.digest() == hashlib.sha256(data).digest())
"""


class Again(DeviceVsock):
    """A guest at a device that runs already."""

    def __init__(self, control, path, cid=33):
        super().__init__(cid)
        self._control, self._path, self._log = control, path, path.with_suffix(".log")

    def start(self, directory):
        """It runs."""

    def stop(self):
        """It goes on."""


@pytest.fixture
def boot(image):
    """boot(device, ready, **machine): a guest that runs its echo there."""
    booted = []

    def boot(device, ready=READY, **machine):
        guest = DrivenGuest(Machine(image=image, **machine), device)
        guest.__enter__()
        booted.append(guest)
        guest.console.expect(ready, 60)
        return guest

    yield boot
    for guest in reversed(booted):
        guest.close()


def echoes(vsock, text=b"hello"):
    with vsock.dial(ECHO_PORT) as connection:
        connection.settimeout(30)
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        assert connection.makefile("rb").read() == text


def test_socat_calls_the_guest(boot):
    guest = boot(DeviceVsock())
    address, first = guest.vsock.socat_dial(ECHO_PORT)
    socat = shutil.which("socat")
    assert socat is not None, "socat is missing: make test installs it"
    done = subprocess.run(
        [socat, "-t5", "-", address],
        input=first + b"through socat\n",
        capture_output=True,
        timeout=60,
    )
    assert done.stdout.endswith(b"\nthrough socat\n"), done
    assert done.stdout.startswith(b"OK ")


def test_the_guest_calls_a_program(boot):
    device = DeviceVsock()
    guest = boot(device)
    with device.listen(ECHO_PORT) as listener:
        listener.settimeout(30)
        connection, _ = listener.accept()
    with connection:
        connection.settimeout(30)
        assert connection.makefile("rb").readline() == b"hello from micropython\n"
    echoes(guest.vsock)


def test_qemu_is_killed_and_started_again_at_the_same_device(boot):
    first = boot(DeviceVsock())
    with first.vsock.dial(ECHO_PORT) as connection:
        connection.settimeout(30)
        first.process.send_signal(signal.SIGKILL)
        assert connection.recv(1) == b""
    first.process.wait(30)
    second = boot(Again(first.vsock._control, first.vsock._path))
    echoes(second.vsock)
    assert second.vsock.log() == ""


def test_two_guests_talk_to_each_other(boot, device, tmp_path):
    echo, caller = Place(tmp_path, 33), Place(tmp_path, 34)
    running = device(echo.settings(), caller.settings())
    boot(Again(echo.control, echo.path))
    script = {"opt/micropython/main.py": DIALS}
    boot(Again(caller.control, caller.path, 34), r"end b'' True", fw_cfg=script)
    assert running.said == []


def test_stop_and_cont(boot):
    guest = boot(DeviceVsock())
    with guest.vsock.dial(ECHO_PORT) as connection:
        connection.settimeout(30)
        for n in range(5):
            guest.qmp("stop")
            connection.sendall(b"%d" % n)
            guest.qmp("cont")
            assert connection.recv(100) == b"%d" % n


def test_a_mebibyte_behind_a_half_close_comes_back(boot):
    echoes(boot(DeviceVsock()).vsock, bytes(range(256)) * 4096)
