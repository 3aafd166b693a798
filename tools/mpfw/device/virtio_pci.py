# SPDX-License-Identifier: MIT
"""A modern virtio device on PCI (virtio 1.2, 4.1): its capabilities, and the registers they name.

All structures lie in one BAR. What the device is for is a subclass's: `notified` and `config`.
Each structure is a space of its own for lies: "common", "notify", "isr", "device".
"""

import struct
import threading
from dataclasses import dataclass

from mpfw.device.memory import GuestMemory, MemoryFault
from mpfw.device.pci import Function
from mpfw.device.rings import Ring, RingError

BAR = 0
COMMON, NOTIFY, ISR, DEVICE = "common", "notify", "isr", "device"
# space -> (cfg_type, offset in the BAR, bytes)
PLACES = {
    COMMON: (1, 0x0000, 56),
    NOTIFY: (2, 0x1000, 0x100),
    ISR: (3, 0x2000, 4),
    DEVICE: (4, 0x3000, 8),
}
_TABLE, _PENDING = 0x4000, 0x5000  # MSI-X
_BAR_SIZE = 0x8000
CAPABILITIES = {COMMON: 0x40, NOTIFY: 0x50, ISR: 0x64, DEVICE: 0x74}  # their registers
_MSIX = 0x84
_NOTIFY_MULTIPLIER = 4

F_EVENT_IDX = 1 << 29
F_VERSION_1 = 1 << 32
DRIVER_OK = 4  # device status
NEEDS_RESET = 0x40
NO_VECTOR = 0xFFFF

# Registers of the common configuration, 4.1.4.3; names as there.
DEVICE_FEATURE_SELECT, DRIVER_FEATURE_SELECT, DRIVER_FEATURE = 0x00, 0x08, 0x0C
CONFIG_MSIX, NUM_QUEUES, STATUS, GENERATION, QUEUE_SELECT = 0x10, 0x12, 0x14, 0x15, 0x16
QUEUE_SIZE, QUEUE_MSIX, QUEUE_ENABLE, QUEUE_NOTIFY_OFF = 0x18, 0x1A, 0x1C, 0x1E
QUEUE_DESC, QUEUE_DRIVER, QUEUE_DEVICE = 0x20, 0x28, 0x30
_LAYOUT = struct.Struct("<IIIIHHBBHHHHHQQQ")


@dataclass
class Queue:
    """What the registers say of one queue."""

    most: int  # entries
    size: int
    vector: int = NO_VECTOR
    enabled: int = 0
    desc: int = 0
    driver: int = 0
    device: int = 0
    ring: Ring | None = None


class VirtioFunction(Function):
    """A virtio device of type `kind` with queues of `sizes` entries.

    `vectors`: entries of its MSI-X table, 0 for none. `features` are offered besides VERSION_1.
    """

    def __init__(
        self,
        kind: int,
        sizes: tuple[int, ...],
        config: bytes = b"",
        vectors: int = 0,
        features: int = F_EVENT_IDX,
        class_code: int = 0x078000,
        lock: threading.Condition | None = None,
    ):
        super().__init__(0x1AF4, 0x1040 + kind, class_code, {BAR: _BAR_SIZE}, lock)
        self.config = bytearray(config)
        self.vectors = vectors
        self.offered = features | F_VERSION_1
        self.sizes = sizes
        self._add_capabilities()
        self._forget()

    def _add_capabilities(self) -> None:
        for space, at in CAPABILITIES.items():
            kind, offset, size = PLACES[space]
            more = struct.pack("<I", _NOTIFY_MULTIPLIER) if space == NOTIFY else b""
            data = struct.pack("<BBB3xII", 16 + len(more), kind, BAR, offset, size) + more
            self.capability(at, 9, data)
        if self.vectors:
            data = struct.pack("<HII", self.vectors - 1, _TABLE | BAR, _PENDING | BAR)
            self.capability(_MSIX, 0x11, data)
            self.allow(_MSIX + 2, 2, 0xC000)

    def _forget(self) -> None:
        """The state after a reset."""
        self.status = 0
        self.generation = 0
        self.features = 0
        self.config_vector = NO_VECTOR
        self.isr = 0
        self.selects = [0, 0]  # of the device's and of the driver's features
        self.selected = 0
        self.queues = [Queue(size, size) for size in self.sizes]

    # -- for subclasses and tests -----------------------------------------------------------------

    def notified(self, index: int) -> None:
        """The driver has notified queue `index`; the lock is held."""

    def started(self) -> None:
        """DRIVER_OK; the lock is held."""

    def stopped(self) -> None:
        """A reset, after DRIVER_OK; the lock is held."""

    def ring(self, index: int) -> Ring | None:
        """A queue's ring while the driver is at work."""
        return self.queues[index].ring if self.status & DRIVER_OK else None

    def interrupt(self, queue: Queue) -> None:
        """The interrupt of a queue, wanted or not."""
        self.isr |= 1
        self._signal(queue.vector)

    def config_changed(self) -> None:
        """The interrupt that tells of a changed configuration or status."""
        with self.lock:
            self.isr |= 2
            self._signal(self.config_vector)

    def needs_reset(self) -> None:
        """Set NEEDS_RESET and tell the driver (2.1.2)."""
        with self.lock:
            self.status |= NEEDS_RESET
            self.config_changed()

    def _signal(self, vector: int) -> None:
        if self.bus is not None and vector != NO_VECTOR:
            self.bus.msi(vector)

    # -- registers --------------------------------------------------------------------------------

    def reset(self) -> None:
        super().reset()
        with self.lock:
            self._write_status(0)

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        with self.lock:
            space, at = _place(offset)
            self.record.add(space, at, size, None)
            return self.told(space, at, size, self._read(space, at, size))

    def _read(self, space: str, at: int, size: int) -> int:
        if space == COMMON:
            return int.from_bytes(self._common()[at : at + size].ljust(size, b"\0"), "little")
        if space == ISR:
            value, self.isr = self.isr, 0
            return value
        if space == DEVICE:
            return int.from_bytes(bytes(self.config[at : at + size]).ljust(size, b"\0"), "little")
        return 0

    def _common(self) -> bytes:
        there = self.selected < len(self.queues)
        queue = self.queues[self.selected] if there else Queue(0, 0)
        return _LAYOUT.pack(
            self.selects[0],
            self.offered >> 32 * self.selects[0] & 0xFFFFFFFF if self.selects[0] < 2 else 0,
            self.selects[1],
            self.features >> 32 * self.selects[1] & 0xFFFFFFFF if self.selects[1] < 2 else 0,
            self.config_vector,
            len(self.queues),
            self.status,
            self.generation & 0xFF,
            self.selected,
            queue.size,
            queue.vector,
            queue.enabled,
            self.selected,
            queue.desc,
            queue.driver,
            queue.device,
        )

    def bar_write(self, bar: int, offset: int, value: int, size: int) -> None:
        with self.lock:
            space, at = _place(offset)
            self.record.add(space, at, size, value)
            if space == COMMON:
                self._write_common(at, value)
            elif space == NOTIFY and self.status & DRIVER_OK:
                try:
                    self.notified(value)
                except (MemoryFault, RingError):
                    self.needs_reset()  # the driver told us addresses that are none
            self.lock.notify_all()

    def _write_common(self, at: int, value: int) -> None:
        if at in (DEVICE_FEATURE_SELECT, DRIVER_FEATURE_SELECT):
            self.selects[at // DRIVER_FEATURE_SELECT] = value
        elif at == DRIVER_FEATURE and self.selects[1] < 2:
            shift = 32 * self.selects[1]
            self.features = self.features & ~(0xFFFFFFFF << shift) | value << shift
        elif at == CONFIG_MSIX:
            self.config_vector = value if value < self.vectors else NO_VECTOR
        elif at == STATUS:
            self._write_status(value)
        elif at == QUEUE_SELECT:
            self.selected = value
        elif self.selected < len(self.queues):
            self._write_queue(self.queues[self.selected], at, value)

    def _write_status(self, value: int) -> None:
        old, self.status = self.status, value
        if value & DRIVER_OK and not old & DRIVER_OK:
            self.started()
        if value == 0:
            if old & DRIVER_OK:
                self.stopped()
            self._forget()

    def _start_ring(self, queue: Queue) -> None:
        assert self.bus is not None
        try:
            queue.ring = _Ring(self, self.bus.memory, queue)
        except MemoryFault:
            self.needs_reset()

    def _write_queue(self, queue: Queue, at: int, value: int) -> None:
        if at == QUEUE_SIZE:
            queue.size = value
        elif at == QUEUE_MSIX:
            queue.vector = value if value < self.vectors else NO_VECTOR
        elif at == QUEUE_ENABLE and self.bus is not None:
            queue.enabled = 1
            self._start_ring(queue)
        for first, name in (
            (QUEUE_DESC, "desc"),
            (QUEUE_DRIVER, "driver"),
            (QUEUE_DEVICE, "device"),
        ):
            if at in (first, first + 4):
                shift = 8 * (at - first)
                whole = getattr(queue, name) & ~(0xFFFFFFFF << shift) | value << shift
                setattr(queue, name, whole)


class _Ring(Ring):
    """A queue whose interrupt is a function's."""

    def __init__(self, function: VirtioFunction, memory: GuestMemory, queue: Queue):
        super().__init__(memory, queue.size, queue.desc, queue.driver, queue.device)
        self.event_idx = bool(function.features & F_EVENT_IDX)
        self._function = function
        self._queue = queue

    def ring(self) -> None:
        if not self.quiet:
            self._function.interrupt(self._queue)


def _place(offset: int) -> tuple[str, int]:
    """The space that an offset in the BAR belongs to, and the offset in that."""
    for space, (_, start, _) in PLACES.items():
        if start <= offset < start + 0x1000:
            return space, offset - start
    return "bar", offset
