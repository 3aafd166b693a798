# SPDX-License-Identifier: MIT
"""A guest whose vsock device is a PCI function of ours: what `Guest` takes as its vsock host.

with DrivenGuest(Machine(qemu=...), ProxyHost(VsockFunction(Polite(), vectors=0))) as guest:
    guest.console.expect(rb"READY")
"""

import json
import socket
from pathlib import Path

from mpfw.device.pci import Function
from mpfw.device.proxy import ProxyServer
from mpfw.device.vfio_user import VfioUserServer
from mpfw.guest.guest import Guest
from mpfw.guest.vsockhost import VsockHost


class FunctionHost(VsockHost):
    """What both ways of serving a function have in common."""

    shares_memory = True

    def __init__(self, function: Function):
        super().__init__()
        self.function = function
        self._server: ProxyServer | VfioUserServer | None = None

    def stop(self) -> None:
        if self._server is not None:
            self._server.close()

    def log(self) -> str:
        """The last accesses, and what ended the server."""
        lines = [str(one) for one in self.function.record.accesses[-20:]]
        if self._server is not None and self._server.failure is not None:
            lines.append(f"the device failed: {self._server.failure!r}")
        return "\n".join(lines)


class ProxyHost(FunctionHost):
    """By `x-pci-proxy-dev`: QEMU 7.2 to 10, no interrupts, the whole configuration ours."""

    kind = "pci-proxy"

    def start(self, directory: Path) -> None:
        ours, theirs = socket.socketpair()
        self.held = [theirs]
        self._server = ProxyServer(self.function, ours)

    @property
    def devices(self) -> tuple[str, ...]:
        return (f"x-pci-proxy-dev,fd={Guest.first_channel}",)


class VfioUserHost(FunctionHost):
    """By `vfio-user-pci`: QEMU 10.1 on, with MSI-X and writes as a bus master."""

    kind = "vfio-user"

    def __init__(self, function: Function, vectors: int):
        """`vectors`: entries of the function's MSI-X table."""
        super().__init__(function)
        self.vectors = vectors

    def start(self, directory: Path) -> None:
        self._path = directory / "vfio-user"
        self._server = VfioUserServer(self.function, self._path, self.vectors)

    @property
    def devices(self) -> tuple[str, ...]:
        socket_address = {"type": "unix", "path": str(self._path)}
        # The guest goes on when the function has seen its write, as with a device of QEMU's own.
        options = {"driver": "vfio-user-pci", "x-no-posted-writes": True}
        return (json.dumps({**options, "socket": socket_address}),)
