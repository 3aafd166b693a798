# SPDX-License-Identifier: MIT
"""A guest's memory, mapped into this process from the descriptors that QEMU sends."""

import mmap
from dataclasses import dataclass, field


class MemoryFault(Exception):
    """An address that the guest named lies outside its memory."""


@dataclass
class Region:
    """One piece of it: where the guest has it, and where QEMU has it in its own address space."""

    guest: int
    size: int
    user: int
    offset: int  # of its first byte in `mapped`
    mapped: mmap.mmap
    view: memoryview = field(init=False, repr=False)  # of all that is mapped
    end: int = field(init=False)  # of it in the guest

    def __post_init__(self) -> None:
        self.view = memoryview(self.mapped)
        self.end = self.guest + self.size

    @classmethod
    def map(cls, descriptor: int, guest: int, size: int, user: int, offset: int) -> "Region":
        """Map what lies `offset` bytes into a file; all from its start, whose end is aligned."""
        return cls(guest, size, user, offset, mmap.mmap(descriptor, offset + size))


class GuestMemory:
    """All regions. Views stay valid for as long as somebody holds them."""

    def __init__(self, regions: list[Region] | None = None):
        self.place(regions or [])

    def place(self, regions: list[Region]) -> None:
        """From now on the guest's memory is this; who holds us sees it."""
        self.regions = regions
        self._last = regions[0] if regions else None  # where the last address was: the next is

    def at(self, address: int, n: int) -> memoryview:
        """`n` bytes at an address of the guest's, writable. Raises MemoryFault."""
        last = self._last
        if last is not None and last.guest <= address and address + n <= last.end:
            start = address - last.guest + last.offset
            return last.view[start : start + n]
        for region in self.regions:
            begin = address - region.guest
            if begin >= 0 and begin + n <= region.size:
                self._last = region
                return _view(region, begin, n)
        raise MemoryFault(f"{n} bytes at guest address {address:#x} are not in its memory")

    def at_user(self, address: int, n: int) -> memoryview:
        """The same by QEMU's own addresses, as those of rings come. Raises MemoryFault."""
        for region in self.regions:
            begin = address - region.user
            if begin >= 0 and begin + n <= region.size:
                return _view(region, begin, n)
        raise MemoryFault(f"{n} bytes at QEMU's address {address:#x} are not the guest's")

    def find(self, pattern: bytes) -> list[int]:
        """Guest addresses of every occurrence: what a host that searches memory would see."""
        found = []
        for region in self.regions:
            at = region.mapped.find(pattern, region.offset)
            while at >= 0:
                found.append(region.guest + at - region.offset)
                at = region.mapped.find(pattern, at + 1)
        return found


def _view(region: Region, begin: int, n: int) -> memoryview:
    start = region.offset + begin
    return region.view[start : start + n]
