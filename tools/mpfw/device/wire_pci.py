# SPDX-License-Identifier: MIT
"""A Wire as a whole PCI function, for what QEMU's `vhost-user-vsock-pci` keeps from its guest:
feature bits, datagrams among them. It is polite; the functions that lie are vsock_pci's.

`PciBackEnd` is to `vfio-user-pci` and `x-pci-proxy-dev` what BackEnd is to vhost-user.
"""

import os
import socket
import struct

from mpfw.device.chains import scatter
from mpfw.device.firmware import vsock as w
from mpfw.device.memory import MemoryFault
from mpfw.device.packets import DEVICE_TYPE, EVENT, RX, TX
from mpfw.device.proxy import ProxyPeer
from mpfw.device.rings import Ring, RingError
from mpfw.device.settings import VFIO_USER
from mpfw.device.vfio_user import VfioUserPeer
from mpfw.device.vhost_user import ProtocolError, Served
from mpfw.device.virtio_pci import F_VERSION_1, VirtioFunction

_QUEUES, _MOST = 3, 128
_TRANSPORT_RESET = memoryview(struct.pack("<I", w.EVENT_TRANSPORT_RESET))
_VECTORS = 4
_PATIENCE = 1.0  # s that QEMU has for the rest of a message


class WireFunction(VirtioFunction):
    """The registers of a Wire, or of what stands before one."""

    def __init__(self, wire: Served, vectors: int):
        super().__init__(
            DEVICE_TYPE,
            (_MOST,) * _QUEUES,
            wire.config,
            vectors,
            features=wire.features & ~F_VERSION_1,
        )
        self.record.keep = False  # it may run for long
        self._wire = wire
        self._kicks: dict[int, int] = {}  # eventfds, by queue

    def started(self) -> None:
        self._wire.accept(self.features)
        for index in (RX, TX):
            ring = self.ring(index)
            if ring is not None:
                ring.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
                self._kicks[index] = ring.kick
                self._wire.start_ring(index, ring)

    def stopped(self) -> None:
        for index, kick in self._kicks.items():
            self._wire.stop_ring(index)
            os.close(kick)
        self._kicks.clear()

    def notified(self, index: int) -> None:
        if index in self._kicks:
            os.eventfd_write(self._kicks[index], 1)

    def transport_reset(self) -> bool:
        """The event of 5.10.6.7; False if the driver has posted no buffer for it."""
        ring = self.ring(EVENT)
        chain = None if ring is None else ring.pop()
        if ring is None or chain is None:
            return False
        views = [view for view, writes in chain.buffers if writes]
        n = min(chain.room, len(_TRANSPORT_RESET))
        scatter(views, _TRANSPORT_RESET[:n])
        ring.push(chain, n)
        ring.interrupt()
        return True

    def ring(self, index: int) -> Ring | None:
        """None, too, for a queue whose size cannot be."""
        found = super().ring(index)
        return found if found is not None and 0 < found.size <= _MOST else None


class PciBackEnd:
    """One connection of QEMU's; serve() answers one message."""

    def __init__(self, connection: socket.socket, wire: Served, carrier: str):
        """`carrier`: one of settings.CARRIERS, but not vhost-user."""
        self.connection = connection
        self._served = wire
        self.hung_up = False  # by QEMU
        connection.settimeout(_PATIENCE)
        self._peer: VfioUserPeer | ProxyPeer
        if carrier == VFIO_USER:
            self._function = WireFunction(wire, _VECTORS)
            self._peer = VfioUserPeer(self._function, connection, _VECTORS)
        else:
            self._function = WireFunction(wire, 0)
            self._peer = ProxyPeer(self._function, connection)

    def serve(self) -> None:
        """Read a message and answer it. Raises ProtocolError."""
        try:
            self.hung_up = not self._peer.serve()
        except ConnectionError as error:
            self.hung_up = True
            raise ProtocolError(f"QEMU hung up: {error}") from None
        except (OSError, LookupError, ValueError, OverflowError, struct.error) as error:
            raise ProtocolError(f"a message that cannot be: {error}") from None
        if self.hung_up:
            raise ProtocolError("QEMU hung up")

    def config_changed(self) -> None:
        """The configuration is another one: the driver is told."""
        self._function.config[:] = self._served.config
        self._function.generation += 1
        self._function.config_changed()

    def needs_reset(self) -> None:
        """The device works no more until its driver resets it (2.1.2)."""
        self._function.needs_reset()

    def transport_reset(self) -> None:
        """All connections are gone. Raises ProtocolError if the driver cannot be told."""
        try:
            told = self._function.transport_reset()
        except (RingError, MemoryFault) as error:
            raise ProtocolError(str(error)) from None
        if not told:
            raise ProtocolError("there is no buffer in its event queue")

    def close(self) -> None:
        """Stop all queues and hang up."""
        self._function.reset()
        self._peer.close()
