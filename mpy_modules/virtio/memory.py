# SPDX-License-Identifier: MIT
"""What a device has been given and did not give back, because it did not reset.

It may still write there, or read. So that goes to nobody else, and there is never more and more of
it: the next driver of the same device borrows it again.
"""

from machine import DMABuffer
from portable import copy

_ZEROS = bytes(64)


class Memory:
    """One device's, for as long as the machine runs; its drivers come and go."""

    def __init__(self):
        self._kept = []
        self._pinned = []

    @property
    def kept(self):
        """Bytes that wait for the device's next driver."""
        return sum([len(buffer) for buffer in self._kept])

    @property
    def pinned(self):
        """How many owners of what the device may still read there are."""
        return len(self._pinned)

    def borrow(self, size):
        """`size` bytes that the device can reach, all 0: kept ones, or new ones, a DMABuffer.

        Raises MemoryError.
        """
        for buffer in self._kept:
            if len(buffer) == size:
                for at in range(0, size, len(_ZEROS)):
                    copy(buffer.addr, at, _ZEROS, 0, min(len(_ZEROS), size - at))
                self._kept.remove(buffer)  # Ctrl-C comes before this, or after
                return buffer
        return DMABuffer(size)

    def keep(self, buffers):
        """A device that did not reset had these DMABuffers."""
        self._kept.extend(buffers)

    def pin(self, owner):
        """It may still read what `owner` refers to, a program's buffers: keep them alive."""
        self._pinned.append(owner)

    def unpin(self):
        """The device has reset: it reads nothing of before any more."""
        self._pinned.clear()
