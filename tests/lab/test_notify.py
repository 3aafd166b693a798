# SPDX-License-Identifier: MIT
"""Notifications to a VMM that listens as systemd's do, on the kernel's AF_VSOCK."""

import socket

import pytest
from prelude import listen, receive_all
from sides import IDLE, GuestSide

PORT = 4711
SEQPACKET = socket.SOCK_SEQPACKET
STREAM = socket.SOCK_STREAM


def hear(port, kind, count):
    """The messages of so many connections, the ports that they came from, and how many came late.

    As systemd-vmspawn reads: to the end, then it closes.
    """
    listener = listen(port, kind)
    listener.settimeout(30)
    heard = []
    for _ in range(count):
        sock, (_, source) = listener.accept()
        heard.append((receive_all(sock), source < 1024))
        sock.close()
    listener.close()
    return heard


def say(count):
    import machine

    return [machine.notify(f"READY=1\nSTATUS={n}") for n in range(count)]


@pytest.fixture
def told(boot_kernel):
    """told(address): a guest whose VMM named that address."""

    def told(address):
        text = f"io.systemd.credential:vmm.notify_socket={address}"
        guest = boot_kernel(fw_cfg=IDLE, extra=("-smbios", f"type=11,value={text}"))
        guest.console.wait_prompt(30)
        return GuestSide(guest)

    return told


@pytest.mark.parametrize(
    "address, kind",
    (
        ("vsock:2:4711", SEQPACKET),
        ("vsock:2:4711", STREAM),
        ("vsock-seqpacket:2:4711", SEQPACKET),
        ("vsock-stream:2:4711", STREAM),
    ),
)
def test_the_vmm_hears_from_a_privileged_port(told, host_side, address, kind):
    guest = told(address)
    vmm = host_side.start(hear, PORT, int(kind), 3)
    host_side.call(wait_for_listener)
    assert guest.call(say, 3) == [True] * 3
    assert vmm.result() == [(b"READY=1\nSTATUS=%d" % n, True) for n in range(3)]


def wait_for_listener():
    time.sleep(1)  # noqa: F821 (prelude.py has it)


def test_datagrams_are_not_to_be_had(told):
    guest = told("vsock-dgram:2:4711")
    assert guest.call(refused) == 19  # ENODEV, as on Linux


def refused():
    import machine

    return errno_of(machine.notify, "READY=1")  # noqa: F821


def test_the_last_words_are_read_although_the_machine_is_off_at_once(told, host_side):
    guest = told("vsock:2:4711")
    vmm = host_side.start(hear_slowly, PORT, int(SEQPACKET))
    host_side.call(wait_for_listener)
    guest.guest.console.interrupt()
    guest.guest.console.send("import machine; machine.poweroff()\r")
    assert vmm.result() == b"STATUS=powered off\nEXIT_STATUS=0"


def hear_slowly(port, kind):
    """The message of a connection, read a while after it came."""
    listener = listen(port, kind)
    listener.settimeout(30)
    sock, _ = listener.accept()
    time.sleep(0.7)  # noqa: F821
    heard = receive_all(sock)
    sock.close()
    return heard
