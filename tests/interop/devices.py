# SPDX-License-Identifier: MIT
"""A machine with two vsock devices, as one host side to whoever boots it."""

from mpfw.guest.vsockhost import VsockHost


class TwoDevices(VsockHost):
    """Two host sides of one guest, in bus order."""

    def __init__(self, first: VsockHost, second: VsockHost):
        super().__init__(first.cid)
        self.both = (first, second)
        self.kind = first.kind
        self.shares_memory = first.shares_memory

    @property
    def devices(self):
        return tuple(device for side in self.both for device in side.devices)

    @property
    def options(self):
        return tuple(option for side in self.both for option in side.options)

    def start(self, directory):
        for side in self.both:
            side.start(directory)

    def stop(self):
        for side in self.both:
            side.stop()

    def log(self):
        return "\n".join(side.log() for side in self.both)
