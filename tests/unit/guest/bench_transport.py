# SPDX-License-Identifier: MIT
"""A virtio transport whose registers are attributes here, and the device's ends of its queues.

Behaves as virtio 1.2 says until a test tells it not to, by its settings (`set`).
"""

import bench_machine
from bench_machine import span
from bench_ring import Ring
from virtio.device import F_EVENT_IDX, F_VERSION_1
from virtio.errors import NotSupported
from virtio.transport import Transport

_FEATURES_OK = 8
_NEEDS_RESET = 0x40


class FakeTransport(Transport):
    """A device; it lives longer than the drivers that open it."""

    def __init__(self):
        # Settings, for a test to change.
        self.offered = F_VERSION_1 | F_EVENT_IDX
        self.sizes = [128, 128, 128]  # of the queues
        self.configuration = bytes(8)
        self.vectors = 99  # how many interrupt vectors it has; 0: none, it must be polled
        self.refuses_features = False
        self.reset_reads = 0  # so many looks at the status until a reset is done
        self.stubborn = False  # it resets when it is opened, and not when it is closed
        self.restless = 0  # so many times the configuration changes while it is read
        self.missing = ""  # what `open` complains of
        self.dead_route = -1  # the queue that takes no vector; 3: the configuration
        # What the driver did.
        self.statuses = []
        self.opened = 0
        self.closed = 0
        self._bells = None
        self._generation = 0
        self._clear()

    def _clear(self):
        self._status = 0
        self._resetting = 0
        self.accepted = None
        self.rings = {}
        self.enabled = []
        self.wires = {}  # queue, or 3 for the configuration: its Vector

    def __repr__(self):
        return "the bench's device"

    def set(self, name, value):
        """Change a setting."""
        getattr(self, name)
        setattr(self, name, value)
        if name == "configuration":
            self._generation += 1

    @property
    def config_size(self):
        return len(self.configuration)

    # -- what the driver calls

    def open(self):
        if self.missing:
            raise NotSupported(self.missing)
        self.opened += 1
        if self.stubborn:
            self._status = self._resetting = 0
        self._bells = bench_machine.DMABuffer(64)
        self.rung()

    def close(self):
        self.closed += 1
        for vector in self.wires.values():
            vector.close()
        self.wires = {}
        self._bells.free()
        self._bells = None

    def status(self):
        if self._resetting:
            self._resetting -= 1
            return 0xFF
        return self._status

    def set_status(self, status):
        self.statuses.append(status)
        if status == 0:
            wires = self.wires
            looks = 1 << 30 if self.stubborn and self._status else self.reset_reads
            self._clear()
            self.wires = wires
            self._resetting = looks
        self._status = status & ~_FEATURES_OK if self.refuses_features else status

    def features(self):
        return self.offered

    def set_features(self, features):
        self.accepted = features

    def generation(self):
        if self.restless:
            self.restless -= 1
            self._generation += 1
        return self._generation & 0xFF

    def config32(self, offset):
        return int.from_bytes(self.configuration[offset : offset + 4], "little")

    def queue_size(self, index):
        return self.sizes[index] if index < len(self.sizes) else 0

    def notify_address(self, index):
        return self._bells.addr + 4 * index

    def set_queue(self, index, size, desc, avail, used):
        event_idx = bool(self.accepted & F_EVENT_IDX)
        self.rings[index] = Ring(size, desc, avail, used, event_idx)

    def route_queue(self, index):
        return self._route(index)

    def route_config(self):
        return self._route(len(self.sizes))

    def _route(self, index):
        if self.dead_route == index:
            raise NotSupported("takes no interrupt vector")
        if not self.vectors:
            return None
        if len(self.wires) < self.vectors:
            self.wires[index] = bench_machine.Vector()
            return self.wires[index]
        return self.wires[max(self.wires)]

    def enable_queue(self, index):
        self.enabled.append(index)

    # -- what a device does

    def needs_reset(self):
        """The device gives up (2.1.2)."""
        self._status |= _NEEDS_RESET

    def rung(self):
        """The queues that were notified since the last call."""
        memory = span(self._bells.addr, 64)
        found = [i for i in range(16) if bytes(memory[4 * i : 4 * i + 4]) != b"\xff" * 4]
        memory[:] = b"\xff" * 64
        return found

    def fire(self, index):
        """Interrupt for a queue; 3 is the configuration. What the handler says."""
        wires = self.wires
        return wires[index if index in wires else max(wires)].fire()

    def kick(self, index):
        """Interrupt for a queue if the driver asked for that; whether it did."""
        wanted = self.rings[index].wants_interrupt()
        if wanted and self.wires:
            self.fire(index)
        return wanted
