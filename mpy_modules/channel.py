# SPDX-License-Identifier: MIT
"""A virtio-console with several ports (virtio 1.2, 5.3): byte streams to programs on the host.

Ports have names, which QEMU's `virtserialport,name=` gives them. A port's bytes pass as they are,
in order; the device takes them when whoever reads them does, so a slow reader holds the writer up.
Whoever is at the other end may come and go: reads end while nobody is there.
"""

import io
import struct
import time

import errnos
import machine
import virtio
from portable import const, micropython
from virtio.buffers import Buffers
from virtio.device import VirtioDevice
from virtio.errors import DeviceBroken, NotSupported

_F_MULTIPORT = const(1 << 1)  # 5.3.3
_MAX_PORTS = const(4)  # in struct virtio_console_config, 5.3.4: cols, rows, max_nr_ports
_CONFIG_BYTES = const(8)
_CONTROL_RX = const(2)  # queues, 5.3.2: port 0's two, then these, then two for each other port
_CONTROL_TX = const(3)

_CONTROL = "<IHH"  # struct virtio_console_control, 5.3.6.2: id, event, value
_CONTROL_BYTES = const(8)
_CONTROL_ROOM = const(128)  # a PORT_NAME brings a name behind it
_DEVICE_READY = const(0)
_DEVICE_ADD = const(1)
_DEVICE_REMOVE = const(2)
_PORT_READY = const(3)
_PORT_OPEN = const(6)
_PORT_NAME = const(7)

_RX_BUFFERS = const(8)
_RX_BYTES = const(16384)
_TX_BUFFERS = const(4)
_TX_BYTES = const(65536)
_NAMES_MS = const(1000)  # a device that has not named its ports by then never will
_TOLD_MS = const(1000)  # that the device has to take a control message
_POLL_US = const(1000)  # how often a device without interrupts is looked at
_IOCTL_FLUSH = const(1)  # py/stream.h
_IOCTL_POLL = const(3)
_IOCTL_CLOSE = const(4)
_POLLIN = const(1)
_POLLOUT = const(4)
_POLLHUP = const(16)


class Port(io.IOBase):
    """One stream. `name` is the host's; `connected` tells whether anybody is at its other end."""

    def __init__(self, device, receive, transmit):
        self.name = None
        self.there = False  # the device has it
        self.connected = False
        self.written = 0  # bytes, since the beginning
        self._device = device
        self._queue = transmit
        size = _RX_BUFFERS * _RX_BYTES + _TX_BUFFERS * _TX_BYTES
        self._memory = device.borrow(size)
        base = self._memory.addr
        self._receive = Buffers(receive, _RX_BYTES)
        self._receive.fill([(base + i * _RX_BYTES, i) for i in range(_RX_BUFFERS)])
        sending = base + _RX_BUFFERS * _RX_BYTES
        self._free = [sending + i * _TX_BYTES for i in range(min(_TX_BUFFERS, transmit.size))]
        self._busy = {}  # head: address of the piece that the device still reads
        self._slot = 0  # the receive buffer being read: its number, next byte and end
        self._start = self._end = 0

    def show(self):
        """Let the device see our receive buffers, once it runs."""
        self._receive.show()

    def readinto(self, buffer, nbytes=-1):
        """Fill the front of `buffer`; waits for at least a byte; 0 once nobody is there."""
        want = len(buffer) if nbytes < 0 else min(nbytes, len(buffer))
        while want and not self._have():
            if not self.connected:
                return 0
            self._device.wait()
        n = min(want, self._end - self._start)
        at = self._slot * _RX_BYTES + self._start
        machine.copy(buffer, 0, self._memory, at, n)
        self._start += n
        if n and self._start == self._end:
            self._receive.post(self._memory.addr + self._slot * _RX_BYTES, self._slot)
            self._receive.show()
        return n

    def any(self):
        """True if there are bytes to be read; takes what news there are."""
        self._device.look()
        return self._have()

    def wait(self):
        """Sleep until something may have happened on any port."""
        self._device.wait()

    @micropython.native
    def _have(self):
        """True if there are bytes to be read."""
        if self._start < self._end:
            return True
        got = self._receive.take()
        if got < 0:
            return False
        self._slot = got >> 32
        self._start = 0
        self._end = got & 0xFFFFFFFF
        if self._end:
            return True
        self._receive.post(self._memory.addr + self._slot * _RX_BYTES, self._slot)
        self._receive.show()
        return False

    def write(self, data):
        """Write all of it; waits while the host takes nothing. Raises EPIPE if nobody is there."""
        view = memoryview(data)
        done = 0
        self._device.look()  # who never waits hears of a reader's end here
        while done < len(view):
            while not self._free and self.connected:
                self._reap()
                if not self._free:
                    self._device.wait(self._queue)
            if not self.connected:
                raise OSError(errnos.EPIPE)
            n = min(_TX_BYTES, len(view) - done)
            at = self._free.pop()
            machine.copy(at, 0, view, done, n)
            self._busy[self._queue.add1(at, n, False)] = at
            self._queue.publish()
            self.written += n
            done += n
        return done

    @micropython.native
    def _reap(self):
        while True:
            used = self._queue.pop()
            if used < 0:
                return
            self._free.append(self._busy.pop(used >> 32))

    def flush(self):
        """Wait until the device has taken everything."""
        while self._busy and self.connected:
            self._reap()
            if self._busy:
                self._device.wait(self._queue)

    def ioctl(self, request, argument):
        """MicroPython's stream protocol, for select.poll."""
        if request == _IOCTL_POLL:
            self._device.look()
            ready = 0
            if self._have() or not self.connected:
                ready |= _POLLIN
            self._reap()
            if self._free:
                ready |= _POLLOUT
            ready &= argument
            return ready if self.connected else ready | _POLLHUP
        if request == _IOCTL_FLUSH:
            self.flush()
            return 0
        return 0 if request == _IOCTL_CLOSE else -errnos.EINVAL


class Channel:
    """A virtio-console device at work; `ports` are by the names that the host gave them."""

    def __init__(self, transport):
        """Bring it up and learn its ports. Raises NotSupported, DeviceBroken."""
        self._ports = {}
        self._virtio = VirtioDevice(transport)
        try:
            self._start(self._virtio)
        except BaseException:
            self.close()
            raise

    def _start(self, device):
        device.negotiate(required=_F_MULTIPORT)
        count = 0
        if device.transport.config_size >= _CONFIG_BYTES:
            count = int.from_bytes(device.config(_MAX_PORTS, 4), "little")
        if not count:
            raise NotSupported("%r does not say how many ports it has" % device.transport)
        queues = [device.queue(i) for i in range(2 * min(count, 4) + 2)]
        self._control = device.borrow(_RX_BUFFERS * _CONTROL_ROOM + _CONTROL_BYTES)
        self._messages = Buffers(queues[_CONTROL_RX], _CONTROL_ROOM)
        base = self._control.addr
        self._messages.fill([(base + i * _CONTROL_ROOM, i) for i in range(_RX_BUFFERS)])
        self._out = queues[_CONTROL_TX]
        self._queues = queues
        self._ports[0] = Port(self, queues[0], queues[1])
        for i in range(1, len(queues) // 2 - 1):
            self._ports[i] = Port(self, queues[2 * i + 2], queues[2 * i + 3])
        self.interrupts = queues[0].vector is not None
        for queue in queues:
            if queue.vector is not None:
                queue.vector.irq(self._interrupt)
        device.driver_ok()
        self._messages.show()
        for port in self._ports.values():
            port.show()
        for queue in queues:
            queue.enable_interrupts()
        self._tell(0xFFFFFFFF, _DEVICE_READY, 1)

    def port(self, name):
        """The port of that name, or None once the host has named others only."""
        limit = _NAMES_MS * 1000 // _POLL_US
        for _ in range(limit):
            there = [port for port in self._ports.values() if port.there]
            for port in there:
                if port.name == name:
                    return port
            if there and None not in [port.name for port in there]:
                break  # the device tells of all its ports at once, then names them
            self.wait(timeout=_POLL_US)
        return None

    def _interrupt(self, vector):
        """Nothing: it is enough that whoever waits wakes up."""

    def wait(self, sending=None, timeout=-1):
        """Sleep until something may have happened; look at your condition again.

        Raises DeviceBroken if the device gives up.
        """
        self._virtio.check()
        if self.look():
            return
        for queue in self._queues:
            waits = queue is sending or queue is not self._out and queue.index & 1 == 0
            if waits and queue.enable_interrupts():
                return
        if not self.interrupts:
            timeout = _POLL_US
        machine.wait(timeout)

    def look(self):
        """Take what control messages there are, a few at most; true if there were any."""
        news = False
        for _ in range(_RX_BUFFERS):
            got = self._messages.take()
            if got < 0:
                break
            news = True
            slot = got >> 32
            at = slot * _CONTROL_ROOM
            message = bytes(
                self._control[at : at + (got & 0xFFFFFFFF)]
            )  # copied once, then checked
            self._messages.post(self._control.addr + at, slot)
            self._messages.show()
            if len(message) >= _CONTROL_BYTES:
                self._take(message)
        return news

    def _take(self, message):
        number, event, value = struct.unpack(_CONTROL, message[:_CONTROL_BYTES])
        port = self._ports.get(number)
        if port is None:
            return
        if event == _DEVICE_ADD:
            port.there = True
            self._tell(number, _PORT_READY, 1)
            self._tell(number, _PORT_OPEN, 1)
        elif event == _DEVICE_REMOVE:
            port.there = port.connected = False
            port.name = None
        elif event == _PORT_OPEN:
            port.connected = bool(value)
        elif event == _PORT_NAME:
            name = message[_CONTROL_BYTES:].rstrip(b"\0")
            try:
                port.name = str(name, "utf-8")
            except UnicodeError:
                port.name = None

    def _tell(self, number, event, value):
        """Send a control message and wait until the device has it. Raises DeviceBroken."""
        at = _RX_BUFFERS * _CONTROL_ROOM
        self._control[at : at + _CONTROL_BYTES] = struct.pack(_CONTROL, number, event, value)
        self._out.add1(self._control.addr + at, _CONTROL_BYTES, False)
        self._out.publish()
        start = time.ticks_ms()
        while self._out.pop() < 0:
            if time.ticks_diff(time.ticks_ms(), start) > _TOLD_MS:
                raise DeviceBroken("%r takes no control messages" % self._virtio.transport)

    def borrow(self, size):
        """Memory that the device is to reach, until it is taken down."""
        return self._virtio.borrow(size)

    def close(self):
        """Take the device down."""
        self._virtio.close()


def find():
    """The transports of this machine's virtio-console devices, in bus order."""
    return virtio.find(virtio.CONSOLE)
