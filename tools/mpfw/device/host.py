# SPDX-License-Identifier: MIT
"""The device beside a guest: what mpfw.guest.guest.Guest takes as the host's side of its vsock."""

from pathlib import Path

from mpfw.device.policy import Policy, Polite
from mpfw.device.vsock import VsockDevice
from mpfw.guest.machine import escape
from mpfw.guest.vsockhost import GUEST_CID, VsockHost


class DeviceHost(VsockHost):
    """A VsockDevice of this process, with its policy; Polite unless another is given."""

    kind = "own"
    shares_memory = True

    def __init__(
        self,
        policy: Policy | None = None,
        cid: int = GUEST_CID,
        device_options: str = "",
        name: str = "own",
    ):
        """`cid` is what the configuration says; `name` tells two devices of one guest apart."""
        super().__init__(cid, device_options)
        self.device = VsockDevice(cid, policy or Polite())
        self.name = name

    @property
    def devices(self) -> tuple[str, ...]:
        return (f"vhost-user-vsock-pci,chardev={self.name}{self.device_options}",)

    @property
    def options(self) -> tuple[str, ...]:
        return ("-chardev", f"socket,id={self.name},path={escape(self._path)}")

    def start(self, directory: Path) -> None:
        self._path = directory / f"vhost-user-{self.name}"
        self.device.serve(self._path)

    def stop(self) -> None:
        self.device.close()

    def log(self) -> str:
        return self.device.log()
