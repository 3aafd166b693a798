# SPDX-License-Identifier: MIT
"""A vsock device that carries datagrams besides streams, and what lets its guest see that.

QEMU's `vhost-user-vsock-pci` masks the feature bit. A PCI function of ours does not, nor does
`vhost-user-test-device-pci`.

As the series of 2026 for Linux has them: one message a packet of type 3, no credit, no RST. What
is of that type and no datagram is refused and counted.
"""

from collections import Counter, deque
from typing import Any

from mpfw.device import packets
from mpfw.device.firmware import vsock as w
from mpfw.device.host import DeviceHost
from mpfw.device.policy import Polite
from mpfw.device.virtio_pci import F_EVENT_IDX
from mpfw.device.vsock_pci import VsockFunction

Address = tuple[int, int]  # (cid, port)
MOST = 4096  # messages that a port keeps
FEATURES = F_EVENT_IDX | w.F_DGRAM


class Datagrams(Polite):
    """Keeps the guest's messages by the port that they go to, if that is bound.

    `refused` counts malformed packets by the name of what is wrong with them, `lost` messages
    that found nobody, or a full queue.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bound: dict[Address, deque[tuple[bytes, Address]]] = {}
        self.refused: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def bind(self, port: int, cid: int = w.CID_HOST) -> Address:
        """Keep what the guest sends there; the address."""
        with self.device.lock:
            self.bound.setdefault((cid, port), deque())
        return cid, port

    def receive(self, own: Address, timeout: float = 10) -> tuple[bytes, Address]:
        """The next message that came to a bound address, and its sender. Raises DeviceError."""
        queue = self.bound[own]
        with self.device.lock:
            self.device.wait(lambda: queue, f"no datagram came to port {own[1]}", timeout)
            return queue.popleft()

    def sendto(self, own: Address, port: int, data: bytes, **lies: Any) -> None:
        """Send one message to a port of the guest's; `lies` are header fields."""
        fields = {"src_cid": own[0], "type": w.TYPE_DGRAM, "buf_alloc": 0} | lies
        op = fields.pop("op", w.OP_RW)
        self.device.emit(op, own[1], port, data, **fields)

    def packet(self, packet: Any) -> None:
        if packet.type != w.TYPE_DGRAM:
            super().packet(packet)
            return
        try:
            packet.check()
        except packets.PacketError as error:
            self.refused[type(error).__name__] += 1
            return
        queue = self.bound.get((packet.dst_cid, packet.dst_port))
        if queue is None or len(queue) == MOST:
            self.lost["nobody" if queue is None else "full"] += 1
            return
        queue.append((packet.payload(), (packet.src_cid, packet.src_port)))


class PassingHost(DeviceHost):
    """By `vhost-user-test-device-pci` (QEMU 11), which passes feature bits on as they are."""

    def __init__(self, policy: Datagrams, cid: int, features: int = w.F_DGRAM):
        """`features`: what the device offers besides streams."""
        super().__init__(policy, cid)
        self.device.features |= features

    @property
    def devices(self) -> tuple[str, ...]:
        options = "virtio-id=19,num_vqs=3,config_size=8"
        return (f"vhost-user-test-device-pci,chardev={self.name},{options}",)


def function(**options: Any) -> VsockFunction:
    """A PCI function with such a device; `options` are VsockFunction's."""
    return VsockFunction(Datagrams(), **{"features": FEATURES} | options)
