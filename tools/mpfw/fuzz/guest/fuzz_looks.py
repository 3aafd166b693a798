# SPDX-License-Identifier: MIT
"""Programs that look at packets as they are, and send some."""

import vsock
import vsock.packets  # now, so that they find the bench's clock
import vsock.pcap
from fuzz_peers import MAIL, PATTERN, PORTS
from vsock.packet import PacketError

_PAGE = 8192  # bytes of a capture's notes


class Sink:
    """A file that takes a capture's bytes, and tells how many those were."""

    def __init__(self):
        self.taken = 0

    def write(self, data):
        """All of it."""
        self.taken += len(data)
        return len(data)


class Wire:
    """The same as a connected socket, whose own packets are not to be captured."""

    def __init__(self):
        self.taken = 0

    def setblocking(self, flag):
        """It never blocks."""

    def getsockname(self):
        """Ours."""
        return 33, PORTS[0]

    def getpeername(self):
        """A port that the first peer may have."""
        return 2, 40001

    def send(self, data):
        """Half of it, or the last byte."""
        n = (len(data) + 1) // 2
        self.taken += n
        return n


class Looks:
    """vsock.raw(): packets as they come, and any that a program likes; vsock.capture()."""

    def __init__(self, source, stacks):
        """What there is at a time is one Raw and one capture."""
        self._source = source
        self._stacks = stacks
        self._raw = self._capture = None
        self._sink = None  # the capture's

    def step(self):
        """One call of it."""
        raw = self._raw
        source = self._source
        if source.chance(60):
            return self._look_on()
        if raw is None:
            ports = MAIL[: source.below(3)]
            self._raw = vsock.raw(source.below(len(self._stacks)), ports, source.chance(20))
            return None
        kind = source.byte()
        if kind < 150:
            return self._receive(raw)
        if kind < 235:
            return self._send(raw)
        self.close()
        return None

    def _look_on(self):
        """Begin a capture, or end it: how much there was."""
        source = self._source
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.close()
            return "%d %d %d" % (capture.count, capture.dropped, self._sink.taken)
        which = source.below(len(self._stacks))
        self._sink = Wire() if source.chance(100) else Sink()
        self._capture = vsock.capture(self._sink, source.pick((0, 20, 256)), _PAGE, which)
        return None

    def _receive(self, raw):
        try:
            found = raw.receive(self._source.pick((0, 0, 0, 0.01)))
        except PacketError as error:
            return type(error).__name__
        return None if found is None else "%r %d" % (found, raw.dropped)

    def _send(self, raw):
        source = self._source
        data = PATTERN[: source.size()]
        packet = raw.make(source.below(9), source.pick(MAIL), 20000 + source.below(4), data)
        sizes = [1 + source.below(40) for _ in range(source.below(6))]
        if source.chance(128):
            return raw.send(packet, sizes)
        rest = bytes(packet.header) + data
        parts = []
        for n in sizes:
            parts.append(rest[:n])
            rest = rest[n:]
        return raw.send_chain([each for each in parts + [rest] if each])

    def close(self):
        """Nobody looks any more: the sockets get every packet."""
        capture, self._capture = self._capture, None
        if capture is not None:
            capture.close()
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()
