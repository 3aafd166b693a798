# SPDX-License-Identifier: MIT
"""Machines with no vsock device, with two, behind bridges, and with a crowd of other devices."""

import errno
import socket

import pytest
from prelude import errno_of, listen
from sides import GuestSide
from streams import SECONDS, exchange

from mpfw.guest.driven import AGENT
from mpfw.guest.machine import Machine
from mpfw.guest.pair import TwoDevices

GUEST, SECOND = 33, 34
PORT = 7500
ECHO_PORT = 1234

BRIDGES = (
    "pcie-root-port,id=outer,chassis=1,slot=1",
    "x3130-upstream,id=up,bus=outer",
    "xio3130-downstream,id=down,bus=up,chassis=2,slot=2",
)
CROWD = (
    *(f"virtio-rng-pci,id=rng{n}" for n in range(6)),
    *(f"virtio-serial-pci,id=serial{n}" for n in range(6)),
    *(f"virtio-balloon-pci,id=balloon{n}" for n in range(1)),
    *(f"virtio-keyboard-pci,id=keyboard{n}" for n in range(4)),
    *(f"virtio-scsi-pci,id=scsi{n}" for n in range(3)),
)


def echoes(guest):
    guest.console.expect("READY vsock cid=33 port=1234", 30)
    with guest.vsock.dial(ECHO_PORT) as connection:
        connection.settimeout(SECONDS)
        data = bytes(range(256)) * 4000
        assert exchange(connection, data) == data


def use_without_a_device(port):
    """What sockets do on a machine without a vsock device: loopback works, the host is away.

    CID 2 is the loopback then, as on Linux, where nobody listens on the port; other CIDs are not.
    """
    listener = listen(port)
    caller = socket.socket()
    caller.connect((socket.VMADDR_CID_LOCAL, port))
    accepted, peer = listener.accept()
    caller.sendall(b"to myself")
    word = accepted.recv(100)
    refused = errno_of(socket.socket().connect, (socket.VMADDR_CID_HOST, port + 1))
    away = errno_of(socket.socket().connect, (3, port))
    return word, peer[0], refused, away, socket.get_local_cid()


def test_without_a_vsock_device_only_the_loopback_works(boot):
    side = GuestSide(boot(drive=AGENT))
    assert side.call(use_without_a_device, PORT) == (
        b"to myself",
        1,
        errno.ECONNRESET,
        errno.ENODEV,
        1,
    )


def test_no_vsock_device_is_said_in_one_line(boot):
    said = boot().console.expect(rb"(.*)>>> ").group(1).decode()
    lines = [line for line in said.splitlines() if "vsock" in line]
    assert len(lines) == 1 and "-device vhost-vsock-pci" in lines[0]


@pytest.fixture
def boot_with(image, host):
    """boot_with(vsock options, **machine_fields): a started guest on the host under test."""
    guests = []

    def boot_with(options, second=None, drive="", **machine):
        guest = host.guest(Machine(image=image, **machine), drive=drive, **options)
        if second is not None:
            other = host.guest(Machine(image=image), **second).vsock
            guest.vsock = TwoDevices(guest.vsock, other)
        guests.append(guest)
        return guest.__enter__()

    yield boot_with
    for guest in guests:
        guest.close()


def test_behind_two_bridges(boot_with):
    echoes(boot_with({"device_options": ",bus=down"}, devices=BRIDGES))


@pytest.mark.parametrize("memory", ["64M", "6G"])
def test_among_20_other_virtio_devices(boot_with, memory):
    assert len(CROWD) == 20
    echoes(boot_with({}, devices=CROWD, memory=memory))


def test_behind_a_pci_bridge_on_i440fx(boot_with):
    devices = ("pci-bridge,id=bridge,chassis_nr=2",)
    options = {"device_options": ",bus=bridge,addr=3"}
    echoes(boot_with(options, devices=devices, machine="pc"))


def serve_on_both(port):
    import vsock

    listeners = [listen(port)]
    second = socket.socket(stack=vsock.get(1))
    second.bind((socket.VMADDR_CID_ANY, port))  # the same port: each device has its own
    second.listen()
    listeners.append(second)
    print("listening")
    words = []
    for listener in listeners:
        sock, peer = listener.accept()
        words.append((sock.recv(100), sock.getsockname(), peer[0]))
        sock.sendall(b"from %d" % sock.getsockname()[0])
        sock.close()
    try:
        vsock.get(2)
    except IndexError:
        words.append("no third")
    return words


def test_first_of_two_devices_is_the_default_and_the_other_can_be_named(boot_with):
    guest = boot_with({"cid": GUEST}, {"cid": SECOND}, drive=AGENT)
    side = GuestSide(guest)
    side.start(serve_on_both, PORT)
    side.expect("listening")
    for device, cid in zip(guest.vsock.both, (GUEST, SECOND), strict=True):
        with device.dial(PORT) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(b"to %d" % cid)
            assert connection.recv(100) == b"from %d" % cid
    assert side.result() == [
        (b"to 33", (GUEST, PORT), 2),
        (b"to 34", (SECOND, PORT), 2),
        "no third",
    ]
