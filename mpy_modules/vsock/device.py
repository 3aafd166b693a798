# SPDX-License-Identifier: MIT
"""The virtio-vsock device (virtio 1.2, 5.10): bring-up, its three queues, packets in.

The device is not trusted: a header is copied out of shared memory once, and only the copy is
checked and used; lengths are bounded by what was posted; virtio.queue checks its indices.
Anything malformed is counted and dropped. Knows nothing of sockets.
"""

import time
from array import array

import machine
import micropython
from virtio import queue as ring
from virtio.device import VirtioDevice

from . import connection as life
from .layout import addressof, const
from .store import Store
from .transmit import Transmitter

F_STREAM = const(1 << 0)  # 5.10.3
F_SEQPACKET = const(1 << 1)

_RX = const(0)
_TX = const(1)
_EVENT = const(2)
_POSTED = const(16)  # receive buffers in the ring: more only cost cache
_EVENTS = const(4)
_HEADER_LEN = const(44)
_BUFFER_LEN = const(44 + 65536)
_LARGE_STRIDE = const(69632 + 64)  # store.LARGE_STRIDE
_OP_RW = const(5)
_OP_CREDIT_UPDATE = const(6)
_OP_CREDIT_REQUEST = const(7)
_LEN = const(6)
_STATE = const(11)
_SHUT = const(12)
_OWED = const(21)
_ESTABLISHED = const(2)
_EV_MORE = const(4 | 8)  # EV_CLOSED, EV_GROW
_EOM_EOR = const(3)
_SEQPACKET = const(2)
_EVENTS_WORD = const(22)
_TYPE_OP = const(7)
_FEW_SLOTS = const(4)
_LOOKS = const(1000)  # about ten microseconds under TCG
_EIO = const(5)
_HOST = const(2)
_STREAM_RST = const(3 << 16 | 1)  # header word 7: op, type
_WORK_US = const(50_000)
_IDLE_US = const(2000)
# A flood of packets must not keep Ctrl-C out, which is looked for in bytecode only.
_BURST = const(64)  # packets taken at a time
_ROUNDS = const(16)  # times that interrupts find more of them

# What receiving needs, as words: an attribute costs 95 ns under TCG, a word 2. Addresses take two.
_RING = const(0)  # the receive queue's state
_HEADER = const(2)
_HEADS = const(4)
_SLOTS = const(6)  # the Transmitter's words; the first says how many slots are free
_BASE = const(8)  # payload of large segment 0
_CID = const(10)
_HIDDEN = const(11)  # receive buffers in the ring that the device has not been shown
_BATCH = const(12)  # so many of them are worth a notification
_LAZY = const(13)  # 1: interrupts are off although nobody waits; `_idle` sees to it
_TAKEN = const(14)  # packets taken since `_idle` last looked
_TIMED = const(15)  # 1: `_idle` will be called
_WORDS = const(16)

# Counters of `dropped`
_SHORT = const(0)
_LONG = const(1)
_STRAY = const(2)
DROPPED = ("shorter than a header", "longer than its buffer", "not for this CID")


class Device:
    """A vsock device at work for one Stack. `function` is its pci.Function."""

    def __init__(self, function, stack):
        self._virtio = virtio = VirtioDevice(function)
        self.features = virtio.negotiate(F_STREAM | F_SEQPACKET)
        # 5.10.3: a device without feature bits of its own does streams.
        self.seqpacket = bool(self.features & F_SEQPACKET)
        self._rx = virtio.queue(_RX)
        self._tx = virtio.queue(_TX)
        self._event = virtio.queue(_EVENT)
        self._stack = stack
        self._store = stack.store
        self._connections = stack.connections
        self._heads = array("I", bytes(4 * self._rx.size))  # head: the segment posted there
        self.header = array("I", bytes(44))
        self._last = None  # the Connection that the last packet was for: often the next one's too
        self.dropped = [0, 0, 0]
        self.broken = None  # the OSError that stopped this device
        self._nobody = None  # viper compares objects with objects, not with None
        self._event_memory = machine.DMABuffer(4096)
        self.out = Transmitter(self._tx, stack)
        self._words = array("I", bytes(4 * _WORDS))
        self._at = addressof(self._words)
        for word, address in (
            (_RING, self._rx.state),
            (_HEADER, addressof(self.header)),
            (_HEADS, addressof(self._heads)),
            (_SLOTS, self.out.at),
            (_BASE, stack.store.large_base),
        ):
            self._words[word] = address & 0xFFFFFFFF
            self._words[word + 1] = address >> 32
        self._read_cid()
        stack.device = self
        stack.out = self.out
        stack.cid = self.cid
        for i in range(_EVENTS):
            self._event.add1(self._event_memory.addr + 4 * i, 4, 1)
        posted = min(_POSTED, self._rx.size)
        for _ in range(posted):
            self._post(self._store.take_large())
        # A notification costs the device's thread a wake-up: one for half a ring of buffers.
        self._words[_BATCH] = (posted + 1) // 2
        for queue in (self._rx, self._tx, self._event):
            if queue.vector is not None:
                queue.vector.irq(self._interrupt)
        self.interrupts = self._rx.vector is not None
        if self.interrupts:
            self._timer = machine.Vector()
            self._timer.irq(self._idle)
        virtio.driver_ok()
        self._rx.publish()
        self._event.publish()
        self._rx.enable_interrupts()
        self._event.enable_interrupts()
        self._config_vector = virtio.config_vector
        if self._config_vector is not None:
            self._config_vector.irq(self._interrupt)
        self._await_work()

    def _await_work(self):
        """Send a packet that means nothing, an RST of no connection, until the device took it.

        vhost-device-vsock 0.3.0 takes its queues over some time after DRIVER_OK, and a host
        program that dials before that ends its worker for good. What a program prints once this
        returns, such as READY, tells the host that it may dial.
        """
        for word, value in ((0, self.cid), (2, _HOST), (7, _STREAM_RST)):
            self.header[word] = value
        self.out.copy(addressof(self.header), 0, 0)
        self.out.publish()
        start = time.ticks_us()
        try:
            while not self.out.reap():
                if time.ticks_diff(time.ticks_us(), start) > _WORK_US:
                    machine.log("vsock", "the device takes no packets", "WARNING")
                    break
        except OSError as error:
            self.stop(error)

    def _read_cid(self):
        """Learn the guest's CID; its upper 32 bits are reserved (5.10.4)."""
        self.cid = self._words[_CID] = int.from_bytes(self._virtio.config(0, 8)[:4], "little")

    # -- receiving --------------------------------------------------------------------------------

    @micropython.native
    def _interrupt(self, vector):
        self.poll()
        if vector is not self._rx.vector:
            self.poll_events()
            self.out.reap()
        self.listen()

    @micropython.native
    def poll(self, micros=0):
        """Take the packets that the device has for us, up to 64; returns how many.

        With `micros` it looks so long for the first one, without interrupts; if none comes they
        are on again. Otherwise they stay off as long as packets keep coming, as with Linux's NAPI:
        one for each packet took a tenth of the throughput. Raises nothing: a device that broke is
        remembered, and its connections end with EIO.
        """
        if self.broken is not None:
            return 0
        try:
            return self._receive(micros)
        except OSError as error:
            self.stop(error)
            return 1

    @micropython.native
    def poll_events(self):
        """Look for TRANSPORT_RESET and for a device that wants to be reset itself."""
        if self.broken is not None:
            return
        try:
            while True:
                used = self._event.pop()
                if used < 0:
                    break
                # Whatever the event says, TRANSPORT_RESET is the only one there is.
                self._read_cid()
                self._stack.transport_reset(self.cid)
                self._event.add1(self._event_memory.addr, 4, 1)
                self._event.publish()
            self._event.enable_interrupts()
            self._virtio.check()
        except OSError as error:
            self.stop(error)

    @micropython.native
    def stop(self, error):
        """The device broke: no more of it, and every connection through it ends with EIO."""
        self.broken = error
        machine.log("vsock", str(error), "ERROR")
        self._stack.transport_reset(self.cid, _EIO)
        self._virtio.close()

    @micropython.viper
    def _receive(self, micros: int) -> int:
        d = ptr32(self._at)
        rx = d[_RING] | (d[_RING + 1] << 32)
        h = ptr32(d[_HEADER] | (d[_HEADER + 1] << 32))
        heads = ptr32(d[_HEADS] | (d[_HEADS + 1] << 32))
        slots = ptr32(d[_SLOTS] | (d[_SLOTS + 1] << 32))
        base = d[_BASE] | (d[_BASE + 1] << 32)
        nobody = self._nobody
        conn = self._last
        at = 0
        if conn is not nobody:
            at = int(conn.at)
        taken = 0
        if micros != 0:
            self._spin(micros)
        while True:
            if taken == _BURST:
                break
            if slots[0] < _FEW_SLOTS:
                # Packets may need answers: without room for those they wait in the ring.
                self.out.reap()
                if slots[0] < _FEW_SLOTS:
                    break
            used = int(ring.pop(rx))
            if used < 0:
                if micros == 0 or taken != 0 or not ring.enable_interrupts(rx):
                    break
                continue
            taken += 1
            head = used >> 32
            n = used - (head << 32)
            seg = heads[head]
            data = base + seg * _LARGE_STRIDE
            shared = ptr32(data - _HEADER_LEN)
            h[0] = shared[0]
            h[1] = shared[1]
            h[2] = shared[2]
            h[3] = shared[3]
            h[4] = shared[4]
            h[5] = shared[5]
            h[6] = shared[6]
            h[7] = shared[7]
            h[8] = shared[8]
            h[9] = shared[9]
            h[10] = shared[10]
            length = h[_LEN]
            op = h[_TYPE_OP] >> 16
            if n < _HEADER_LEN:
                self._drop(_SHORT)
            elif op == 0:
                pass
            elif h[2] != d[_CID] or h[3] != 0 or h[1] != 0:
                self._drop(_STRAY)
            elif length > n - _HEADER_LEN:
                self._drop(_LONG)
            elif op < _OP_RW or op > _OP_CREDIT_REQUEST or (op == _OP_RW and length == 0):
                self._stack.control(self.header, self.out)
            else:
                # Only a connection that is established is sure to be in the table still.
                c = ptr32(at)
                if (
                    at == 0
                    or c[_STATE] != _ESTABLISHED
                    or c[4] != h[5]
                    or c[5] != h[4]
                    or c[2] != h[0]
                ):
                    conn = self._find()
                    self._last = conn
                    at = 0
                    if conn is not nobody:
                        at = int(conn.at)
                c = ptr32(at)
                if (
                    at == 0
                    or (c[_TYPE_OP] ^ h[_TYPE_OP]) & 0xFFFF
                    or (op != _OP_RW and c[_STATE] != _ESTABLISHED)
                ):
                    self._stack.control(self.header, self.out)
                else:
                    if op == _OP_CREDIT_UPDATE and c[_SHUT] == 0:
                        events = int(life.credit(at, h[9], h[10]))
                        c[_EVENTS_WORD] = c[_EVENTS_WORD] | events
                    elif op != _OP_RW:
                        events = int(life.on_control(at, op, 0, h[9], h[10]))
                        c[_EVENTS_WORD] = c[_EVENTS_WORD] | events
                    else:
                        flags = 0
                        if c[_TYPE_OP] & 0xFFFF == _SEQPACKET:
                            flags = h[8] & _EOM_EOR
                        if int(life.admit(at, length, flags, h[9], h[10])) > 0:
                            fresh = int(Store.keep(self._store, at, seg, length, flags))
                            if fresh < 0:
                                life.overflow(at, length, flags)
                            else:
                                seg = fresh
                    if c[_OWED] != 0 or c[_EVENTS_WORD] & _EV_MORE:
                        self._stack.after(conn, 0)
                    elif c[_EVENTS_WORD] != 0:
                        c[_EVENTS_WORD] = 0
                        watch = conn.watch
                        if watch is not nobody and not conn.queued:
                            watch.add(conn)
            # As _post does.
            place = base + seg * _LARGE_STRIDE - _HEADER_LEN
            ptr32(place)[_TYPE_OP] = 0
            head = int(ring.add1(rx, place, _BUFFER_LEN, 1))
            heads[head] = seg
            hidden = d[_HIDDEN] + 1
            if hidden >= d[_BATCH]:
                hidden = 0
                ring.publish(rx)
            d[_HIDDEN] = hidden
        if micros != 0:
            if taken == 0:
                d[_LAZY] = 0
            else:
                d[_TAKEN] = d[_TAKEN] + taken
                if d[_LAZY] == 0:
                    self._be_lazy()
        return taken

    @micropython.native
    def _be_lazy(self):
        """Packets come while the program waits for them: it will look again soon, we guess."""
        words = self._words
        if self.interrupts:
            words[_LAZY] = 1
            if not words[_TIMED]:
                words[_TIMED] = 1
                self._timer.after(_IDLE_US)
        else:
            self._rx.enable_interrupts()

    @micropython.native
    def _idle(self, vector):
        """Has the program looked for packets since the last time? If not, interrupts."""
        words = self._words
        words[_TIMED] = 0
        if words[_LAZY]:
            taken = words[_TAKEN]
            words[_TAKEN] = 0
            if taken:
                words[_TIMED] = 1
                self._timer.after(_IDLE_US)
            else:
                self.listen()

    @micropython.viper
    def _spin(self, micros: int):
        """Look for a packet for that long, without interrupts."""
        d = ptr32(self._at)
        rx = d[_RING] | (d[_RING + 1] << 32)
        spin = ring.spin
        if spin(rx, 1):
            return
        now = time.ticks_us
        ring.disable_interrupts(rx)
        start = int(now())
        while not spin(rx, _LOOKS):
            if int(now()) - start >= micros:
                break

    @micropython.viper
    def _find(self):
        """The Connection that the header is for, or None: Stack.find, faster."""
        d = ptr32(self._at)
        h = ptr32(d[_HEADER] | (d[_HEADER + 1] << 32))
        nobody = self._nobody
        conn = self._connections.get(h[5] ^ (h[4] << 29) ^ (h[0] << 15))
        while conn is not nobody:
            c = ptr32(conn.at)
            if c[4] == h[5] and c[5] == h[4] and c[2] == h[0]:
                break
            conn = conn.twin
        return conn

    @micropython.native
    def _drop(self, why):
        self.dropped[why] += 1

    @micropython.viper
    def _post(self, seg: int):
        """Give a receive buffer to the device; publish() shows it."""
        at = int(self._store.address(seg)) - _HEADER_LEN
        header = ptr32(at)
        # The device may complete a buffer without having written a header: make that INVALID.
        header[7] = 0
        head = int(self._rx.add1(at, _BUFFER_LEN, 1))
        self._heads[head] = seg

    # -- interrupts -------------------------------------------------------------------------------

    @micropython.native
    def listen(self):
        """Interrupts for received packets again; True if some came meanwhile, now taken."""
        self._words[_LAZY] = 0
        news = False
        for _ in range(_ROUNDS):
            if self.broken is not None or not self._rx.enable_interrupts():
                return news
            news = True
            if not self.poll():
                return True
        self._be_lazy()
        return True

    @micropython.native
    def attend(self):
        """The program is about to wait in a way of its own (select): interrupts must be on.

        True if packets came, which are now taken.
        """
        if not self.interrupts:
            return self.poll() > 0
        return self._words[_LAZY] and self.listen()

    @micropython.native
    def sending_done(self):
        """Interrupts when the device is done with packets of ours; True: it already is."""
        return self.broken is not None or self._tx.enable_interrupts()
