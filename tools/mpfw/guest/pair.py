# SPDX-License-Identifier: MIT
"""A machine with two vsock devices, as one host side to whoever boots it."""

from pathlib import Path

from mpfw.guest.vsockhost import VsockHost


class TwoDevices(VsockHost):
    """Two host sides of one guest, in bus order."""

    def __init__(self, first: VsockHost, second: VsockHost):
        super().__init__(first.cid)
        self.both = (first, second)
        self.kind = first.kind
        self.shares_memory = first.shares_memory

    @property
    def devices(self) -> tuple[str, ...]:
        return tuple(device for side in self.both for device in side.devices)

    @property
    def options(self) -> tuple[str, ...]:
        return tuple(option for side in self.both for option in side.options)

    def start(self, directory: Path) -> None:
        for side in self.both:
            side.start(directory)

    def stop(self) -> None:
        for side in self.both:
            side.stop()

    def log(self) -> str:
        return "\n".join(side.log() for side in self.both)
