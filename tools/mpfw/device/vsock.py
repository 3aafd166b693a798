# SPDX-License-Identifier: MIT
"""A vsock device (virtio 1.2, 5.10) behind vhost-user: two queues, a CID, and a policy.

vhost-user leaves the event queue to QEMU. One thread serves QEMU and the queues; whoever calls a
method does so from any other, under the same lock. What a packet leads to is the policy's.
"""

import os
import socket
import struct
import threading
import traceback
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpfw.device import packets
from mpfw.device.firmware import vsock as w
from mpfw.device.memory import GuestMemory, MemoryFault
from mpfw.device.packets import RX, TX
from mpfw.device.rings import Chain, Ring, RingError
from mpfw.device.vhost_user import F_EVENT_IDX, BackEnd, ProtocolError
from mpfw.readable import readable

if TYPE_CHECKING:
    from mpfw.device.policy import Policy

F_VERSION_1 = 1 << 32  # virtio 1.2, chapter 6
F_INDIRECT_DESC = 1 << 28
_CONFIG = struct.Struct("<Q")  # guest_cid (5.10.4)
_KEPT = 200  # packets that a report shows


class DeviceError(Exception):
    """The device cannot do what is asked: one sentence."""


class VsockDevice:
    """One guest's device. `lock` guards everything; `changed` is notified after each turn."""

    def __init__(self, cid: int, policy: "Policy"):
        """`cid`: the guest's CID, all 64 bits of it: a liar says what it likes."""
        self.features = F_VERSION_1 | F_INDIRECT_DESC | F_EVENT_IDX | w.F_STREAM
        self.accepted = 0  # of those, by the driver
        self.config = _CONFIG.pack(cid)
        self.policy = policy
        self.rings: dict[int, Ring] = {}
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.errors: list[str] = []  # what went wrong here: a policy that raised, a broken driver
        self.seen: deque[tuple[str, Any]] = deque(
            maxlen=_KEPT
        )  # the last packets, ">" to the guest
        self.starts = 0  # how many times a driver has started the receive queue
        self._due: deque[Any] = deque()  # packets for which there is no buffer yet
        self._back_end: BackEnd | None = None
        self._wake = -1  # an eventfd while the thread runs
        self._ended = False
        self._thread: threading.Thread | None = None
        policy.device = self

    # -- life -------------------------------------------------------------------------------------

    def serve(self, path: Path) -> None:
        """Wait for QEMU at a Unix socket, in a thread of its own."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(os.fspath(path))
        listener.listen(1)
        self._thread = threading.Thread(target=self._run, args=(listener,), name="vsock device")
        self._thread.daemon = True
        self._thread.start()

    def close(self) -> None:
        """End the thread; the guest's device is dead then."""
        self._ended = True
        self.wake()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            os.close(self._wake)
            self._wake = -1

    def wake(self) -> None:
        """Have the thread look again: the policy wants a turn."""
        if self._wake >= 0:
            os.eventfd_write(self._wake, 1)

    @property
    def memory(self) -> GuestMemory:
        """The guest's memory. Raises DeviceError before QEMU has said where it is."""
        if self._back_end is None or not self._back_end.memory.regions:
            raise DeviceError("the guest's memory is not known yet")
        return self._back_end.memory

    def log(self) -> str:
        """What a report says of it: the last packets, its queues, then what went wrong."""
        with self.lock:
            packets_ = [f"{way} {packet}" for way, packet in self.seen]
            queues = [f"queue {index}: {ring.state()}" for index, ring in self.rings.items()]
            return "\n".join([*packets_, *queues, *self.errors])

    # -- the configuration ------------------------------------------------------------------------

    def set_cid(self, cid: int) -> None:
        """Another CID for the guest, and an interrupt that says so."""
        with self.lock:
            self.config = _CONFIG.pack(cid)
            if self._back_end is not None:
                self._back_end.config_changed()

    # -- what vhost_user.Served asks --------------------------------------------------------------

    def accept(self, features: int) -> None:
        """The driver took these features."""
        self.accepted = features

    def start_ring(self, index: int, ring: Ring) -> None:
        """A queue runs."""
        self.rings[index] = ring
        self.starts += index == RX
        ring.ask()
        self.policy.started(index, ring)
        self.kicked(index)

    def stop_ring(self, index: int) -> None:
        """A queue has stopped; a guest that starts again gets nothing that was due."""
        self.rings.pop(index, None)
        if index == RX:
            self._due.clear()
        self.policy.stopped(index)

    # -- packets ----------------------------------------------------------------------------------

    def send(self, *several: Any) -> None:
        """Send packets to the guest, now or when it has posted buffers for them."""
        with self.lock:
            self._due.extend(several)
            self._flush()

    def emit(
        self, op: int, src_port: int, dst_port: int, data: bytes = b"", **fields: Any
    ) -> None:
        """Send one packet, to the guest's CID unless `fields` say another (packets.make)."""
        fields.setdefault("dst_cid", _CONFIG.unpack(self.config)[0])
        self.send(packets.make(op, src_port, dst_port, data, **fields))

    @property
    def due(self) -> int:
        """Packets that wait for a buffer."""
        return len(self._due)

    def wait_sent(self, timeout: float = 10) -> None:
        """Wait until the guest has buffers for everything. Raises DeviceError."""
        self.wait(lambda: not self._due, "the guest takes no packets", timeout)

    def wait(self, ready: Any, failure: str, timeout: float = 10) -> Any:
        """Wait until ready() is true, and give what it gave. Raises DeviceError."""
        with self.lock:
            found = self.changed.wait_for(ready, timeout)
            if not found:
                raise DeviceError(f"{failure}: waited {timeout} s")
            return found

    def ring(self, index: int) -> Ring:
        """A queue that runs. Raises DeviceError."""
        if index not in self.rings:
            raise DeviceError(f"queue {index} does not run: no driver has started it")
        return self.rings[index]

    def _flush(self) -> None:
        ring = self.rings.get(RX)
        if ring is None or not self._due or not self.policy.may_send():
            return
        sent = False
        while self._due:
            chain = ring.pop()
            if chain is None:
                if ring.ask():
                    continue
                break
            packet = self._due.popleft()
            self.policy.fill(ring, chain, packet)
            self.seen.append((">", packet))
            sent = True
        if sent:
            ring.interrupt()

    def _take(self, ring: Ring) -> None:
        """What the guest sends."""
        while True:
            chain = ring.pop()
            if chain is None:
                if ring.ask():
                    continue
                break
            self._take_one(ring, chain)
        ring.interrupt()

    def _take_one(self, ring: Ring, chain: Chain) -> None:
        if not self.policy.taken(ring, chain):
            return
        try:
            packet = packets.read(chain)
        except packets.PacketError as error:
            self.errors.append(f"the driver's packet: {error!r}")
            self.policy.give_back(ring, chain)
            return
        self.policy.give_back(ring, chain)
        self.seen.append(("<", packet))
        self.policy.packet(packet)

    def kicked(self, index: int) -> None:
        """The driver has notified a queue."""
        ring = self.rings.get(index)
        if ring is None:
            return
        if index == TX:
            if self.policy.may_take():
                self._take(ring)
        else:
            self._flush()
            self.policy.posted(ring)

    # -- the thread -------------------------------------------------------------------------------

    def _run(self, listener: socket.socket) -> None:
        with listener:
            if not self._is_ready(listener):
                return
            connection, _ = listener.accept()
        with self.lock:
            self._back_end = BackEnd(connection, self)
        try:
            while not self._ended:
                self._turn(connection)
        except ProtocolError:
            pass  # QEMU has ended
        except Exception:
            with self.lock:
                self.errors.append(traceback.format_exc())
        finally:
            with self.lock:
                self._back_end.close()
                self._ended = True
                self.changed.notify_all()

    def _is_ready(self, listener: socket.socket) -> bool:
        readable([listener, self._wake])
        return not self._ended

    def _turn(self, connection: socket.socket) -> None:
        kicks = {ring.kick: index for index, ring in self.rings.items() if ring.kick >= 0}
        waiting = 0 if self.policy.busy else None
        ready = readable([connection, self._wake, *kicks], waiting)
        with self.lock:
            self._serve(connection, ready, kicks)
            self.changed.notify_all()

    def _serve(
        self, connection: socket.socket, ready: Iterable[Any], kicks: dict[int, int]
    ) -> None:
        for one in ready:
            if one is connection:
                assert self._back_end is not None
                self._back_end.serve()
                return  # the queues may be others now
        for one in ready:
            _drain(one)
            if one in kicks:
                try:
                    self.kicked(kicks[one])
                except (RingError, MemoryFault) as error:
                    self.errors.append(f"the driver's ring: {error}")
                    self.rings.pop(kicks[one], None)
        self.policy.turn()


def _drain(eventfd: int) -> None:
    """Read what was counted, so that the next notification shows."""
    try:
        os.eventfd_read(eventfd)
    except BlockingIOError:
        pass
