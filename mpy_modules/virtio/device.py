# SPDX-License-Identifier: MIT
"""A virtio device as its driver sees it (virtio 1.2, chapter 3): status, features, queues, config.

The handshake, over any transport. Waits on nothing for ever, believes no number without a check.
Does not know what the device is for.
"""

import time

import errnos
import machine
from portable import const, micropython

from .errors import DeviceBroken, NotSupported
from .queue import Virtqueue

# Device status, 2.1
_ACKNOWLEDGE = const(0x01)
_DRIVER = const(0x02)
_DRIVER_OK = const(0x04)
_FEATURES_OK = const(0x08)
_NEEDS_RESET = const(0x40)
_FAILED = const(0x80)

_RESET_MS = const(1000)
_CONFIG_TRIES = const(100)
_DEFAULT_SIZE = const(1024)  # more entries cost memory, and no device here needs them

# Feature bits, chapter 6
F_INDIRECT_DESC = const(1 << 28)
F_EVENT_IDX = const(1 << 29)
F_VERSION_1 = const(1 << 32)
F_ACCESS_PLATFORM = const(1 << 33)
F_ORDER_PLATFORM = const(1 << 36)

# What this layer knows how to drive, whatever the device is for. ACCESS_PLATFORM: addresses go
# through the platform's translation, which on our machines is the identity. ORDER_PLATFORM: x86
# orders stores, and the one fence that is needed is always there.
_RING_FEATURES = F_INDIRECT_DESC | F_EVENT_IDX | F_ACCESS_PLATFORM | F_ORDER_PLATFORM

_live = []  # devices that a soft reset must stop before their memory is freed


class VirtioDevice:
    """The driver's handle on one virtio device, given its transport (`virtio.find`).

    Life: `negotiate()`, then `queue()` for each queue, then `driver_ok()`. Afterwards `check()`
    when the device may have news; `close()` ends it. Errors: NotSupported, DeviceBroken.
    """

    def __init__(self, transport):
        self.transport = transport
        self.queues = []
        self.config_vector = None
        self._config_seen = 0
        self._memory = transport.memory
        self._borrowed = []
        transport.open()
        try:
            self.reset()
        except BaseException:
            transport.close()
            raise
        self._memory.unpin()
        _live.append(self)

    def __repr__(self):
        return "<VirtioDevice %r>" % self.transport

    @property
    def status(self):
        """The device status byte (2.1)."""
        return self.transport.status()

    @micropython.native
    def reset(self):
        """Reset the device and wait until it says so; queues from before are closed.

        Native, so that neither Ctrl-C nor a handler finds it half done: a second at most.
        """
        transport = self.transport
        transport.set_status(0)
        start = time.ticks_ms()
        while transport.status():
            if time.ticks_diff(time.ticks_ms(), start) > _RESET_MS:
                raise OSError(errnos.ETIMEDOUT, "%r does not reset" % transport)
        for queue in self.queues:
            queue.close()
        self.queues = []
        self.features = 0

    def negotiate(self, wanted=0, required=0):
        """Agree on features: what is offered of `wanted`, with all of `required`, or else fail.

        Ring features and VIRTIO_F_VERSION_1 are added by this layer. Returns the features agreed
        on. Raises NotSupported, after telling the device with FAILED (3.1.1).
        """
        transport = self.transport
        transport.set_status(_ACKNOWLEDGE)
        transport.set_status(_ACKNOWLEDGE | _DRIVER)
        self.offered = offered = transport.features()
        required |= F_VERSION_1
        missing = required & ~offered
        if missing:
            self._fail("%r lacks feature bits 0x%x" % (transport, missing))
        features = offered & (wanted | required | _RING_FEATURES)
        transport.set_features(features)
        transport.set_status(_ACKNOWLEDGE | _DRIVER | _FEATURES_OK)
        if not transport.status() & _FEATURES_OK:
            self._fail("%r refuses the features 0x%x" % (transport, features))
        self.features = features
        return features

    def queue(self, index, size=_DEFAULT_SIZE):
        """Set up queue `index` with at most `size` entries, and its interrupt; a Virtqueue.

        The device may offer fewer entries. Interrupts start disabled. Where the transport has no
        interrupts, the queue's `vector` is None and it must be polled.
        """
        transport = self.transport
        most = min(transport.queue_size(index), size)
        if not most:
            self._fail("%r has no queue %d" % (transport, index))
        while most & (most - 1):
            most &= most - 1
        queue = Virtqueue(
            index,
            most,
            transport.notify_address(index),
            bool(self.features & F_EVENT_IDX),
            bool(self.features & F_INDIRECT_DESC),
            transport.notify_bytes,
            self._memory.borrow,
        )
        self.queues.append(queue)
        transport.set_queue(
            index, most, queue.desc_address, queue.avail_address, queue.used_address
        )
        queue.vector = self._routed(transport.route_queue, index)
        transport.enable_queue(index)
        return queue

    def borrow(self, size):
        """`size` bytes for the device to reach, all 0, a DMABuffer; `close` sees to its end.

        Raises MemoryError.
        """
        buffer = self._memory.borrow(size)
        self._borrowed.append(buffer)
        return buffer

    def pin(self, owner):
        """`owner` has programs' buffers that the device, which did not reset, may read.

        They are kept alive until a reset has worked, that of the next driver at the latest.
        """
        self._memory.pin(owner)

    def driver_ok(self):
        """Start the device: from here on it may use its queues."""
        self.config_vector = self._routed(self.transport.route_config)
        self.transport.set_status(_ACKNOWLEDGE | _DRIVER | _FEATURES_OK | _DRIVER_OK)

    @micropython.native
    def check(self):
        """True if the configuration may have changed since the last call; cheap when not.

        Raises DeviceBroken if the device says that it needs a reset (2.1.2).
        """
        vector = self.config_vector
        count = self._config_seen if vector is None else vector.count
        if vector is not None and count == self._config_seen:
            return False
        if self.status & _NEEDS_RESET:
            raise DeviceBroken("%r needs a reset" % self.transport)  # and again at the next call
        self._config_seen = count
        return True

    @micropython.native
    def config(self, offset, length):
        """Read `length` bytes of device configuration at `offset`, all of one generation (2.5.1).

        For fields of 32 and 64 bits: reads aligned 32-bit words, so that offset and length are
        multiples of 4. Raises DeviceBroken if the configuration does not stand still.
        """
        transport = self.transport
        if offset & 3 or length & 3 or offset + length > transport.config_size:
            raise ValueError("configuration has %d bytes" % transport.config_size)
        for _ in range(_CONFIG_TRIES):
            before = transport.generation()
            words = [transport.config32(offset + i) for i in range(0, length, 4)]
            if transport.generation() == before:
                return b"".join([word.to_bytes(4, "little") for word in words])
        raise DeviceBroken("%r: configuration changes all the time" % transport)

    @micropython.native
    def close(self):
        """Reset the device, free its queues, what was borrowed and its vectors; switch it off.

        Raises nothing: it is what error paths call. True if memory that the device was given is
        the driver's again. Queues and what was borrowed of one that does not reset are for its
        next driver, since it may still write to them; False then, and when called a second time.
        """
        if self not in _live:
            return False  # its registers are switched off already
        _live.remove(self)
        borrowed = self._borrowed
        try:
            self.reset()
            done = True
            for buffer in borrowed:
                buffer.free()
        except OSError as error:
            machine.log("virtio", str(error), "WARNING")
            done = False
            self._memory.keep(borrowed)
            for queue in self.queues:
                self._memory.keep(queue.abandon())
        self.transport.close()
        return done

    def _routed(self, route, *arguments):
        try:
            return route(*arguments)
        except NotSupported as error:
            self._fail(error.args[-1])

    def _fail(self, why):
        self.transport.set_status(self.transport.status() | _FAILED)
        raise NotSupported(why)


def _close_all():
    while _live:
        _live[-1].close()


machine.atreset(_close_all)
