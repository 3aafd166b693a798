# SPDX-License-Identifier: MIT
"""The capture that the host asked for: every packet, from the first one on, to a port of a
virtio-console of its own. docs/seeing.md tells what a host sees of it.
"""

import channel
import errnos
import machine
import vsock
from portable import const
from sockets import numbers as n

PORT = "mpfw.capture"
_ROOM = const(256 << 10)  # bytes of packets that wait, twice
_PIECE = const(65536)  # bytes that one write may have, and not wait
_IOCTL_POLL = const(3)  # py/stream.h


class Stream:
    """A port that never waits: a socket as far as a capture looks at one."""

    def __init__(self, port):
        self._port = port

    def setblocking(self, flag):
        """It never blocks."""

    def getsockname(self):
        raise OSError(errnos.ENOTCONN)  # no packet of vsock's carries it

    def send(self, data):
        """Write what can be without waiting; how much. Raises EAGAIN, EPIPE."""
        ready = self._port.ioctl(_IOCTL_POLL, n.POLLOUT)
        if not ready & n.POLLOUT:
            raise OSError(errnos.EAGAIN)
        return self._port.write(data[:_PIECE])


def start(snaplen):
    """Capture what passes the device that is brought up next, `snaplen` bytes of each payload.

    Raises OSError where there is no such port.
    """
    port = _port()
    if port is None:
        raise OSError(errnos.ENODEV, "there is no port %s" % PORT)
    vsock.before_start(lambda stack: _begin(stack, port, snaplen))


def _begin(stack, port, snaplen):
    from vsock.pcap import Capture

    capture = Capture(stack, Stream(port), snaplen, _ROOM)

    def finish():
        try:
            capture.close()
            port.flush()
        except OSError:
            pass  # the host has gone

    machine.atend(finish)


def _port():
    """The capture's port, on whatever virtio-console is the last one: a program's is the first."""
    transports = channel.find()
    if not transports:
        return None
    return channel.Channel(transports[-1]).port(PORT)
