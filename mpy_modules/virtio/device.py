# SPDX-License-Identifier: MIT
"""A virtio device as its driver sees it (virtio 1.2, chapter 3): status, features, queues, config.

Waits on nothing for ever, believes no number without a check. Knows the handshake and the common
configuration structure (4.1.4.3), not what the device is for.
"""

import time
from errno import ETIMEDOUT

import machine
from machine import mem8, mem16, mem32
from micropython import const

from .errors import DeviceBroken, NotSupported
from .queue import Virtqueue
from .transport import Transport

# Device status, 2.1
_ACKNOWLEDGE = const(0x01)
_DRIVER = const(0x02)
_DRIVER_OK = const(0x04)
_FEATURES_OK = const(0x08)
_NEEDS_RESET = const(0x40)
_FAILED = const(0x80)

# Common configuration structure, 4.1.4.3
_DEVICE_FEATURE_SELECT = const(0x00)
_DEVICE_FEATURE = const(0x04)
_DRIVER_FEATURE_SELECT = const(0x08)
_DRIVER_FEATURE = const(0x0C)
_CONFIG_MSIX = const(0x10)
_NUM_QUEUES = const(0x12)
_STATUS = const(0x14)
_GENERATION = const(0x15)
_QUEUE_SELECT = const(0x16)
_QUEUE_SIZE = const(0x18)
_QUEUE_MSIX = const(0x1A)
_QUEUE_ENABLE = const(0x1C)
_QUEUE_NOTIFY_OFF = const(0x1E)
_QUEUE_DESC = const(0x20)
_QUEUE_DRIVER = const(0x28)
_QUEUE_DEVICE = const(0x30)

_NO_VECTOR = const(0xFFFF)
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
    """The driver's handle on one virtio device, given its pci.Function.

    Life: `negotiate()`, then `queue()` for each queue, then `driver_ok()`. Afterwards `check()`
    when the device may have news; `close()` ends it. Errors: NotSupported, DeviceBroken.
    """

    def __init__(self, function):
        self.function = function
        self._transport = Transport(function)
        self._common = self._transport.common
        self.features = 0
        self.offered = 0
        self.queues = []
        self.config_vector = None
        self._config_seen = 0
        try:
            self.reset()
        except OSError:
            function.disable()
            raise
        _live.append(self)

    def __repr__(self):
        return "<VirtioDevice %r>" % self.function

    @property
    def status(self):
        """The device status byte (2.1)."""
        return mem8[self._common + _STATUS]

    def reset(self):
        """Reset the device and wait until it says so; queues from before are closed."""
        mem8[self._common + _STATUS] = 0
        start = time.ticks_ms()
        while mem8[self._common + _STATUS]:
            if time.ticks_diff(time.ticks_ms(), start) > _RESET_MS:
                raise OSError(ETIMEDOUT, "%r does not reset" % self.function)
        for queue in self.queues:
            queue.close()
        self.queues = []
        self.features = 0

    def negotiate(self, wanted=0, required=0):
        """Agree on features: what is offered of `wanted`, with all of `required`, or else fail.

        Ring features and VIRTIO_F_VERSION_1 are added by this layer. Returns the features agreed
        on. Raises NotSupported, after telling the device with FAILED (3.1.1).
        """
        common = self._common
        mem8[common + _STATUS] = _ACKNOWLEDGE
        mem8[common + _STATUS] = _ACKNOWLEDGE | _DRIVER
        mem32[common + _DEVICE_FEATURE_SELECT] = 0
        offered = mem32[common + _DEVICE_FEATURE]
        mem32[common + _DEVICE_FEATURE_SELECT] = 1
        offered |= mem32[common + _DEVICE_FEATURE] << 32
        self.offered = offered
        required |= F_VERSION_1
        missing = required & ~offered
        if missing:
            self._fail("%r lacks feature bits 0x%x" % (self.function, missing))
        features = offered & (wanted | required | _RING_FEATURES)
        mem32[common + _DRIVER_FEATURE_SELECT] = 0
        mem32[common + _DRIVER_FEATURE] = features & 0xFFFFFFFF
        mem32[common + _DRIVER_FEATURE_SELECT] = 1
        mem32[common + _DRIVER_FEATURE] = features >> 32
        mem8[common + _STATUS] = _ACKNOWLEDGE | _DRIVER | _FEATURES_OK
        if not mem8[common + _STATUS] & _FEATURES_OK:
            self._fail("%r refuses the features 0x%x" % (self.function, features))
        self.features = features
        return features

    def queue(self, index, size=_DEFAULT_SIZE):
        """Set up queue `index` with at most `size` entries, and its interrupt; a Virtqueue.

        The device may offer fewer entries. Interrupts start disabled. Entry `index` of the MSI-X
        table is this queue's; if the table is shorter, the last one is shared. Without MSI-X the
        queue's `vector` is None and it must be polled.
        """
        common = self._common
        mem16[common + _QUEUE_SELECT] = index
        most = min(mem16[common + _QUEUE_SIZE], size)
        if not most:
            self._fail("%r has no queue %d" % (self.function, index))
        while most & (most - 1):
            most &= most - 1
        notify = self._transport.notify_address(mem16[common + _QUEUE_NOTIFY_OFF])
        queue = Virtqueue(
            index,
            most,
            notify,
            bool(self.features & F_EVENT_IDX),
            bool(self.features & F_INDIRECT_DESC),
        )
        self.queues.append(queue)
        mem16[common + _QUEUE_SIZE] = most
        for register, address in (
            (_QUEUE_DESC, queue.desc_address),
            (_QUEUE_DRIVER, queue.avail_address),
            (_QUEUE_DEVICE, queue.used_address),
        ):
            mem32[common + register] = address & 0xFFFFFFFF
            mem32[common + register + 4] = address >> 32
        queue.vector = self._route(_QUEUE_MSIX, index)
        mem16[common + _QUEUE_ENABLE] = 1
        return queue

    def driver_ok(self):
        """Start the device: from here on it may use its queues."""
        self.config_vector = self._route(_CONFIG_MSIX, _NO_VECTOR)
        mem8[self._common + _STATUS] = _ACKNOWLEDGE | _DRIVER | _FEATURES_OK | _DRIVER_OK

    def check(self):
        """True if the configuration may have changed since the last call; cheap when not.

        Raises DeviceBroken if the device says that it needs a reset (2.1.2).
        """
        vector = self.config_vector
        if vector is not None:
            if vector.count == self._config_seen:
                return False
            self._config_seen = vector.count
        if self.status & _NEEDS_RESET:
            raise DeviceBroken("%r needs a reset" % self.function)
        return True

    def config(self, offset, length):
        """Read `length` bytes of device configuration at `offset`, all of one generation (2.5.1).

        For fields of 32 and 64 bits: reads aligned 32-bit words, so that offset and length are
        multiples of 4. Raises DeviceBroken if the configuration does not stand still.
        """
        transport = self._transport
        if offset & 3 or length & 3 or offset + length > transport.config_size:
            raise ValueError("configuration has %d bytes" % transport.config_size)
        generation = self._common + _GENERATION
        at = transport.config + offset
        for _ in range(_CONFIG_TRIES):
            before = mem8[generation]
            words = [mem32[at + i] for i in range(0, length, 4)]
            if mem8[generation] == before:
                return b"".join([word.to_bytes(4, "little") for word in words])
        raise DeviceBroken("%r: configuration changes all the time" % self.function)

    def close(self):
        """Reset the device, free its queues and its vectors, and switch it off.

        Raises nothing: it is what error paths call. The queues of a device that does not reset
        stay allocated, since it may still write to them.
        """
        if self not in _live:
            return  # a second time: its registers are switched off already
        _live.remove(self)
        try:
            self.reset()
        except OSError as error:
            machine.log("virtio", str(error), "WARNING")
        self.function.disable()

    def _route(self, register, entry):
        """Let queue or configuration interrupts use an MSI-X entry; the vector, or None."""
        msix = self.function.msix
        if msix is None:
            return None
        entry = min(entry, msix.size - 1)
        vector = msix.route(entry)
        mem16[self._common + register] = entry
        if mem16[self._common + register] != entry:  # 4.1.5.1.2: the device is out of resources
            self._fail("%r takes no interrupt vector" % self.function)
        return vector

    def _fail(self, why):
        mem8[self._common + _STATUS] = mem8[self._common + _STATUS] | _FAILED
        raise NotSupported(why)


def _close_all():
    while _live:
        _live[-1].close()


machine.atreset(_close_all)
