# SPDX-License-Identifier: MIT
"""The guest's services as options of `mpfw run`: its log and its REPL over vsock; --lib."""

import signal
import socket
import subprocess
import time

import pytest

PIPE = subprocess.PIPE
HYBRID = pytest.mark.hosts("vhost-user")


@HYBRID
def test_log_port(seat, tmp_path):
    """The host's listener has it all, to the last line."""
    place = tmp_path / "guest.vsock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}_5140")
        listener.listen()
        listener.settimeout(30)
        code = "import machine, time; machine.log('app', 'hello'); time.sleep(1.5)"
        run = seat.start("--log-port", 5140, "--uds-path", place, "-c", code)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            said = b"".join(iter(lambda: connection.recv(4096), b""))
        assert run.wait(30) == 0
    lines = said.splitlines()
    assert any(line.endswith(b" app - - - hello") for line in lines), said
    assert lines[-1].endswith(b" runner - - - exit status 0"), said


@HYBRID
def test_a_vmm_hears_the_status(seat, tmp_path):
    """Ten times: although the run is over once it has the status itself."""
    place = tmp_path / "guest.vsock"
    name = "opt/io.systemd.credentials/vmm.notify_socket"
    credential = f"name={name},string=vsock:2:4711"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}_4711")
        listener.listen()
        listener.settimeout(30)
        words = ("--qemu-arg", "-fw_cfg", "--qemu-arg", credential, "--uds-path", place)
        for status in range(10):
            run = seat.start(*words, "-c", f"import sys; sys.exit({status})")
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                said = b"".join(iter(lambda: connection.recv(4096), b""))  # noqa: B023
            assert said == b"STATUS=exit status %d\nEXIT_STATUS=%d" % (status, status)
            assert run.wait(30) == status


@HYBRID
def test_repl_port(seat, tmp_path):
    """Ctrl-C there is the program's KeyboardInterrupt, and -i's prompt is there as well."""
    place = tmp_path / "guest.vsock"
    run = seat.start(
        "--repl-port", 8266, "--uds-path", place, "-c", "while True: pass", stderr=PIPE
    )
    with connected(place, 8266) as connection:
        time.sleep(1)
        connection.sendall(b"\x03")
        assert run.wait(30) == 128 + signal.SIGINT
    assert b"KeyboardInterrupt" in run.stderr.read()


def connected(place, port):
    """A connection to the guest's port, once it is there."""
    deadline = time.monotonic() + 30
    while True:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30)
        try:
            connection.connect(str(place))
            connection.sendall(b"CONNECT %d\n" % port)
            if connection.recv(32).startswith(b"OK "):
                return connection
        except OSError:
            pass
        connection.close()
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_services_without_a_device_are_refused(quick):
    result = quick("--log-port", 5140, "-c", "")
    said = b"mpfw: --repl-port, --log-port, --capture need a vsock device: not --host none\n"
    assert (result.code, result.err) == (125, said)


def test_a_library_is_compiled(quick, write, tmp_path):
    write("lib/thing/__init__.py", "from .part import double\n")
    part = "@micropython.native\ndef double(n):\n    return 2 * n\n\ndef fail():\n    1 // 0\n"
    write("lib/thing/part.py", part)
    write("lib/broken.py", "def f(:\n")
    write("beside.py", "")
    code = (
        "import thing.part, beside\n"
        "print(thing.double(21), thing.part.__file__, beside.__file__)\n"
        "try:\n    import broken\nexcept SyntaxError: print('as it is')\n"
        "thing.part.fail()\n"
    )
    result = quick("--lib", tmp_path / "lib", write("app.py", code))
    assert result.out == b"42 /app/thing/part.mpy /app/beside.py\nas it is\n"
    assert b'File "/app/thing/part.py", line 6, in fail' in result.err
    assert result.code == 1
