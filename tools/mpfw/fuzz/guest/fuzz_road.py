# SPDX-License-Identifier: MIT
"""A guest with a vsock device or two that do anything, and programs that do anything with them.

What happens is decided by a batch's bytes alone. All that one can see goes into a transcript, a
line each: what was sent, what calls gave, who has news. At the end everything is closed, and what
the guest has must be what it began with.
"""

import struct
from binascii import hexlify

import bench_clock
import bench_machine
import fuzz_guards
import virtio
import vsock
import vsock.device  # now, so that it finds the bench's clock
from bench_transport import FakeTransport
from fuzz_device import CONFIG, EVENT, RX, TX, Far
from fuzz_peers import Peers
from fuzz_programs import Programs
from fuzz_storms import Storms
from virtio.device import F_EVENT_IDX, F_VERSION_1
from vsock import words as w

_CID = 33
_RAM = (3, 16, 63, 63)  # MiB
_RX_SIZES = (128, 128, 128, 128, 16, 8, 4, 2, 1)
_TX_SIZES = (128, 128, 128, 128, 16, 8, 4, 2)
_EVENT_SIZES = (128, 128, 4, 2, 1)
_VECTORS = (4, 4, 4, 4, 3, 2, 1, 0)
_CIDS = (33, 33, 35, 36, 0, 1, 2, 0xFFFFFFFF, 1 << 32 | 35)
_WAITS = 6  # sleeps of a call that waits, then Ctrl-C
_WORK = 4096  # packets that one step may bring at most

# What happens, and how often in each class: packets, calls, lies in rings, events, interrupts,
# time, give back, reopen, storms.
_MIX = {
    "packets": (150, 60, 0, 0, 4, 4, 8, 1, 6),
    "rings": (110, 60, 14, 2, 6, 4, 16, 6, 4),
    "events": (70, 50, 0, 60, 12, 4, 8, 4, 3),
    "interrupts": (70, 60, 0, 8, 60, 20, 20, 2, 4),
    "programs": (60, 150, 2, 4, 6, 8, 12, 2, 16),
}


class Road:
    """One batch of a class; `lines` is its transcript."""

    def __init__(self, kind, source):
        self._source = source
        self.lines = []
        self.inputs = 0
        self._calls = [self._packets, self._program, self._lie, self._event]
        self._calls += [self._interrupt, self.time, self._give_back, self._reopen, self._storm]
        self._handled = (self._packets, self._event, self._interrupt)
        self._ops = []
        for call, times in zip(self._calls, _MIX[kind]):
            self._ops += [call] * times
        self._waits = kind in ("programs", "interrupts")
        self._busy = kind in ("rings", "interrupts", "programs")  # the device works at fences
        self._slept = self._given = 0
        self._in_fence = self._early = False
        self._power_on()

    # -- the machine

    def _power_on(self):
        source = self._source
        self.fars = []
        devices = []
        for number in range(2 if source.chance(60) else 1):
            device = FakeTransport()
            offered = F_VERSION_1 | w.F_STREAM | (w.F_SEQPACKET if source.chance(230) else 0)
            offered |= w.F_DGRAM if source.chance(170) else 0
            device.offered = offered | (F_EVENT_IDX if source.chance(180) else 0)
            device.sizes = [source.pick(_RX_SIZES), source.pick(_TX_SIZES)]
            device.sizes.append(source.pick(_EVENT_SIZES))
            device.vectors = source.pick(_VECTORS)
            device.configuration = struct.pack("<Q", _CID + number)
            devices.append(device)
            self.fars.append(Far(device, self.lines.append))
        ram = source.pick(_RAM) << 20
        bench_machine.ram = lambda: ram
        bench_machine.cause[:] = [bench_machine.SOFT_RESET]  # all memory is cleared
        vsock.datagrams()
        bench_clock._cpu = 1  # what the first automatic ports follow from
        virtio.find = lambda wanted: devices if wanted == virtio.SOCKET else []
        bench_clock.looks_take(300)
        bench_clock.at_look = self._serve
        self.stacks = [vsock.get(number) for number in range(len(devices))]
        bench_clock.at_look = None
        bench_clock.looks_take(source.pick((300, 300, 10)))
        bench_machine.at_rest = self._rest
        for number, stack in enumerate(self.stacks):
            stack.automatic.next = 20000 + 1000 * number
        self._begun = [self._possessions(stack) for stack in self.stacks]
        self.peers = [Peers(self._source, _CID + number) for number in range(len(devices))]
        self._programs = Programs(source, self.lines.append, self.stacks, self._waits)
        self._storms = Storms(self, source, self._programs, self._waits)
        self._flood = None  # the device that completes all that it sees, as soon as it does
        bench_machine.at_fence = self._fence
        if self._waits:
            bench_clock.at_look = self._at_look

    def _serve(self):
        """At looks at the clock, while the device comes up: it takes what is sent."""
        for far in self.fars:
            far.collect()

    def _rest(self):
        """A program sleeps: something may happen."""
        self._slept += 1
        if self._slept > _WAITS:
            raise KeyboardInterrupt
        kind = self._source.byte()
        if kind < 110:
            self._packets()
        elif kind < 220:
            self._credit()
        self._take()

    def _credit(self):
        """A peer takes what it was sent."""
        which = self._source.below(len(self.fars))
        header = self.peers[which].credit()
        if header is not None:
            self._write(which, header, b"", w.HEADER_LEN)

    def _write(self, which, header, payload, used):
        far = self.fars[which]
        far.refresh()
        if far.posted:
            far.write(0, header, payload, used)
            far.show()

    def _at_look(self):
        """A program looks at the clock, which it does when it waits: packets may come."""
        if self._source.byte() < 12:
            self.bring(self._source.below(len(self.fars)))

    def _fence(self):
        """The device works at the same time."""
        if self._in_fence:
            return
        if self._flood is not None:
            self._flood_on()
        if not (self._busy or self._early) or self._source.byte() >= (100 if self._early else 10):
            return
        self._in_fence = True
        which = self._source.below(len(self.fars))
        if self._source.chance(128):
            self.bring(which)
        else:
            self.fars[which].collect()
        self._in_fence = False

    def _flood_on(self):
        far = self._flood
        self._in_fence = True
        while far.event(0, w.EVENT_BYTES):
            self._given += 1
        far.refresh()
        while far.posted:
            far.write(0, bytes(w.HEADER_LEN), b"", w.HEADER_LEN)
            self._given += 1
        if far.ring(RX) is not None:
            far.show()
        self._in_fence = False
        if self._given > _WORK:
            raise AssertionError("one call takes packets or events without an end")

    # -- a step

    def step(self):
        """One thing that happens, and what follows."""
        self._slept = self._given = 0
        self.inputs += 1
        call = self._source.pick(self._ops)
        # Who waits does so in bytecode, where Ctrl-C is seen, and need not come to an end.
        if call in self._handled and self._source.chance(8):
            self._flood = self.fars[self._source.below(len(self.fars))]
        call()
        self._flood = None
        self._take()
        if self._given > _WORK:
            raise AssertionError("one call took %d packets" % self._given)
        fuzz_guards.check()

    def _take(self):
        """The device takes what was sent, and interrupts where it was asked to."""
        for number, far in enumerate(self.fars):
            far.collect(self._source.byte() < 240)
            for header in far.heard:
                self.peers[number].hear(header)
            far.heard.clear()
            if self._source.byte() < 235:
                far.kick()
                far.collect()
                for header in far.heard:
                    self.peers[number].hear(header)
                far.heard.clear()

    def settle_some(self, which):
        """A device takes everything, gives it back and interrupts."""
        far = self.fars[which]
        far.collect()
        far.fire(RX)
        far.collect()
        for header in far.heard:
            self.peers[which].hear(header)
        far.heard.clear()

    def _storm(self):
        self._storms.step()

    def bring(self, which):
        """Packets come from a device; unseen until it interrupts or somebody looks."""
        far = self.fars[which]
        far.refresh()
        n = min(1 + self._source.below(6), len(far.posted))
        for _ in range(n):
            header, payload, used = self.peers[which].packet()
            far.write(self._source.below(len(far.posted)), header, payload, used)
        if n:
            far.show()
        self.inputs += n
        self._given += n

    def _packets(self):
        self.bring(self._source.below(len(self.fars)))

    def _program(self):
        self._programs.step()

    def _lie(self):
        far = self.fars[self._source.below(len(self.fars))]
        self.lines.append(far.lie(self._source))
        far.fire(self._source.below(4))

    def _event(self):
        source = self._source
        far = self.fars[source.below(len(self.fars))]
        kind = source.byte()
        if kind < 40:
            far.transport.set("configuration", struct.pack("<Q", source.pick(_CIDS)))
        elif kind < 46:
            far.transport.needs_reset()
            far.fire(CONFIG)
        elif kind < 56:
            far.transport.restless = source.below(200)
        else:
            for _ in range(1 + source.below(6)):
                length = 4 if source.chance(240) else source.word()
                self.lines.append("event %s" % far.event(source.word(), length))
            if source.chance(200):
                far.fire(EVENT)

    def _interrupt(self):
        source = self._source
        far = self.fars[source.below(len(self.fars))]
        far.fire(source.pick((RX, RX, TX, EVENT, CONFIG)))
        if source.chance(60):
            stack = source.pick(self.stacks)
            if stack.device is not None:
                self.lines.append("attend %s" % stack.device.attend())

    def time(self):
        """Time passes, and what is over ends."""
        bench_clock.advance(self._source.pick((1, 100, 2100, 600000, 2500000, 9000000, 70000000)))
        for stack in self.stacks:
            stack.waiter.tend()

    def _give_back(self):
        far = self.fars[self._source.below(len(self.fars))]
        if far.ring(TX) is not None:
            far.collect(False)
            far.give_back(self._source.below(16))

    def _reopen(self):
        source = self._source
        index = source.below(len(self.stacks))
        self._sane(index)
        self._early = source.chance(64)  # it speaks as soon as there are buffers
        bench_clock.at_look = self._serve
        self._programs.attempt(lambda: self._programs.reopen(index), ())
        bench_clock.at_look = self._at_look if self._waits else None
        self._early = False
        self.lines.append("dropped %s" % self._dropped(index))

    def _sane(self, index):
        """The device behaves, but for its CID at times."""
        transport = self.fars[index].transport
        transport.restless = 0
        if self._source.chance(230):
            transport.set("configuration", struct.pack("<Q", _CID + index))

    def _dropped(self, index):
        device = self.stacks[index].device
        return None if device is None else device.receiver.dropped

    # -- the end

    def words(self):
        """The words of all connections, into the transcript."""
        for stack in self.stacks:
            stack.table.each(self._words_of, None)
            self.check_mail(stack)

    def check_mail(self, stack):
        """No port has more unread datagrams than there is memory promised for."""
        found = stack.datagrams.ports if stack.datagrams else {}
        for port in [each for ports in found.values() for each in ports]:
            block = port.block
            queued = (block[w.RX_CNT] - block[w.READ_CNT]) & 0xFFFFFFFF
            room = max(0, block[w.PLEDGE] - 1) << w.BLOCK_SHIFT
            if queued > room or block[w.MESSAGES] > w.DG_MOST:
                raise AssertionError("%r has %d bytes, promised are %d" % (port, queued, room))

    def _words_of(self, conn, _):
        block = conn.block
        left = (block[w.EDGE] - block[w.RX_CNT]) & 0xFFFFFFFF
        if left >> 31:
            raise AssertionError(
                "%r got %d bytes more than its credit" % (conn, -left & 0xFFFFFFFF)
            )
        words = memoryview(conn.block)[: w.BLOCK_WORDS]
        self.lines.append("words %s" % str(hexlify(words), "ascii"))

    def settle(self):
        """Everybody goes; what is left over is an AssertionError."""
        bench_machine.at_fence = bench_clock.at_look = None
        self._programs.close_all()
        for index, far in enumerate(self.fars):
            self._sane(index)
            for _ in range(3):
                far.collect()
                if far.ring(TX) is not None:
                    far.give_back(len(far.held))
                self._look(index)
                bench_clock.advance(10_000_000)
                self.stacks[index].waiter.tend()
        for index, stack in enumerate(self.stacks):
            self.lines.append("dropped %s" % self._dropped(index))
            self._compare(self._begun[index], self._possessions(stack))

    def _look(self, index):
        device = self.stacks[index].device
        if device is not None:
            device.look()

    def _possessions(self, stack):
        """What a stack has that could leak, by name."""
        store = stack.store._words
        posted = 0
        device = stack.device
        if device is not None and device.broken is None:
            posted = len(device._buffers.tags())
        return {
            "connections": stack.table.count,
            "lingering connections": len(stack.lingering),
            "late senders": len(stack.late),
            "listeners": len(stack.listeners),
            "ports": len(stack.ports),
            "ports of datagrams": len(stack.datagrams.ports) if stack.datagrams else 0,
            "large buffers": store[w.STORE_SPARE] + posted,
            "blocks in use": store[w.STORE_MADE] - store[w.STORE_BLOCKS],
            "promised blocks": store[w.STORE_PROMISED],
            "reserved blocks": store[w.STORE_RESERVED],
            "loopback packets": len(stack.loopback._packets),
        }

    def _compare(self, before, after):
        for name in sorted(before):
            if before[name] != after[name]:
                raise AssertionError("%s: %d before, %d after" % (name, before[name], after[name]))
