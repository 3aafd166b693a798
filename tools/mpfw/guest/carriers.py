# SPDX-License-Identifier: MIT
"""Devices of QEMU that pass a vsock device of our own to the guest whole, and which QEMU has them.

`vhost-user-vsock-pci`, which every QEMU has, hides the feature bits that it does not know.
"""

import functools
import subprocess

from mpfw.device.settings import PCI_PROXY, VFIO_USER, VHOST_USER
from mpfw.guest.guest import qemu_version

TEST_DEVICE, VFIO_USER_PCI, PROXY = (
    "vhost-user-test-device-pci",
    "vfio-user-pci",
    "x-pci-proxy-dev",
)
# device -> the first version that it works in, and the first in which it does no more: with
# x-pci-proxy-dev QEMU 10.0 and 11.1 end in a segmentation fault.
_WORKS = {
    PROXY: ((7, 2), (8,)),
    VFIO_USER_PCI: ((10, 1), (1000,)),
    TEST_DEVICE: ((11,), (1000,)),
}
# device -> what `mpfw device` speaks with it; the one that costs the guest least comes first.
CARRIERS = {TEST_DEVICE: VHOST_USER, VFIO_USER_PCI: VFIO_USER, PROXY: PCI_PROXY}


def works(program: str, device: str) -> bool:
    """Whether that device works in a QEMU."""
    first, end = _WORKS[device]
    return first <= qemu_version(program) < end and has_device(program, device)


@functools.cache
def has_device(program: str, device: str) -> bool:
    """Whether a QEMU has that device (`-device help` leaves some out)."""
    command = [program, "-device", f"{device},help"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return told.startswith(f"{device} options")  # the status is 0 in any case


def choose(program: str) -> str | None:
    """The device for datagrams in a QEMU, None if it has none. Raises OSError without a QEMU."""
    return next((each for each in CARRIERS if works(program, each)), None)
