# SPDX-License-Identifier: MIT
"""The virtio-vsock device (virtio 1.2, 5.10): bring-up, its three queues, packets in.

The device is not trusted: a header is copied out of shared memory once, and only the copy is
checked and used; lengths are bounded by what was posted; virtio.queue checks its indices.
Anything malformed is counted and dropped. Knows nothing of sockets.
"""

import time
from array import array

import machine
from virtio.device import VirtioDevice

from . import connection as life
from .layout import addressof, const
from .transmit import Transmitter

try:
    import micropython
except ImportError:
    from .portable import micropython, ptr16, ptr32

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
_COPYBREAK = const(2048)  # store.COPYBREAK
_OP_RW = const(5)
_OP_CREDIT_UPDATE = const(6)
_LEN = const(6)
_STATE = const(11)
_OWED = const(21)
_ESTABLISHED = const(2)
_EV_CLOSED = const(4)
_EOM_EOR = const(3)
_SEQPACKET = const(2)
_EVENTS_WORD = const(22)
_TYPE_OP = const(7)
_FEW_SLOTS = const(4)
_SPINS = const(1000)
_ENOBUFS = const(105)
_EIO = const(5)
_HOST = const(2)
_STREAM_RST = const(3 << 16 | 1)  # header word 7: op, type
_WORK_US = const(50_000)

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
        self._used_index_at = self._rx.used_address + 2
        self._stack = stack
        self._store = stack.store
        self._connections = stack.connections
        self._heads = array("I", bytes(4 * self._rx.size))  # head: the segment posted there
        self._heads_at = addressof(self._heads)
        self.header = array("I", bytes(44))
        self._header_at = addressof(self.header)
        self.dropped = [0, 0, 0]
        self._broken = None
        self._nobody = None  # viper compares objects with objects, not with None
        self._event_memory = machine.DMABuffer(4096)
        self.out = Transmitter(self._tx, stack.store)
        self.cid = self._read_cid()
        stack.device = self
        stack.out = self.out
        stack.cid = self.cid
        for i in range(_EVENTS):
            self._event.add1(self._event_memory.addr + 4 * i, 4, 1)
        posted = min(_POSTED, self._rx.size)
        for _ in range(posted):
            self._post(self._store.take_large())
        self._hidden = 0  # receive buffers in the ring that the device has not been shown
        self._batch = (posted + 1) // 2
        for queue in (self._rx, self._tx, self._event):
            if queue.vector is not None:
                queue.vector.irq(self._interrupt)
        self.interrupts = self._rx.vector is not None
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
        self.out.copy(self._header_at, 0, 0)
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
        """The guest's CID; its upper 32 bits are reserved (5.10.4)."""
        return int.from_bytes(self._virtio.config(0, 8)[:4], "little")

    @property
    def broken(self):
        """The OSError that stopped this device, or None."""
        return self._broken

    # -- receiving --------------------------------------------------------------------------------

    @micropython.native
    def _interrupt(self, vector):
        self.poll()
        if vector is not self._rx.vector:
            self.poll_events()
            if self.out.reap():
                self._stack.room_again()
        self.listen()

    @micropython.native
    def poll(self):
        """Take the packets that the device has for us; returns how many.

        Raises nothing: a device that broke is remembered, and its connections end with EIO.
        """
        if self._broken is not None:
            return 0
        try:
            return self._receive()
        except OSError as error:
            self.stop(error)
            return 1

    @micropython.native
    def poll_events(self):
        """Look for TRANSPORT_RESET and for a device that wants to be reset itself."""
        if self._broken is not None:
            return
        try:
            while True:
                used = self._event.pop()
                if used < 0:
                    break
                # Whatever the event says, TRANSPORT_RESET is the only one there is.
                self.cid = self._read_cid()
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
        self._broken = error
        machine.log("vsock", str(error), "ERROR")
        self._stack.transport_reset(self.cid, _EIO)
        self._virtio.close()

    @micropython.viper
    def _receive(self) -> int:
        h = ptr32(self._header_at)
        heads = ptr32(self._heads_at)
        slots = ptr32(self.out.at)
        cid = int(self.cid)
        queue = self._rx
        base = int(self._store.large_base)
        taken = 0
        while True:
            if slots[0] < _FEW_SLOTS:
                # Packets may need answers: without room for those they wait in the ring.
                self.out.reap()
                if slots[0] < _FEW_SLOTS:
                    break
            used = int(queue.pop())
            if used < 0:
                break
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
            elif h[2] != cid or h[3] != 0 or h[1] != 0:
                self._drop(_STRAY)
            elif length > n - _HEADER_LEN:
                self._drop(_LONG)
            elif (op == _OP_RW and length != 0) or op == _OP_CREDIT_UPDATE:
                seg = int(self._fast(seg, data, length, op))
            else:
                self._stack.control(self.header, self.out)
            # As _post does.
            at = base + seg * _LARGE_STRIDE - _HEADER_LEN
            ptr32(at)[_TYPE_OP] = 0
            heads[int(queue.add1(at, _BUFFER_LEN, 1))] = seg
            taken += 1
        if taken != 0:
            # A notification costs the device's thread a wake-up: one for half a ring of buffers.
            hidden = int(self._hidden) + taken
            if hidden >= int(self._batch):
                hidden = 0
                queue.publish()
            self._hidden = hidden
        return taken

    @micropython.viper
    def _fast(self, seg: int, data: int, length: int, op: int) -> int:
        """Data or credit for a connection; returns the segment to post in place of `seg`."""
        h = ptr32(self._header_at)
        nobody = self._nobody
        # The table's own lookup (Stack.find), without a call.
        conn = self._connections.get(h[5] ^ (h[4] << 29) ^ (h[0] << 15))
        while conn is not nobody:
            c = ptr32(conn.at)
            if c[4] == h[5] and c[5] == h[4] and c[2] == h[0]:
                break
            conn = conn.twin
        if conn is nobody:
            self._stack.control(self.header, self.out)
            return seg
        at = int(conn.at)
        c = ptr32(at)
        if (c[_TYPE_OP] ^ h[_TYPE_OP]) & 0xFFFF or c[_STATE] != _ESTABLISHED:
            self._stack.control(self.header, self.out)
            return seg
        if op != _OP_RW:
            c[_EVENTS_WORD] = c[_EVENTS_WORD] | int(life.on_credit(at, h[9], h[10]))
        elif int(life.admit(at, length, h[9], h[10])) > 0:
            flags = 0
            if c[_TYPE_OP] & 0xFFFF == _SEQPACKET:
                flags = h[8] & _EOM_EOR
            if length > _COPYBREAK:
                fresh = int(self._store.keep(at, seg, length, flags))
            elif int(self._store.append(at, data, length, flags)) < 0:
                fresh = -1
            else:
                fresh = seg
            if fresh < 0:
                life.fail(at, _ENOBUFS)
            else:
                seg = fresh
                life.admitted(at, length, flags)
        if c[_OWED] != 0 or c[_EVENTS_WORD] & _EV_CLOSED:
            self._stack.after(conn, 0)
        else:
            c[_EVENTS_WORD] = 0
            if conn.watch is not nobody:
                conn.notify()
        return seg

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
        ptr32(self._heads_at)[head] = seg

    @micropython.viper
    def spin(self) -> bool:
        """Look for a packet for a moment, about ten microseconds."""
        index = ptr16(int(self._used_index_at))
        last = int(self._rx.last_used)
        i = 0
        while i < _SPINS:
            if index[0] != last:
                return True
            i += 1
        return False

    # -- interrupts -------------------------------------------------------------------------------

    @micropython.native
    def quiet(self):
        """No interrupts for received packets: somebody polls."""
        self._rx.disable_interrupts()

    @micropython.native
    def listen(self):
        """Interrupts for received packets again; True if some came meanwhile, now taken."""
        news = False
        while self._broken is None and self._rx.enable_interrupts():
            news = True
            if not self.poll():
                break
        return news

    @micropython.native
    def sending_done(self):
        """Interrupts when the device is done with packets of ours; True: it already is."""
        return self._broken is not None or self._tx.enable_interrupts()
