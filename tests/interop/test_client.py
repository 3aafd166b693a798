# SPDX-License-Identifier: MIT
"""One client script, client.py, unchanged under CPython on Linux and in the firmware."""

import socket
from pathlib import Path

import pytest
from streams import SECONDS, Background

from mpfw.guest.host import local_host

CLIENT = Path(__file__).with_name("client.py").read_text()
LOOPBACK, HOST = 1, 2  # CIDs; Python 3.11 has no name for the first
PORT = 7400


def serve(listener):
    """Echo on every connection until the client has said that it is done."""
    listener.settimeout(SECONDS)
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # the listener is closed: the test is over
        Background(echo, connection)


def echo(connection):
    with connection:
        connection.settimeout(SECONDS)
        while data := connection.recv(65536):
            connection.sendall(data)


LINUX_SERVER = """
import socket, threading
def echo(sock):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.close()
listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, %d))
listener.listen(64)
print("listening", flush=True)
while True:
    threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
"""


def expected(peer):
    return [
        "3 lines",
        "3 lines through a file",
        f"peer {peer}:{PORT}",
        "a time-out, and on",
        "1048576 bytes there and back",
        "50 connections",
        "done",
    ]


def said(output):
    return [line.removeprefix("client: ") for line in output.splitlines() if "client: " in line]


def loopback_works():
    """Whether this Linux has AF_VSOCK loopback (the module vsock_loopback)."""
    try:
        with socket.socket(socket.AF_VSOCK) as listener, socket.socket(socket.AF_VSOCK) as caller:
            listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            listener.listen()
            caller.settimeout(1)
            caller.connect((LOOPBACK, listener.getsockname()[1]))
            return True
    except OSError:
        return False


@pytest.fixture(scope="session")
def linux(request):
    """A Linux with AF_VSOCK loopback: this machine's, otherwise the lab's."""
    return local_host() if loopback_works() else request.getfixturevalue("lab")


def test_client_under_cpython_with_a_linux_peer(linux):
    server = linux.spawn([linux.interpreter, "-c", LINUX_SERVER % PORT])
    try:
        server.stdio.settimeout(SECONDS)
        assert server.stdio.recv(100) == b"listening\n"
        output = linux.python(CLIENT, str(LOOPBACK), str(PORT))
    finally:
        server.close()
    assert said(output) == expected(LOOPBACK)


def test_client_in_the_firmware_with_a_host_program(boot):
    script = {
        "opt/micropython/main.py": CLIENT,
        "opt/micropython/argv": f"{HOST} {PORT}",
    }
    guest = boot(vsock=True, fw_cfg=script, extra=("-S",))
    with guest.vsock.listen(PORT) as listener:
        Background(serve, listener)
        guest.qmp("cont")
        said_there = guest.console.expect(r"client: .*client: done|Traceback.*>>> ", 60).group()
    assert said(said_there.decode()) == expected(HOST)
