# SPDX-License-Identifier: MIT
"""The ways a virtio device can fail its driver: each an OSError with Linux's errno number."""

import errnos


class DeviceBroken(OSError):
    """The device broke the protocol or asked for a reset (NEEDS_RESET); reset it to go on."""

    def __init__(self, why):
        super().__init__(errnos.EIO, why)


class QueueBroken(DeviceBroken):
    """The device put something impossible into a used ring; that queue has stopped for good."""


class QueueFull(OSError):
    """The chain needs more descriptors than are free; take completions first, then try again."""

    def __init__(self, why):
        super().__init__(errnos.ENOBUFS, why)


class NotSupported(OSError):
    """The device lacks what its driver cannot do without (a feature, a structure)."""

    def __init__(self, why):
        super().__init__(errnos.ENODEV, why)
