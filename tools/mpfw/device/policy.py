# SPDX-License-Identifier: MIT
"""What a vsock device does with its queues: hooks, and the polite one, which carries streams.

Hooks run under the device's lock, in its thread or in whose call leads there.
"""

import errno
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from mpfw.device import packets
from mpfw.device.firmware import vsock as w
from mpfw.device.packets import DEFAULT_ALLOC
from mpfw.device.rings import Chain, Ring

if TYPE_CHECKING:
    from mpfw.device.vsock import VsockDevice

_FIRST_PORT = 1 << 20  # the first of the ports that connect() takes by itself
_WRAP = 0xFFFFFFFF


class Policy:
    """Takes what the guest sends and answers nothing."""

    device: "VsockDevice"
    busy = False  # the thread does not sleep: turn() comes again and again

    def started(self, index: int, ring: Ring) -> None:
        """A queue runs."""

    def stopped(self, index: int) -> None:
        """It runs no more."""

    def may_take(self) -> bool:
        """Whether the transmit queue is served."""
        return True

    def may_send(self) -> bool:
        """Whether packets that are due go out."""
        return True

    def fill(self, ring: Ring, chain: Chain, packet: Any) -> None:
        """Put a packet into a receive chain and give that to the driver."""
        ring.push(chain, packets.write(chain, packet))

    def taken(self, ring: Ring, chain: Chain) -> bool:
        """A chain was taken from the transmit queue; False: nothing more is done with it."""
        return True

    def give_back(self, ring: Ring, chain: Chain) -> None:
        """Give a chain of the transmit queue back to the driver."""
        ring.push(chain, 0)

    def packet(self, packet: Any) -> None:
        """The guest has sent this."""

    def posted(self, ring: Ring) -> None:
        """The guest has posted receive buffers."""

    def turn(self) -> None:
        """The thread has looked at everything."""


class Stream:
    """One connection of the polite device's; its methods may wait and are for other threads."""

    def __init__(self, policy: "Polite", key: tuple[int, int, int], alloc: int):
        """`key`: our CID and port, the guest's port. `alloc`: bytes, the window we offer."""
        self.key = key
        self.alloc = alloc
        self.established = self.reset = False
        self.shut = 0  # SHUTDOWN_* that the guest has said
        self.received = bytearray()  # not yet read
        self.unsent = bytearray()
        self._policy = policy
        self._device = policy.device
        self._sent = self._forwarded = self._told = 0
        self._peer_alloc = self._peer_forwarded = 0

    # -- for tests and host programs --------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send within the guest's credit, the rest when it comes; does not wait."""
        with self._device.lock:
            self.unsent += data
            self._pump()

    def receive(self, n: int, timeout: float = 10) -> bytes:
        """Exactly n bytes, or fewer if no more will come. Raises DeviceError."""
        data = bytearray()
        deadline = time.monotonic() + timeout
        with self._device.lock:
            while len(data) < n:
                left = deadline - time.monotonic()
                missing = f"{n} bytes did not come, {len(data)} did"
                self._device.wait(lambda: self.received or self.ended, missing, left)
                if not self.received:
                    break
                data += self.take(n - len(data))
        return bytes(data)

    def take(self, n: int) -> bytes:
        """What has come, at most n bytes of it; does not wait. The device's lock is held."""
        data = bytes(self.received[:n])
        del self.received[:n]
        self._forwarded = (self._forwarded + len(data)) & _WRAP
        if (self._forwarded - self._told) & _WRAP >= self.alloc // 2 and not self.reset:
            self.emit(w.OP_CREDIT_UPDATE)
        return data

    @property
    def ended(self) -> bool:
        """Whether the guest will send nothing more."""
        return self.reset or bool(self.shut & w.SHUTDOWN_SEND)

    def shutdown(self, flags: int) -> None:
        """Say that this end sends no more, takes no more, or both (SHUTDOWN_*)."""
        self.emit(w.OP_SHUTDOWN, flags=flags)

    def abort(self) -> None:
        """End it with RST."""
        self.emit(w.OP_RST)
        self._policy.forget(self)

    def wait_reset(self, timeout: float = 10) -> None:
        """Wait until the guest has reset it. Raises DeviceError."""
        self._device.wait(lambda: self.reset, "the guest did not reset a connection", timeout)

    def emit(self, op: int, data: bytes = b"", **fields: Any) -> None:
        """Send one packet of this connection; `fields` may lie."""
        cid, port, peer = self.key
        with self._device.lock:
            own = {"src_cid": cid, "buf_alloc": self.alloc, "fwd_cnt": self._forwarded}
            if op == w.OP_RW:
                self._sent = (self._sent + len(data)) & _WRAP
            self._told = self._forwarded
            self._device.emit(op, port, peer, data, **own | fields)

    @property
    def credit(self) -> int:
        """Bytes that the guest takes now; its window, less what it has not read."""
        return self._peer_alloc - ((self._sent - self._peer_forwarded) & _WRAP)

    # -- the device's thread ----------------------------------------------------------------------

    def hear(self, packet: Any) -> None:
        """A packet of the guest's for this connection."""
        self._peer_alloc, self._peer_forwarded = packet.buf_alloc, packet.fwd_cnt
        if packet.op == w.OP_RESPONSE:
            self.established = True
        elif packet.op == w.OP_RW:
            self.received += packet.payload()
        elif packet.op == w.OP_CREDIT_REQUEST:
            self.emit(w.OP_CREDIT_UPDATE)
        elif packet.op == w.OP_SHUTDOWN:
            self.shut |= packet.flags
            if self.shut == w.SHUTDOWN_BOTH:
                self.abort()  # 5.10.6.5: whoever hears that both are shut may reset it
        elif packet.op == w.OP_RST:
            self.reset = True
            self._policy.forget(self)
        self._pump()

    def _pump(self) -> None:
        while self.established and self.unsent and self.credit > 0:
            n = min(len(self.unsent), self.credit, w.MAX_DATA)
            data = bytes(self.unsent[:n])
            del self.unsent[:n]
            self.emit(w.OP_RW, data)


class Polite(Policy):
    """Carries streams as the specification wants it: calls from the guest, and calls to it."""

    def __init__(self) -> None:
        self.streams: dict[tuple[int, int, int], Stream] = {}
        self.accepted: dict[int, deque[Stream]] = {}  # port that listens -> not yet taken
        self.alloc = DEFAULT_ALLOC  # bytes, the window that new connections offer
        self._next_port = _FIRST_PORT

    # -- for tests and host programs --------------------------------------------------------------

    def listen(self, port: int) -> None:
        """Take the guest's connections to this port."""
        with self.device.lock:
            self.accepted.setdefault(port, deque())

    def accept(self, port: int, timeout: float = 10) -> Stream:
        """The next connection of the guest's to this port. Raises DeviceError."""
        waiting = self.accepted[port]
        self.device.wait(lambda: waiting, f"the guest did not call port {port}", timeout)
        return waiting.popleft()

    def request(self, port: int, src_port: int = 0, src_cid: int = w.CID_HOST) -> Stream:
        """Ask the guest for a connection and do not wait."""
        with self.device.lock:
            if not src_port:
                src_port, self._next_port = self._next_port, self._next_port + 1
            stream = Stream(self, (src_cid, src_port, port), self.alloc)
            self.streams[stream.key] = stream
            stream.emit(w.OP_REQUEST)
            return stream

    def connect(self, port: int, timeout: float = 10, **source: int) -> Stream:
        """Connect to a port of the guest's. Raises DeviceError, ConnectionResetError."""
        stream = self.request(port, **source)
        self.device.wait(
            lambda: stream.established or stream.reset, f"port {port} does not answer", timeout
        )
        if stream.reset:
            raise ConnectionResetError(
                errno.ECONNRESET, f"the guest's port {port} does not accept"
            )
        return stream

    def forget(self, stream: Stream) -> None:
        """Nothing more is expected of this connection."""
        self.streams.pop(stream.key, None)

    # -- hooks ------------------------------------------------------------------------------------

    def stopped(self, index: int) -> None:
        for stream in self.streams.values():
            stream.reset = True
        self.streams.clear()

    def packet(self, packet: Any) -> None:
        key = packet.dst_cid, packet.dst_port, packet.src_port
        stream = self.streams.get(key)
        if stream is not None:
            stream.hear(packet)
        elif packet.op == w.OP_REQUEST and self.answers(packet):
            stream = self.streams[key] = Stream(self, key, self.alloc)
            stream.established = True
            stream.hear(packet)
            stream.emit(w.OP_RESPONSE)
            self.accepted[packet.dst_port].append(stream)
        elif packet.op != w.OP_RST:
            self.refuse(packet)

    def answers(self, packet: Any) -> bool:
        """Whether a REQUEST of the guest's finds somebody who listens."""
        return packet.dst_port in self.accepted

    def refuse(self, packet: Any) -> None:
        """RST to a packet for nobody (5.10.6.6.1)."""
        fields = {"src_cid": packet.dst_cid, "type": packet.type}
        self.device.emit(w.OP_RST, packet.dst_port, packet.src_port, **fields)
