# SPDX-License-Identifier: MIT
"""The device itself, as long as it does not lie: what a lie is told against."""

import random

import pytest

from mpfw.device.firmware import vsock as w

ECHO = 1234


def test_the_echo_echoes(echo):
    guest = echo()
    data = random.Random(1).randbytes(1 << 20)
    stream = guest.policy.connect(ECHO)
    stream.send(data)
    assert stream.receive(len(data), 30) == data
    stream.shutdown(w.SHUTDOWN_BOTH)
    stream.wait_reset()
    guest.answers()


def test_the_echo_calls_the_host(beside):
    guest = beside()
    guest.policy.listen(ECHO)
    call = guest.policy.accept(ECHO)
    assert call.receive(23) == b"hello from micropython\n"
    call.send(b"chat")
    assert call.receive(4) == b"chat"


def test_a_port_that_nobody_listens_on_refuses(echo):
    guest = echo()
    with pytest.raises(ConnectionResetError):
        guest.policy.connect(99)


def test_a_cid_that_changes_is_the_new_one_after_a_soft_reset(prompt):
    guest = prompt()
    guest.console.exec("import vsock, socket; vsock.get()")
    guest.device.set_cid(44)
    guest.console.soft_reset()
    guest.console.exec("import vsock, socket; vsock.get()")
    assert guest.console.eval("socket.get_local_cid()") == 44
