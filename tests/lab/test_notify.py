# SPDX-License-Identifier: MIT
"""Notifications to a VMM that listens as systemd's do, on the kernel's AF_VSOCK."""

import errno
import socket
import time

import pytest
from prelude import errno_of, listen, receive_all
from sides import GuestSide

from mpfw.guest.driven import AGENT

PORT = 4711
SEQPACKET = socket.SOCK_SEQPACKET
STREAM = socket.SOCK_STREAM


def hear(port, kind, count, late):
    """The messages of so many connections, and whether they came from a privileged port.

    As systemd-vmspawn reads, to the end, but `late` seconds after the connection.
    """
    listener = listen(port, kind)
    listener.settimeout(30)
    heard = []
    for _ in range(count):
        sock, (_, source) = listener.accept()
        time.sleep(late)
        heard.append((receive_all(sock), source < 1024))
        sock.close()
    listener.close()
    return heard


def say(count):
    """Tell the VMM, once it listens."""
    import machine

    deadline = time.time() + 15
    while errno_of(machine.notify, "READY=1") and time.time() < deadline:
        time.sleep(0.1)
    return [machine.notify(f"STATUS={n}") for n in range(count)]


def refused():
    import machine

    return errno_of(machine.notify, "READY=1")


@pytest.fixture
def told(boot_kernel):
    """told(address): a guest whose VMM named that address."""

    def told(address):
        text = f"io.systemd.credential:vmm.notify_socket={address}"
        guest = boot_kernel(drive=AGENT, extra=("-smbios", f"type=11,value={text}"))
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
    vmm = host_side.start(hear, PORT, int(kind), 4, 0)
    assert guest.call(say, 3) == [True] * 3
    texts = [b"READY=1", b"STATUS=0", b"STATUS=1", b"STATUS=2"]
    assert vmm.result() == [(text, True) for text in texts]


@pytest.mark.parametrize(
    "address, error",
    (("vsock-dgram:2:4711", errno.ENODEV), ("vsock-seqpacket:2:4711", errno.ECONNRESET)),
)
def test_what_is_not_to_be_had_fails_as_on_linux(told, host_side, address, error):
    vmm = host_side.start(hear, PORT, int(STREAM), 1, 0)
    guest = told(address)
    assert guest.call(refused) == error
    guest.guest.close()
    assert told("vsock-stream:2:4711").call(say, 0) == []
    assert vmm.result() == [(b"READY=1", True)]


def test_the_last_words_are_read_although_the_machine_is_off_at_once(told, host_side):
    guest = told("vsock:2:4711")
    vmm = host_side.start(hear, PORT, int(SEQPACKET), 2, 0.7)
    guest.call(say, 0)
    guest.guest.begin("import machine; machine.poweroff()")
    last = b"STATUS=powered off\nEXIT_STATUS=0"
    assert vmm.result() == [(b"READY=1", True), (last, True)]
