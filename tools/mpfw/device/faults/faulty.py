# SPDX-License-Identifier: MIT
"""Rules around a device: what vhost_user.Served describes, with another one behind it.

The device knows nothing of them. It gets queues that are not the guest's but ours.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from mpfw.device.faults.actions import Completion, Passing
from mpfw.device.faults.injector import Injector
from mpfw.device.faults.queues import FromGuest, Queue, Tap, ToGuest
from mpfw.device.faults.rules import FROM_GUEST, TO_GUEST
from mpfw.device.loop import EDGE, IN, Loop
from mpfw.device.rings import Ring
from mpfw.device.wire import RX, TX, Wire

_QUEUES: dict[int, type[ToGuest] | type[FromGuest]] = {RX: ToGuest, TX: FromGuest}


class Faulty:
    """A Wire behind rules. `tap` is told of packets as the guest sees them: what it sent itself,
    and what came to it after the rules; before the driver starts it may be set."""

    def __init__(
        self,
        wire: Wire,
        loop: Loop,
        injector: Injector,
        hang_up: Callable[[], None],
        tell: Callable[[str], None],
    ) -> None:
        """`hang_up`: end the connection to QEMU. `tell`: have it tell the guest of one of
        actions.EVENTS."""
        self.features = wire.features
        self.config = wire.config
        self.tap: Tap | None = None
        self._wire = wire
        self._loop = loop
        self._injector = injector
        self._hang_up = hang_up
        self._tell = tell
        self._queues: dict[int, ToGuest | FromGuest] = {}

    # -- what vhost_user.Served asks --------------------------------------------------------------

    def accept(self, features: int) -> None:
        self._wire.accept(features)

    def start_ring(self, index: int, ring: Ring) -> None:
        if index not in _QUEUES:
            self._wire.start_ring(index, ring)
            return
        queue = _QUEUES[index](ring, self._loop, self._judge, self.tap)
        self._queues[index] = queue
        self._loop.add(ring.kick, IN | EDGE, queue.kicked)
        self._wire.start_ring(index, queue)  # type: ignore[arg-type]  # it has what a device uses

    def stop_ring(self, index: int) -> None:
        self._wire.stop_ring(index)
        queue = self._queues.pop(index, None)
        if queue is not None:
            self._loop.remove(queue.ring.kick)
            queue.close()

    # -- packets ----------------------------------------------------------------------------------

    def _judge(self, direction: int, packet: Any) -> tuple[Completion | None, float | None]:
        """What queues.Judge describes."""
        verdict = self._injector.take(direction, packet)
        completion = verdict.packets[0].completion if verdict.packets else None
        for passing in verdict.packets:
            self._add(direction, passing)
        for answer in verdict.answers:
            self._add(1 - direction, Passing(answer))
            self._loop.soon(lambda: self._pump(1 - direction))
        if verdict.cid is not None:
            self.config = verdict.cid.to_bytes(len(self.config), "little")
        for event in verdict.events:
            self._loop.soon(partial(self._tell, event))
        if verdict.disconnect:
            self._loop.soon(self._hang_up)
        return completion, verdict.stall

    def _add(self, direction: int, passing: Passing) -> None:
        queue = self._queue(direction)
        if queue is not None:
            queue.lane.add(passing)

    def _pump(self, direction: int) -> None:
        queue = self._queue(direction)
        if queue is not None:
            queue.pump()

    def _queue(self, direction: int) -> Queue | None:
        return self._queues.get({TO_GUEST: RX, FROM_GUEST: TX}[direction])
