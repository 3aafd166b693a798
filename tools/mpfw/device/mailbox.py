# SPDX-License-Identifier: MIT
"""One guest's datagrams (docs/datagrams.md): what it sends to the host's programs and to other
guests, and what waits for it.

A message arrives whole or is dropped; each drop is counted by its reason in `Wire.drops`, and the
first of each is told. In the wire's `ready` a mailbox stands like a connection: one packet a turn.
"""

from array import array
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from mpfw.device.chains import behind, lay, scatter
from mpfw.device.firmware import vsock as w
from mpfw.device.rings import Chain

if TYPE_CHECKING:
    from mpfw.device.wire import Wire

# Why a message is dropped; "" is not at all. A malformed packet goes by the name of its error.
NOT_A_DATAGRAM = "NotADatagram"
NOBODY = "nobody has that port"
NO_GUEST = "no guest has that CID and takes datagrams"
FULL = "the receiver's queue is full"
SHORT_BUFFER = "the guest's receive buffer is shorter than the message"

_HEADER = w.HEADER_LEN
MOST = 256  # messages that wait, as in a guest's socket
MOST_BYTES = 1 << 20


class Programs(Protocol):
    """The host's programs."""

    def deliver(self, source: int, port: int, views: list[memoryview]) -> str:
        """Hand them a message from the guest's port `source`; why it is dropped, or ""."""


class Mailbox:
    """What a Wire has as `mail`. Its attributes are those of stream.Stream that the wire reads."""

    __slots__ = ("queued", "header", "programs", "on_room", "_wire", "_tell", "_queue", "_bytes")

    def __init__(self, wire: "Wire", tell: Callable[[str], object]):
        """`tell`: takes a line for the user."""
        self.queued = False  # wire.ready has it
        self.header = memoryview(b"")  # of what went to the guest last
        self.programs: Programs | None = None
        self.on_room: Callable[[], None] | None = None  # called once there is room again
        self._wire = wire
        self._tell = tell
        self._queue: deque[tuple[array[int], Any]] = deque()  # headers and data for the guest
        self._bytes = 0

    @property
    def works(self) -> bool:
        """Whether the guest's driver has taken the feature."""
        return bool(self._wire.accepted & w.F_DGRAM)

    @property
    def pending(self) -> bool:
        """Whether messages wait for the guest."""
        return bool(self._queue)

    @property
    def has_room(self) -> bool:
        """Whether a program should hand in more now, rather than wait."""
        return len(self._queue) < MOST // 2 and self._bytes < MOST_BYTES // 2

    def drop(self, why: str) -> None:
        """Count a message that goes nowhere, and tell of the first of its kind."""
        drops = self._wire.drops
        drops[why] += 1
        if drops[why] == 1:
            self._tell(f"a datagram is dropped: {why}; more of them are only counted")

    # -- from the guest ---------------------------------------------------------------------------

    def send(self, words: "array[int]", views: list[memoryview], to: "Mailbox | None") -> None:
        """A packet of the guest's, whose header is `words`: for another guest's mailbox `to`, or,
        with None, for a program if it is to CID 2."""
        why = ""
        if words[w.TYPE_OP] >> w.OP_SHIFT != w.OP_RW or words[w.FLAGS]:
            why = NOT_A_DATAGRAM
        elif to is not None:
            why = to.receive(array("I", words[: w.HEADER_WORDS]), b"".join(views))
        elif words[w.DST_CID] != w.CID_HOST:
            why = NO_GUEST
        elif self.programs is None:
            why = NOBODY
        else:
            why = self.programs.deliver(words[w.SRC_PORT], words[w.DST_PORT], views)
        if why:
            self.drop(why)

    # -- to the guest -----------------------------------------------------------------------------

    def write(self, source: int, port: int, data: Any) -> str:
        """A message of a program's, from the host's port `source`; why it is dropped, or ""."""
        words = array("I", bytes(_HEADER))
        words[w.SRC_CID], words[w.SRC_PORT] = w.CID_HOST, source
        words[w.DST_CID], words[w.DST_PORT] = self._wire.cid, port
        words[w.TYPE_OP] = w.TYPE_DGRAM | w.OP_RW << w.OP_SHIFT
        words[w.LEN] = len(data)
        return self.receive(words, data)

    def receive(self, words: "array[int]", data: Any) -> str:
        """A packet for the guest; why it is dropped, or ""."""
        if not (self.works and self._wire.running):
            return NO_GUEST
        if len(self._queue) == MOST or self._bytes + len(data) > MOST_BYTES:
            return FULL
        self._queue.append((words, data))
        self._bytes += len(data)
        self._wire.want(self)
        return ""

    def fill(self, chain: Chain) -> int:
        """Lay the next message into a receive chain: bytes with its header, 0 if there is none."""
        n = 0
        while self._queue and not n:
            words, data = self._queue.popleft()
            self._bytes -= len(data)
            if _HEADER + len(data) > chain.room >= _HEADER:
                self.drop(SHORT_BUFFER)
                continue
            self.header = memoryview(words).cast("B")
            n = lay(chain, self.header) + len(data)
            if data:
                scatter(behind(chain, _HEADER), memoryview(data))
        self._tell_of_room()
        return n

    def clear(self) -> None:
        """The guest has gone: nothing waits for it any more."""
        self._queue.clear()
        self._bytes = 0
        self._tell_of_room()

    def _tell_of_room(self) -> None:
        if self.on_room is not None and self.has_room:
            self.on_room()
