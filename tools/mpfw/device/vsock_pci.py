# SPDX-License-Identifier: MIT
"""A vsock device that is a PCI function of ours: vsock.VsockDevice with any policy, and what
vhost-user keeps from it: the event queue, the registers, the interrupts.
"""

import struct
from collections import deque

from mpfw.device.firmware import vsock as w
from mpfw.device.memory import MemoryFault
from mpfw.device.packets import DEVICE_TYPE, EVENT, RX, TX
from mpfw.device.policy import Policy, Polite
from mpfw.device.rings import Chain, RingError
from mpfw.device.virtio_pci import F_EVENT_IDX, VirtioFunction
from mpfw.device.vsock import VsockDevice
from mpfw.guest.vsockhost import GUEST_CID

TRANSPORT_RESET = struct.pack("<I", w.EVENT_TRANSPORT_RESET)
_CLASS = 0x078000  # a communication controller


class VsockFunction(VirtioFunction):
    """A vsock device; polite unless `policy` is not, or a subclass lies in `event_posted`.

    `device` has the packets' side. `posted` are the event buffers that the guest has given.
    """

    def __init__(
        self,
        policy: Policy | None = None,
        cid: int = GUEST_CID,
        sizes: tuple[int, ...] = (128, 128, 128),
        vectors: int = 4,
        features: int = F_EVENT_IDX,
        class_code: int = _CLASS,
    ):
        """`sizes`: entries of the three queues; the others as VirtioFunction has them."""
        self.policy = policy or Polite()
        self.device = VsockDevice(cid, self.policy)
        config, lock = self.device.config, self.device.changed
        super().__init__(DEVICE_TYPE, sizes, config, vectors, features, class_code, lock)
        self.posted: deque[Chain] = deque()

    # -- for tests --------------------------------------------------------------------------------

    def transport_reset(self, cid: int | None = None) -> bool:
        """Put the event into the queue, with a new CID; False without a buffer for it."""
        with self.lock:
            if cid is not None:
                self.device.config = struct.pack("<Q", cid)
                self.config[:] = self.device.config
                self.generation += 1
            return self.tell_event(TRANSPORT_RESET)

    def tell_event(self, data: bytes) -> bool:
        """Complete one event buffer; False if there is none."""
        with self.lock:
            self.take_events()
            ring = self.ring(EVENT)
            if ring is None or not self.posted:
                return False
            chain = self.posted.popleft()
            view = next(view for view, writes in chain.buffers if writes)
            view[: len(data)] = data[: len(view)]
            ring.push(chain, len(data))
            ring.interrupt()
            return True

    def take_events(self) -> None:
        """Note the event buffers that the driver has posted."""
        ring = self.ring(EVENT)
        while ring is not None and (ring.waiting or ring.ask()):
            chain = ring.pop()
            assert chain is not None
            self.posted.append(chain)

    # -- what the driver does ---------------------------------------------------------------------

    def event_posted(self) -> None:
        """Event buffers came; a polite device keeps them."""

    def started(self) -> None:
        self.device.accept(self.features)
        for index in (RX, TX):
            ring = self.ring(index)
            if ring is not None:
                self.device.start_ring(index, ring)

    def stopped(self) -> None:
        self.posted.clear()
        for index in (RX, TX):
            self.device.stop_ring(index)

    def notified(self, index: int) -> None:
        if index == EVENT:
            self.take_events()
            self.event_posted()
            return
        try:
            self.device.kicked(index)
        except (MemoryFault, RingError) as error:
            self.device.errors.append(f"the driver's ring: {error}")
            raise
        finally:
            self.policy.turn()
