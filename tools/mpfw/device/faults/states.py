# SPDX-License-Identifier: MIT
"""The states of connections, as the packets of both ends tell; in the words of `mpfw trace`."""

from typing import Any

from mpfw.device.firmware import vsock as w
from mpfw.trace.conversation import Conversation, End

CLOSED = "closed"
NAMES = ("closed", "calling", "called", "open", "sends no more", "takes no more", "shut")
_MOST = 1 << 16  # connections; the oldest are forgotten beyond that


class States:
    """What is known of all connections."""

    def __init__(self) -> None:
        self._open: dict[frozenset[tuple[int, int]], Conversation] = {}

    def take(self, packet: Any) -> str:
        """Note a packet; the state that its sender was in before it."""
        source = packet.src_cid, packet.src_port
        target = packet.dst_cid, packet.dst_port
        key = frozenset((source, target))
        known = self._open.get(key)
        before = CLOSED
        if known is not None:
            first = known.ends[0]
            before = known.ends[(first.cid, first.port) != source].state
        if known is None or packet.op == w.OP_REQUEST:
            if len(self._open) >= _MOST:
                del self._open[next(iter(self._open))]
            known = Conversation(0, (End(*source), End(*target)), packet.type)
            self._open[key] = known
        first = known.ends[0]
        known.take(packet, (first.cid, first.port) != source, "", packet.len)
        if packet.op == w.OP_RST:
            del self._open[key]
        return before
