# SPDX-License-Identifier: MIT
"""What a device sees in place of the guest's two queues when there are rules.

They have the part of rings.Ring that a device uses. The guest's packets come out of `FromGuest`
as the rules have left them, in memory of our own; what the device lays into `ToGuest`'s chains
goes through the rules, and then into the guest's buffers. A chain of the guest's is given back
when its packet was taken, as the rules say.
"""

import math
import os
from collections.abc import Callable
from typing import Any

from mpfw.device.chains import behind, lay, scatter
from mpfw.device.faults.actions import Completion, Passing
from mpfw.device.faults.lane import Lane
from mpfw.device.faults.rules import FROM_GUEST, TO_GUEST
from mpfw.device.firmware import vsock as w
from mpfw.device.loop import Loop
from mpfw.device.memory import MemoryFault
from mpfw.device.packets import Packet
from mpfw.device.rings import Chain, Ring, RingError

_OURS = -1  # the head of a chain that is not the guest's
_MOST_WAITING = 256  # packets of the guest's, beyond which its queue is left alone
_APART = 0.001  # s between interrupts that are to be several
_HEADER: int = w.HEADER_LEN

# Direction and packet: through the rules, into the lanes; the completion of what carried it, and
# how long its queue is to be left alone.
Judge = Callable[[int, Any], tuple[Completion | None, float | None]]
Tap = Callable[[int, memoryview, list[memoryview]], None]


class _Kept:
    """A chain that is given back later."""

    def __init__(self, head: int, length: int, completion: Completion):
        self.head = head
        self.length = length
        self.completion = completion
        self.behind: float = completion.behind


class Queue:
    """What both have in common. `kick` tells the device to look, as the guest's tells us."""

    def __init__(self, ring: Ring, loop: Loop, judge: Judge, tap: Tap | None):
        self.ring = ring
        self.kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.lane = Lane(loop, self.pump)
        self._loop = loop
        self._judge = judge
        self._tap = tap
        self._stalled = self._stopped = False
        self._kept: list[_Kept] = []
        self._settled = True

    reuses = False  # chains of ours are new ones each time

    @property
    def err(self) -> int:
        """QEMU's, which is told of a broken queue."""
        return self.ring.err

    def close(self) -> None:
        """The guest's queue runs no more."""
        self._stopped = True
        self.lane.clear()
        self._kept.clear()
        os.close(self.kick)

    def pump(self) -> None:
        """Move on what can be moved."""
        raise NotImplementedError

    def show(self) -> None:
        """Let the driver see what was given back."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Tell the driver."""
        raise NotImplementedError

    def publish(self) -> None:
        """Both of that."""
        self.show()
        self.interrupt()

    def wake(self) -> None:
        """Have the device look."""
        if not self._stopped:
            os.eventfd_write(self.kick, 1)

    def _stall(self, seconds: float) -> None:
        self._stalled = True
        if seconds < math.inf:
            self._loop.after(seconds, self._go_on)

    def _go_on(self) -> None:
        self._stalled = False
        if not self._stopped:
            self._give_back([each for each in self._kept if each.behind == math.inf])
            self.settle()
            self.pump()
            self.wake()

    # -- giving chains back -----------------------------------------------------------------------

    def _complete(self, head: int, length: int, completion: Completion | None) -> None:
        """Give a chain back; settle() lets the driver see it."""
        kept = None
        if self._stalled:
            kept = _Kept(head, length, completion or Completion())
            kept.behind = math.inf
        elif completion is not None and completion.behind:
            kept = _Kept(head, length, completion)
            self._loop.after(completion.seconds, lambda: self._give_up(kept))
        if kept is not None:
            self._kept.append(kept)
            return
        self._put(head, length, completion)
        for each in self._kept:
            each.behind -= 1
        self._give_back([each for each in self._kept if each.behind <= 0])

    def _give_back(self, several: list[_Kept]) -> None:
        for each in several:
            self._kept.remove(each)
            self._put(each.head, each.length, each.completion)

    def _give_up(self, kept: _Kept) -> None:
        """The chains that it was to be behind have not come in time."""
        if not self._stopped and kept in self._kept:
            self._give_back([kept])
            self.settle()

    def _put(self, head: int, length: int, completion: Completion | None) -> None:
        if completion is None:
            self.ring.put(head, length)
            self._settled = False
            return
        told = completion.interrupts
        if told is not None:
            self.settle()  # what was given back before has its own
        head = head if completion.head is None else completion.head
        self.ring.put(head, length if completion.length is None else completion.length)
        self._settled = False
        if told is not None:
            self._settle_with(told)

    def _settle_with(self, interrupts: int) -> None:
        self.ring.quiet = True
        self.settle()
        self.ring.quiet = False
        for number in range(interrupts):
            self._loop.after(number * _APART, self.ring.ring)

    def settle(self) -> None:
        """Let the driver see what was given back, and tell it."""
        if not self._settled:
            self._settled = True
            self.ring.show()
            self.ring.interrupt()


class ToGuest(Queue):
    """The receive queue: the device fills chains of ours, as long as the guest has as many."""

    def __init__(self, ring: Ring, loop: Loop, judge: Judge, tap: Tap | None):
        super().__init__(ring, loop, judge, tap)
        self._given = memoryview(b"")  # the chain that the device fills
        self._error: RingError | MemoryFault | None = None  # found while the device did not look

    @property
    def _is_open(self) -> bool:
        return not self._stalled and self.ring.waiting > len(self.lane)

    def pop(self) -> Chain | None:
        """Room for a packet. Raises RingError, MemoryFault."""
        if self._error is not None:
            raise self._error
        chain = self.ring.pop() if self._is_open else None
        if chain is None:
            return None
        self.ring.leave()
        self._given = memoryview(bytearray(chain.room))
        return Chain(_OURS, [(self._given, True)])

    def leave(self) -> None:
        """It was not needed."""

    def put(self, head: int, n: int) -> None:
        """The device has laid a packet into it."""
        packet = Packet()
        packet.header[:] = self._given[:_HEADER]
        packet.data = [self._given[_HEADER:n]] if n > _HEADER else []
        _, stall = self._judge(TO_GUEST, packet)
        if stall is not None:
            self._stall(stall)

    def show(self) -> None:
        self.pump()

    def interrupt(self) -> None:
        """pump() does so."""

    def ask(self) -> bool:
        """Whether pop() has one by now; if not, the guest's notification tells."""
        return self.ring.ask() and self._is_open

    def kicked(self, _events: int) -> None:
        """The guest has notified the queue."""
        self.pump()
        self.wake()

    def pump(self) -> None:
        if self._stopped or self._error is not None:
            return
        try:
            while not self._stalled and self.lane.is_due:
                chain = self.ring.pop()
                if chain is not None:
                    self._lay(chain, self.lane.take())
                elif not self.ring.ask():
                    break
        except (RingError, MemoryFault) as error:
            self._error = error
            self.wake()
        self.settle()

    def _lay(self, chain: Chain, passing: Passing) -> None:
        header, data = memoryview(passing.packet.header), passing.packet.payload()
        if chain.room < _HEADER + len(data):
            self.ring.leave()  # it was made longer than the guest has room for
            self.wake()
            return
        n = lay(chain, header)
        scatter(behind(chain, n), memoryview(data))
        if self._tap is not None:
            self._tap(TO_GUEST, header, passing.packet.data)
        self._complete(chain.head, n + len(data), passing.completion)


class FromGuest(Queue):
    """The transmit queue: the device reads chains of ours."""

    def pop(self) -> Chain | None:
        """The next packet that is the device's to see. Raises RingError, MemoryFault."""
        while not self._stalled:
            if self.lane.is_due:
                packet = self.lane.take().packet
                whole = memoryview(bytes(packet.header) + packet.payload())
                return Chain(_OURS, [(whole, False)])
            chain = self.ring.pop() if len(self.lane) < _MOST_WAITING else None
            if chain is None:
                break
            if not self._take(chain):
                return chain  # no packet: what that leads to is the device's to say
        self.settle()
        return None

    def put(self, head: int, n: int) -> None:
        """The device has read it."""
        if head != _OURS:
            self._put(head, n, None)

    def show(self) -> None:
        """interrupt() does so, too."""

    def interrupt(self) -> None:
        """Let the driver see what was given back, and tell it."""
        self.settle()

    def ask(self) -> bool:
        """Whether pop() may have one by now; if not, the guest's notification tells."""
        there = self.ring.ask()
        if self._stalled:
            return False
        return self.lane.is_due or (there and len(self.lane) < _MOST_WAITING)

    def kicked(self, _events: int) -> None:
        """The guest has notified the queue."""
        self.wake()

    def pump(self) -> None:
        self.wake()

    def _take(self, chain: Chain) -> bool:
        """Through the rules with a packet; False: it is none."""
        views = [view for view, writes in chain.buffers if not writes]
        whole = b"".join(views)
        if len(whole) < _HEADER or len(views) < len(chain.buffers):
            return False
        packet = Packet()
        packet.header[:] = whole[:_HEADER]
        packet.data = [memoryview(whole)[_HEADER:]] if len(whole) > _HEADER else []
        if self._tap is not None:
            self._tap(FROM_GUEST, memoryview(bytes(packet.header)), packet.data)
        completion, stall = self._judge(FROM_GUEST, packet)
        if stall is not None:
            self._stall(stall)
        self._complete(chain.head, 0, completion)
        return True
