# SPDX-License-Identifier: MIT
"""A capture and raw packets on the bench: `seen` and `raw`."""

import vsock
from bench_objects import objects
from vsock.packet import Packet, PacketError


class Sink:
    """A file that may have little room."""

    def __init__(self):
        self.data = bytearray()
        self.room = 1 << 40
        self.behind = None  # what interrupts behind each write

    def write(self, data):
        if len(self.data) + len(data) > self.room:
            raise OSError(28, "No space left on device")
        self.data += bytes(data)
        if self.behind is not None:
            self.behind()
        return len(data)


class Peer:
    """A connected socket that takes so many bytes at a time, and sometimes none."""

    def __init__(self, ports):
        self.data = bytearray()
        self.takes = []  # for the next calls of send; then everything
        self.ports = ports

    def setblocking(self, flag):
        assert not flag

    def getsockname(self):
        return (1, self.ports[0])

    def getpeername(self):
        return (2, self.ports[1])

    def send(self, data):
        n = self.takes.pop(0) if self.takes else len(data)
        if n < 0:
            raise OSError(32, "it has gone")
        if not n:
            raise OSError(11, "again")
        self.data += bytes(data[:n])
        return min(n, len(data))


class Seen:
    """Captures, by name."""

    def __init__(self):
        self.sinks = {}
        self.captures = {}

    def start(self, name, snaplen=None, room=None, ports=None):
        """Into a file, or, with `ports`, a socket; without sizes, as vsock.capture has them."""
        self.sinks[name] = Sink() if ports is None else Peer(ports)
        sizes = () if snaplen is None else (snaplen, room)
        self.captures[name] = vsock.capture(self.sinks[name], *sizes)

    def within(self, name):
        """A capture as a `with` has it; whether it was at work there."""
        self.sinks[name] = Sink()
        with vsock.capture(self.sinks[name]):
            return not self.untouched()

    def written(self, name):
        return bytes(self.sinks[name].data)

    def room(self, name, n):
        self.sinks[name].room = n

    def cut_in(self, name):
        """From now on the capture's own interrupt comes behind each write."""
        self.sinks[name].behind = self.captures[name]._vector.fire

    def takes(self, name, sizes):
        self.sinks[name].takes = sizes

    def counts(self, name):
        return [self.captures[name].count, self.captures[name].dropped]

    def failed(self, name):
        error = self.captures[name].error
        return None if error is None else error.args[0]

    def stop(self, name):
        """Close it; what was written."""
        self.close(name)
        return self.written(name)

    def close(self, name):
        """Close it; the errno that this raises, None: none."""
        try:
            self.captures[name].close()
        except OSError as error:
            return error.args[0]

    def untouched(self):
        """Whether everything is as without a capture."""
        stack = objects["stack"]
        parts = [stack.loopback, stack.out, stack.device]
        names = ("copy", "small", "put", "put_segment", "put_chain", "_receive")
        return stack.tap is None and not any(
            [name in vars_of(part) for part in parts if part for name in names]
        )


def vars_of(part):
    """The names of an object's own attributes."""
    return part.__dict__


class RawMode:
    """vsock.raw()."""

    def open(self, ports, alone):
        self.raw = vsock.raw(0, tuple(ports), alone)

    def close(self):
        self.raw.close()

    def send(self, header, data, sizes):
        packet = Packet(data)
        packet.header[:] = header
        return self._try(lambda: self.raw.send(packet, tuple(sizes)))

    def send_chain(self, parts, writable):
        return self._try(lambda: self.raw.send_chain(parts, tuple(writable)))

    def within(self):
        """The same as a `with` has it."""
        with vsock.raw(0):
            pass

    def receive(self, seconds=0):
        """[header, payload] of the next packet, what is wrong with it, or None."""
        found = self._try(lambda: self.raw.receive(seconds))
        if isinstance(found, Packet):
            return [bytes(found.header), found.payload()]
        return found

    def _try(self, call):
        try:
            return call()
        except (PacketError, ValueError) as error:
            return type(error).__name__

    def dropped(self):
        return self.raw.dropped


objects["seen"] = Seen()
objects["rawmode"] = RawMode()
