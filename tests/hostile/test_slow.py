# SPDX-License-Identifier: MIT
"""A device that is slow, which is its right, and quick again: nothing stays behind."""

import time

from mpfw.device import liars
from mpfw.device.firmware import vsock as w

MANY = 1200  # packets that want an answer: more than any ring (1,024 in QEMU 10.0) has slots for


def test_packets_that_waited_for_transmit_slots_are_taken_when_there_are_some(prompt):
    guest = prompt(liars.Deaf())
    guest.console.exec("import vsock\nvsock.get()")
    guest.policy.deaf = True
    for port in range(MANY):
        guest.device.emit(w.OP_REQUEST, port, 99)
    time.sleep(0.5)
    assert guest.device.due  # the guest takes no more than it can answer
    guest.policy.listen_again()
    guest.device.wait_sent(5)
    guest.answers()


def test_a_device_that_takes_nothing_for_a_while_loses_nothing(prompt):
    guest = prompt(liars.Deaf())
    guest.policy.listen(5000)
    guest.console.exec("import socket\nsock = socket.socket()\nsock.connect((2, 5000))")
    stream = guest.policy.accept(5000)
    guest.policy.deaf = True
    guest.console.start("sock.sendall(bytes(range(256)) * 800)\nprint('sent')")
    time.sleep(1)
    guest.policy.listen_again()
    assert stream.receive(256 * 800) == bytes(range(256)) * 800
    assert guest.console.finish() == "sent\n"
