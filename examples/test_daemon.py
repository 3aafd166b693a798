# SPDX-License-Identifier: MIT
r"""A test of somebody's daemon: it listens on a hybrid vsock socket, a guest talks to it.

Here socat stands for the daemon; put your own in its place.

    $ pytest -q examples/test_daemon.py
    ..                                                                       [100%]
    2 passed in 1.23s
"""

import subprocess
import time

import pytest

PORT = 5000
TALK = """
import socket
with socket.create_connection((socket.VMADDR_CID_HOST, %d)) as daemon:
    daemon.sendall(%r)
    print(daemon.recv(100))
"""


@pytest.fixture
def guest(tmp_path):
    """A function: what the daemon answers to a guest that sends it something."""
    socket = tmp_path / "vsock"
    command = ["socat", f"UNIX-LISTEN:{socket}_{PORT},fork", "EXEC:stdbuf -o0 tr a-z A-Z"]
    with subprocess.Popen(command) as daemon:
        while not (tmp_path / f"vsock_{PORT}").exists():
            time.sleep(0.01)
        run = ["mpfw", "run", "--host", "vhost-user", "--uds-path", str(socket), "-c"]
        yield lambda data: subprocess.check_output([*run, TALK % (PORT, data)], timeout=60)
        daemon.terminate()


@pytest.mark.parametrize("data", [b"hello\n", b"\xff\x00\n"])
def test_daemon_answers_in_capitals(guest, data):
    assert guest(data) == b"%r\n" % data.upper()
