# SPDX-License-Identifier: MIT
"""A device in this process or a back end's program, and programs and drivers at its sockets."""

import contextlib
import socket
import sys
import threading

from driver import Driver

from mpfw.device.settings import Settings
from mpfw.device.switch import Switch
from mpfw.guest import daemon

PROGRAMS = {
    "mpfw device": lambda: [sys.executable, "-m", "mpfw", "device"],
    "vhost-device-vsock": lambda: [str(daemon.program())],
}


class Device:
    """A Switch that runs in a thread, and what was said."""

    def __init__(self, *settings, faults=None):
        self.said: list[str] = []
        self.faults = faults
        self.switch = Switch(settings, self.said.append, faults)
        self.switch.open()
        self.thread = threading.Thread(target=self.switch.run, daemon=True)
        self.thread.start()

    def close(self):
        self.switch.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.switch.close()


class Place:
    """Where one guest's device is, and both sides of it."""

    device: Device

    def __init__(self, directory, cid=3):
        self.cid = cid
        self.control = directory / f"vhost-{cid}"
        self.path = directory / f"vsock-{cid}"
        self.opened = contextlib.ExitStack()

    def settings(self, **more):
        return Settings(self.cid, str(self.control), str(self.path), **more)

    def driver(self, **options):
        """A driver that runs."""
        made = Driver(self.control, self.cid, **options)
        self.opened.callback(made.close)
        return made.start()

    def dial(self, port, kind=socket.SOCK_STREAM):
        """A program that has asked for the guest's port; its OK has not come yet."""
        connection = socket.socket(socket.AF_UNIX, kind)
        self.opened.callback(connection.close)
        connection.settimeout(30)
        connection.connect(str(self.path) + ".seqpacket" * (kind == socket.SOCK_SEQPACKET))
        connection.sendall(b"CONNECT %d\n" % port)
        return connection

    def listen(self, port, kind=socket.SOCK_STREAM, backlog=128):
        """A program that waits for the guest's calls."""
        listener = socket.socket(socket.AF_UNIX, kind)
        self.opened.callback(listener.close)
        listener.settimeout(30)
        listener.bind(f"{self.path}_{port}")
        listener.listen(backlog)
        return listener


def ok(connection):
    """The number in a program's "OK <number>"."""
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        assert byte, f"the connection ended after {line!r}"
        line += byte
    word, number = line.split()
    assert word == b"OK"
    return int(number)
