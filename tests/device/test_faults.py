# SPDX-License-Identifier: MIT
"""What vhost-device-vsock 0.3.0 does wrong: the same test shows it there, and that we do not."""

import os
import signal
import socket
import subprocess
import sys

import pytest
from driver import NoPacket
from places import PROGRAMS, ok

from mpfw.device.firmware import vsock as w

both = pytest.mark.parametrize(
    "program",
    [
        "mpfw device",
        pytest.param(
            "vhost-device-vsock",
            marks=pytest.mark.xfail(strict=True, reason="its fault", raises=AssertionError),
        ),
    ],
    indirect=True,
)
assert set(PROGRAMS) == {"mpfw device", "vhost-device-vsock"}


def connected(program, driver, port=1234):
    """A program that has reached the guest's port; also its port."""
    connection = program.dial(port)
    asked = driver.expect(w.OP_REQUEST)
    driver.send(w.OP_RESPONSE, port, asked.src_port)
    ok(connection)
    return connection, asked.src_port


@both
def test_a_half_close_of_the_program_leaves_the_guest_its_direction(program):
    driver = program.driver()
    connection, peer = connected(program, driver)
    connection.sendall(b"the last words")
    connection.shutdown(socket.SHUT_WR)
    assert driver.expect(w.OP_RW).body == b"the last words"
    assert driver.expect(w.OP_SHUTDOWN).flags == w.SHUTDOWN_SEND
    driver.send(w.OP_RW, 1234, peer, b"still heard")
    assert connection.recv(100) == b"still heard"


@both
def test_the_nth_call_does_not_collide_with_the_guests_call_to_port_n(program):
    """The guest has a connection to a port whose number a call from the host may get."""
    driver = program.driver()
    with program.listen(5) as listener:
        driver.send(w.OP_REQUEST, 1234, 5)
        driver.expect(w.OP_RESPONSE)
        held, _ = listener.accept()
    with held:
        for _ in range(8):
            program.dial(1234)
            assert driver.expect(w.OP_REQUEST, 5).src_port != 5


@both
def test_a_program_that_is_killed_in_a_transfer_is_told_to_the_guest(program):
    driver = program.driver()
    connection, peer = connected(program, driver)
    code = "import socket, time; s = socket.socket(fileno=0); print(flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=connection, stdout=subprocess.PIPE) as holder:
        connection.close()
        assert holder.stdout is not None
        holder.stdout.readline()
        for _ in range(4):
            driver.send(w.OP_RW, 1234, peer, bytes(16384))  # nobody reads it
        driver.quiet()
        os.kill(holder.pid, signal.SIGKILL)
    assert driver.expect(w.OP_RST, 5).dst_port == 1234


@both
def test_a_call_to_a_port_that_nobody_listens_on_is_reset(program):
    driver = program.driver()
    driver.send(w.OP_REQUEST, 1234, 4321)
    try:
        assert driver.expect(w.OP_RST, 5).src_port == 4321
    except NoPacket:
        raise AssertionError("the guest is not told") from None
