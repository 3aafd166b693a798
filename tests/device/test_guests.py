# SPDX-License-Identifier: MIT
"""`mpfw device` with QEMU and a guest at it, and the programs that people use."""

import shutil
import signal
import socket
import subprocess

import pytest

from mpfw.guest.conversation import ECHO_PORT
from mpfw.guest.driven import DrivenGuest
from mpfw.guest.machine import Machine
from mpfw.guest.vsockhost import DeviceVsock

READY = "READY vsock cid=33 port=1234"


class Again(DeviceVsock):
    """The next guest at a device that runs already, in the same place."""

    def __init__(self, first):
        super().__init__()
        self._control, self._path, self._log = first._control, first._path, first._log

    def start(self, directory):
        """It runs."""

    def stop(self):
        """It ends with the first one."""


@pytest.fixture
def boot(image):
    """boot(device): a guest that runs its echo there."""
    booted = []

    def boot(device):
        guest = DrivenGuest(Machine(image=image), device)
        guest.__enter__()
        booted.append(guest)
        guest.console.expect(READY, 30)
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
    second = boot(Again(first.vsock))
    echoes(second.vsock)
    assert second.vsock.log() == ""


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
