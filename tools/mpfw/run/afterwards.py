# SPDX-License-Identifier: MIT
"""A guest whose program has ended: its prompt (`-i`), or its life until Ctrl-C (`--keep`)."""

import signal
import socket
import sys
from typing import NoReturn

from mpfw.guest.guest import Guest
from mpfw.guest.vsockhost import VhostUserVsock
from mpfw.run import terminal
from mpfw.run.parts import Ended
from mpfw.run.streams import Streams


def prompt(guest: Guest, streams: Streams) -> None:
    """The guest's prompt, until Ctrl-D at it, or Ctrl-A x."""
    terminal.join(guest.serial, bytes(streams.console))


def keep(guest: Guest, streams: Streams) -> NoReturn:
    """Say where the guest's sockets are, and join its console with whoever connects; Ctrl-C ends
    it with the program's status."""
    status = streams.status or 0

    def end(number: int, frame: object) -> None:
        raise Ended(status)

    signal.signal(signal.SIGINT, end)
    visitors = _Visitors(guest, streams)
    for what, where in visitors.places.items():
        print(f"mpfw: {what}: {where}", file=sys.stderr)
    print("mpfw: Ctrl-C ends the guest", file=sys.stderr, flush=True)
    while not streams.closed:
        streams.step()
    raise Ended(status)


class _Visitors:
    """Programs that connect to the guest's console, one at a time."""

    def __init__(self, guest: Guest, streams: Streams):
        path = guest.directory / "console"
        self.places = {"console": path, "QEMU's monitor (QMP)": guest.directory / "qmp"}
        if not guest.without_vsock and isinstance(guest.vsock, VhostUserVsock):
            self.places["vsock, CONNECT PORT"] = guest.vsock.path
        self._streams = streams
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen()
        self._visitor: socket.socket | None = None
        streams.watched[self._listener.fileno()] = self._admit

    def _admit(self) -> None:
        self._visitor, _ = self._listener.accept()
        del self._streams.watched[self._listener.fileno()]
        self._streams.watched[self._visitor.fileno()] = self._pass_on
        self._streams.on_console = self._show

    def _show(self, said: bytes) -> None:
        assert self._visitor is not None
        try:
            self._visitor.sendall(said)
        except OSError:
            pass  # it has gone, which _pass_on() will be told

    def _pass_on(self) -> None:
        assert self._visitor is not None
        try:
            data = self._visitor.recv(4096)
        except OSError:
            data = b""
        if data:
            self._streams.type(data)
            return
        del self._streams.watched[self._visitor.fileno()]
        self._streams.on_console = None
        self._visitor.close()
        self._streams.watched[self._listener.fileno()] = self._admit
