# SPDX-License-Identifier: MIT
"""Bring-up: devices whose features, queues, configuration and resets are anything.

An input is one device that is brought up, used for a moment if that works, and taken down. What a
refused one leaves behind is an AssertionError.
"""

import struct

import bench_clock
import bench_machine
import fuzz_guards
import virtio
import vsock
import vsock.device  # now, so that it finds the bench's clock
from bench_transport import FakeTransport
from fuzz_device import Far
from fuzz_peers import Peers
from virtio.device import F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1, VirtioDevice
from vsock import words as w

_SIZES = (128, 128, 128, 0, 1, 2, 3, 4, 7, 8, 127, 256, 1024, 4096, 32768, 65535)
_CIDS = (33, 33, 33, 33, 0, 1, 2, 0xFFFFFFFF, 1 << 32 | 33, 0xFFFFFFFFFFFFFFFF, 77)
_LENGTHS = (8, 8, 8, 8, 8, 12, 7, 4, 0)
_RESERVED = (0, 2, 0xFFFFFFFF)
_STUCK = 1 << 30  # looks at the status until a reset is done: never
_KEPT = 2  # devices of a batch that do not reset: what they had stays theirs


class Config:
    """Devices, one after the other, for one stack."""

    def __init__(self, kind, source):
        self._source = source
        self.lines = []
        self.inputs = 0
        self._stuck = 0
        self._deaf = False  # the device takes nothing
        self._device = None
        bench_machine.ram = lambda: 3 << 20
        bench_machine.cause[:] = [bench_machine.SOFT_RESET]
        bench_clock.looks_take(1000)
        bench_clock.at_look = self._serve
        self._far = Far(FakeTransport(), self.lines.append)
        virtio.find = lambda wanted: [self._far.transport] if wanted == virtio.SOCKET else []
        self._far.transport.configuration = struct.pack("<Q", 33)
        self._stack = vsock.get()
        vsock.close()
        self._before = self._memory()

    def _serve(self):
        if not self._deaf and self._source.chance(200):
            self._far.collect()

    def _memory(self):
        return bench_machine.dma_used()

    def step(self):
        """One device."""
        self.inputs += 1
        self._new_device()
        way = self._source.byte()
        try:
            if way < 40:
                self._bring_up()
            elif way < 50:
                self._bring_up_anew()
            else:
                vsock.reopen()
            self.lines.append("works: cid %d" % self._stack.cid)
            if self._stack.cid in _RESERVED:
                raise AssertionError("CID %d works" % self._stack.cid)
            if way >= 50:
                self._use()
        except OSError as error:
            self.lines.append("OSError %s: %s" % (error.errno, error.args[-1]))
        self._stack.deaf()
        if self._stack.device is not None and self._stuck < _KEPT and self._source.chance(8):
            self._stuck += 1
            self._device.reset_reads = _STUCK
        vsock.close()
        self._check()
        fuzz_guards.check()

    def _new_device(self):
        source = self._source
        device = self._device
        if device is not None and device.reset_reads == _STUCK and source.chance(160):
            device.reset_reads = 0  # the same again, which resets now
            return
        device = FakeTransport()
        features = F_VERSION_1 if source.chance(240) else 0
        features |= F_EVENT_IDX if source.chance(128) else 0
        features |= F_INDIRECT_DESC if source.chance(64) else 0
        device.offered = (
            features | source.byte() | (source.word() << 33 if source.chance(30) else 0)
        )
        device.sizes = [source.pick(_SIZES) for _ in range(source.pick((3, 3, 3, 3, 4, 2, 0)))]
        cid = struct.pack("<Q", source.pick(_CIDS)) + bytes(4)
        device.configuration = cid[: source.pick(_LENGTHS)]
        device.vectors = source.pick((4, 4, 4, 3, 2, 1, 0))
        device.notify_bytes = source.pick((2, 2, 4))
        self._deaf = source.chance(10)
        device.refuses_features = source.chance(10)
        device.missing = "a structure is missing" if source.chance(6) else ""
        device.dead_route = source.below(4) if source.chance(20) else -1
        device.restless = source.below(256) if source.chance(40) else 0
        if source.chance(40):
            device.reset_reads = source.below(100)
        elif source.chance(4):
            device.reset_reads = _STUCK
        self._device = device
        self._far = Far(device, self.lines.append)

    def _bring_up(self):
        """The handshake alone, as a driver of something else would do it."""
        source = self._source
        device = VirtioDevice(self._device)
        try:
            self.lines.append("features %x" % device.negotiate(source.byte()))
            for index in range(source.below(4)):
                queue = device.queue(index, source.pick((1, 2, 100, 128, 1024)))
                self.lines.append("queue of %d" % queue.size)
            device.driver_ok()
            if source.chance(100):
                self._device.needs_reset()
            device.check()
            size = self._device.config_size & -4
            self.lines.append("configuration %r" % device.config(0, min(size, 8)))
        finally:
            device.close()

    def _bring_up_anew(self):
        """As the first use of a machine's second device, or of one that is not there."""
        source = self._source
        device = self._device
        virtio.find = lambda wanted: [device] * source.below(3)
        vsock.before_start(lambda stack: None)
        try:
            vsock.reopen(1 + source.below(2))
            vsock.close(1)
        except IndexError as error:
            self.lines.append(error.args[0])
        finally:
            virtio.find = lambda wanted: [self._far.transport]
            made = vsock._stacks.pop(1, None)
            if made is not None:
                made.store.close()
            vsock._before.clear()

    def _use(self):
        """Some packets, some events."""
        far = self._far
        peers = Peers(self._source, self._stack.cid)
        for _ in range(self._source.below(4)):
            far.refresh()
            if far.posted:
                header, payload, used = peers.packet()
                far.write(0, header, payload, used)
                far.show()
            if self._source.chance(60):
                far.event(0, 4)
            far.kick()
            self._stack.device.look()
            far.collect()

    def _check(self):
        device = self._device
        if device.opened != device.closed:
            raise AssertionError("%d times open, %d times closed" % (device.opened, device.closed))
        if device.reset_reads == _STUCK:
            self._before = self._memory()
        if self._memory() > self._before:
            raise AssertionError("%d bytes, %d before" % (self._memory(), self._before))
        self._before = self._memory()  # less if this device has what an earlier one kept
        if bench_machine.timers():
            raise AssertionError("%d vectors are left" % bench_machine.timers())

    def words(self):
        """Nothing more to tell."""

    def settle(self):
        """Every listener and connection is gone with its device."""
        table = self._stack.table
        if table.count:
            raise AssertionError("%d connections are left" % table.count)
        self.lines.append("last of %d: %d" % (w.CID_HOST, self._stack.cid))
