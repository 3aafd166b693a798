# SPDX-License-Identifier: MIT
"""Packets of vsock (virtio 1.2, 5.10.6) between a ring's chains and the device.

A packet is the firmware's own Packet: header fields are its attributes.
"""

from typing import Any

from mpfw.device.firmware import packet as _packet
from mpfw.device.firmware import vsock as w
from mpfw.device.rings import Chain

Packet: Any = _packet.Packet
PacketError: type[ValueError] = _packet.PacketError
DEFAULT_ALLOC = 262144  # bytes; Linux's window

DEVICE_TYPE = 19  # a socket device, 5.10.1
RX, TX, EVENT = 0, 1, 2  # its queues, 5.10.2


def read(chain: Chain) -> Any:
    """The packet that the driver sends in a chain, its data copied. Raises PacketError."""
    found = Packet.from_tx_chain(chain.buffers)
    found.data = [memoryview(found.payload())]
    return found


def write(chain: Chain, packet: Any) -> int:
    """Lay a packet into a receive chain; how many bytes that takes. Raises PacketError."""
    written: int = packet.to_rx_chain(chain.buffers)
    return written


def make(op: int, src_port: int, dst_port: int, data: bytes = b"", **fields: Any) -> Any:
    """A packet from CID 2 that offers the usual window; `fields` are further header fields, lies
    among them: each is taken as it is."""
    given = {
        "op": op,
        "src_cid": w.CID_HOST,
        "src_port": src_port,
        "dst_port": dst_port,
        "buf_alloc": DEFAULT_ALLOC,
    }
    return Packet(data, **given | fields)
