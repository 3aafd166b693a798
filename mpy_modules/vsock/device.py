# SPDX-License-Identifier: MIT
"""The virtio-vsock driver (virtio 1.2, 5.10): bring-up, three queues, the ring's end of receiving.

The device is not trusted: virtio.queue checks its indices and lengths, receive.py what it writes.
A device that breaks is remembered, and everything that goes through it ends with EIO. Knows
nothing of sockets.
"""

import time
from array import array

import errnos
import machine
from portable import addressof, const, micropython, ptr32, put_address
from virtio import buffers
from virtio import queue as ring
from virtio.buffers import Buffers
from virtio.device import VirtioDevice
from virtio.errors import NotSupported

from . import attention
from . import words as w
from .attention import Attention
from .receive import Receiver
from .transmit import Transmitter

_RX = const(0)  # queues, 5.10.2
_TX = const(1)
_EVENT = const(2)
_CID_BYTES = const(8)  # the configuration, 5.10.4
_POSTED = const(16)  # receive buffers in the ring: more only cost cache
_EVENT_BUFFERS = const(4)  # event buffers
_LEAST_SENDING = const(2)  # entries of the transmit queue: a header and a payload
_FEW_SLOTS = const(4)  # fewer free transmit slots than this: packets wait in the ring
_WORK_US = const(50_000)
_LATER_US = const(2000)  # that programs have before a device with ever more events is heard
# A flood of packets must not keep Ctrl-C out, which is looked for in bytecode only.
_BURST = const(64)  # packets taken at a time


class Device:
    """A vsock device at work for one Stack.

    `out` is its Transmitter, `receiver` its Receiver, `cid` the guest's CID. `seqpacket` tells
    whether it offers those. `broken` is the OSError that stopped it, or None.
    """

    _closed = False

    def __init__(self, transport, stack):
        """Bring the device up to where it may be started. Raises NotSupported, DeviceBroken."""
        self.broken = None
        self._later = None  # the Vector that looks again, once there is one
        self._stack = stack
        self._store = stack.store
        self.out = self._attention = self._buffers = None
        self._virtio = virtio = VirtioDevice(transport)
        try:
            self.features = virtio.negotiate(w.F_STREAM | w.F_SEQPACKET | w.F_DGRAM)
            # 5.10.3: a device without feature bits of its own does streams.
            self.seqpacket = bool(self.features & w.F_SEQPACKET)
            self._rx = virtio.queue(_RX)
            self._tx = virtio.queue(_TX)
            self._event = virtio.queue(_EVENT)
            if self._tx.size < _LEAST_SENDING:
                raise NotSupported("%r has too small a transmit queue" % transport)
            self._read_cid()
            self._prepare()
        except BaseException:
            self._let_go()
            raise

    def _prepare(self):
        """Make what is behind the queues. If that fails, `_let_go` has what was made."""
        stack = self._stack
        borrow = self._virtio.borrow
        self._event_memory = borrow(_EVENT_BUFFERS * w.EVENT_BYTES)
        self.out = Transmitter(self._tx, stack, self.stop, borrow)
        self.receiver = Receiver(stack, self.out, False)
        self.receiver.serve(self.cid, self.cid)
        self._buffers = Buffers(self._rx, w.BUFFER_LEN)
        # With few vectors the receive queue shares its own.
        rest = (self._tx.vector, self._event.vector)
        self._rx_vector = None if self._rx.vector in rest else self._rx.vector
        self._attention = Attention(self._rx, self.poll)
        self.interrupts = self._attention.interrupts
        self._state = self._attention.words if self.interrupts else None
        self._events = Buffers(self._event, w.EVENT_BYTES)
        self._words = words = array("I", bytes(4 * w.DEV_WORDS))
        put_address(words, w.DEV_POOL, self._buffers.at)
        put_address(words, w.DEV_OUT, self.out.at)
        put_address(words, w.DEV_RX, self.receiver.at)
        put_address(words, w.DEV_BASE, self._store.large_base)
        put_address(words, w.DEV_ATTENTION, self._attention.at)
        put_address(words, w.DEV_RING, self._rx.state)
        words[w.DEV_SEGMENT] = w.DEV_NONE
        words[w.DEV_FEW] = min(_FEW_SLOTS, self._tx.size // 2)
        self._at = addressof(words)

    def start(self):
        """Let it work: buffers in its queues, interrupts on, DRIVER_OK.

        Raises what made it `broken`, if it broke meanwhile.
        """
        virtio = self._virtio
        base = self._event_memory.addr
        self._events.fill([(base + w.EVENT_BYTES * i, i) for i in range(_EVENT_BUFFERS)])
        segments = [self._store.take_to_post() for _ in range(min(_POSTED, self._rx.size))]
        self._buffers.fill([(self._blank(seg), seg) for seg in segments if seg >= 0])
        for queue in (self._rx, self._tx, self._event):
            if queue.vector is not None:
                queue.vector.irq(self._interrupt)
        virtio.driver_ok()
        self._buffers.show()
        self._events.show()
        if virtio.config_vector is not None:
            virtio.config_vector.irq(self._interrupt)
        self.look()  # what came before there were interrupts
        if self._await_work():
            machine.log("vsock", "cid %d works" % self.cid)
        if self.broken is not None:
            raise self.broken

    def deaf(self):
        """Whether what we sent is still with us: long after that, nobody is at the other side."""
        self.out.reap()
        return self._tx.in_flight > 0

    @micropython.native
    def close(self):
        """Take the device down: its queues are gone, receive buffers are the Store's again.

        A device that does not reset may still write to what it was given: that is for the next.
        """
        if self.broken is None:
            self.broken = OSError(errnos.ENODEV, "closed")
        self._let_go()

    @micropython.native
    def _let_go(self):
        if self._attention is not None:
            self._attention.close()
        if self._later is not None:
            self._later.close()
            self._later = None
        closed = self._closed
        self._closed = True
        out = self.out
        tags = [] if self._buffers is None else self._buffers.tags()
        if self._virtio.close():
            if out is not None:
                out.close()
            for seg in tags:
                self._store.release(seg)
        elif not closed:
            if out is not None:
                out.return_segments()
                if out.lends():
                    self._virtio.pin(out)
            self._store.abandon(tags)

    def _await_work(self):
        """Send a packet that means nothing, an RST of no connection; whether the device took it.

        vhost-device-vsock 0.3.0 takes its queues over some time after DRIVER_OK, and a host
        program that dials before that ends its worker for good. What a program prints once this
        returns, such as READY, tells the host that it may dial.
        """
        self._send_nothing()
        start = time.ticks_us()
        while not self.reap() and self.broken is None:
            if time.ticks_diff(time.ticks_us(), start) > _WORK_US:
                machine.log("vsock", "the device takes no packets", "WARNING")
                return False
        return self.broken is None

    @micropython.native
    def _send_nothing(self):
        # Without a free slot there is something else for the device to take.
        if self.broken is None and self.out.free():
            header = array("I", bytes(4 * w.HEADER_WORDS))
            header[w.SRC_CID] = self.cid
            header[w.DST_CID] = w.CID_HOST
            header[w.TYPE_OP] = w.TYPE_STREAM | w.OP_RST << w.OP_SHIFT
            self.out.copy(addressof(header), 0, 0)
            self.out.publish()

    @micropython.native
    def _read_cid(self):
        """Learn the guest's CID; its upper 32 bits are reserved (5.10.4), and so are some CIDs."""
        if self._virtio.transport.config_size < _CID_BYTES:
            raise NotSupported("%r has no CID" % self._virtio.transport)
        cid = int.from_bytes(self._virtio.config(0, _CID_BYTES)[:4], "little")
        if cid <= w.CID_HOST or cid == w.CID_ANY:
            raise NotSupported("CID %d is reserved: give the vsock device another guest-cid" % cid)
        self.cid = cid

    # -- receiving --------------------------------------------------------------------------------

    @micropython.native
    def _interrupt(self, vector):
        if vector is self._rx_vector:
            found = self.poll()
            return self._attention.arm() or found > 0
        return self.look()

    @micropython.native
    def look(self, vector=None):
        """Look after all that a device could have news of, whatever interrupted; False: none."""
        found = self.poll() + self.poll_events() + self.reap()
        return self._attention.arm() or found > 0

    @micropython.native
    def reap(self):
        """Take back what the device has sent; how many packets. Raises nothing, as `poll`."""
        if self.broken is not None:
            return 0
        return self.out.reap()

    @micropython.native
    def poll(self, micros=0):
        """Take the packets that the device has for us, up to 64; returns how many.

        With `micros` it looks so long for the first one, without interrupts; if none comes they
        are on again. attention.py says who looks after that. Raises nothing: a device that broke
        is remembered, and its connections end with EIO.
        """
        if self.broken is not None:
            return 0
        try:
            return self._receive(micros)
        except OSError as error:
            segment = self._words[w.DEV_SEGMENT]
            if self.broken is not None and segment != w.DEV_NONE:
                # It broke while this packet was answered: its buffer is in no queue.
                self._words[w.DEV_SEGMENT] = w.DEV_NONE
                self._store.release(segment)
            self.stop(error)
            return 1

    @micropython.native
    def poll_events(self):
        """Look for TRANSPORT_RESET and for a device that wants to be reset; how many events."""
        events = 0
        if self.broken is not None:
            return events
        try:
            for _ in range(_EVENT_BUFFERS):
                used = self._events.take()
                if used < 0:
                    break
                events += 1
                # Whatever the event says, TRANSPORT_RESET is the only one there is.
                self._read_cid()
                if self.broken is not None:
                    return events  # a handler came meanwhile, and found something else broken
                self.receiver.serve(self.cid, self.cid)
                self._stack.rename(self.cid)
                self._stack.lose(errnos.ECONNRESET)
                slot = used >> 32
                self._events.post(self._event_memory.addr + w.EVENT_BYTES * slot, slot)
                self._events.show()
            if self._event.enable_interrupts():
                self._look_again()
            self._virtio.check()
        except OSError as error:
            self.stop(error)
        return events

    @micropython.native
    def _look_again(self):
        """The device has events without an end: programs go on first."""
        if self._later is None:
            self._later = machine.Vector()
            self._later.irq(self.look)
        self._later.after(_LATER_US)

    @micropython.native
    def stop(self, error):
        """The device broke: no more of it, and every connection through it ends with EIO."""
        if self.broken is not None:
            return
        self.broken = error
        machine.log("vsock", str(error), "ERROR")
        self._stack.lose(errnos.EIO)
        self._stack.warn(errnos.EIO)
        self.close()

    @micropython.viper
    def _receive(self, micros: int) -> int:
        d = ptr32(self._at)
        pool = d[w.DEV_POOL] | (d[w.DEV_POOL + 1] << 32)
        base = d[w.DEV_BASE] | (d[w.DEV_BASE + 1] << 32)
        rx = d[w.DEV_RING] | (d[w.DEV_RING + 1] << 32)
        out = ptr32(d[w.DEV_OUT] | (d[w.DEV_OUT + 1] << 32))
        road = d[w.DEV_RX] | (d[w.DEV_RX + 1] << 32)
        few = d[w.DEV_FEW]
        none = w.DEV_NONE
        receiver = self.receiver
        taken = 0
        if micros != 0:
            attention.spin(rx, micros, time.ticks_us)
        while taken < _BURST:
            # Packets may need answers: without room for those they wait in the ring.
            if out[w.OUT_FREE] < few and not self._answerable(few):
                break
            got = int(buffers.take(pool))
            if got < 0:
                if micros == 0 or taken != 0 or not ring.enable_interrupts(rx):
                    break
                continue
            taken += 1
            seg = got >> 32
            data = base + seg * w.LARGE_STRIDE
            n = got - (seg << 32)
            seg = int(Receiver.packet(receiver, road, data - w.HEADER_LEN, data, n, seg))
            # As _blank does.
            place = base + seg * w.LARGE_STRIDE - w.HEADER_LEN
            ptr32(place)[w.TYPE_OP] = w.OP_INVALID
            d[w.DEV_SEGMENT] = seg
            buffers.post(pool, place, seg)
            d[w.DEV_SEGMENT] = none
        if micros != 0:
            watch = d[w.DEV_ATTENTION] | (d[w.DEV_ATTENTION + 1] << 32)
            if int(attention.polled(watch, taken)) != 0:
                self._attention.keep_polling()
        return taken

    def watch(self, tap):
        """A Tap sees what is received from now on; None: none does."""
        self._tap = tap
        if tap is not None:
            self._receive = self._receive_seen
        else:
            del self._receive

    @micropython.native
    def _receive_seen(self, micros):
        """`_receive` with a Tap on the way: the same steps, each a call."""
        d = self._words
        out, rx, pool, receiver = self.out, self._rx, self._buffers, self.receiver
        few = d[w.DEV_FEW]
        taken = 0
        if micros:
            attention.spin(rx.state, micros, time.ticks_us)
        while taken < _BURST:
            if out.free() < few and not self._answerable(few):
                break
            got = pool.take()
            if got < 0:
                if not micros or taken or not rx.enable_interrupts():
                    break
                continue
            taken += 1
            seg = got >> 32
            place = self._store.address(seg) - w.HEADER_LEN
            seg = self._tap.received(receiver, place, got & 0xFFFFFFFF, seg)
            place = self._blank(seg)
            d[w.DEV_SEGMENT] = seg
            pool.post(place, seg)
            d[w.DEV_SEGMENT] = w.DEV_NONE
        if micros and attention.polled(self._attention.at, taken):
            self._attention.keep_polling()
        return taken

    @micropython.native
    def _answerable(self, few):
        """Whether so many slots are free; if not, the device is to interrupt when some are."""
        out = self.out
        out.reap()
        while out.free() < few:
            # Those that it has done already bring no interrupt: it is asked for the next.
            if self.broken is not None or not self._tx.enable_interrupts():
                return False
            out.reap()
        return True

    @micropython.viper
    def _blank(self, seg: int) -> int:
        """Make a receive buffer ready to be posted; its address.

        The device may complete a buffer without having written a header: that is then INVALID.
        """
        place = int(self._store.address(seg)) - w.HEADER_LEN
        ptr32(place)[w.TYPE_OP] = w.OP_INVALID
        return place

    # -- interrupts -------------------------------------------------------------------------------

    @micropython.native
    def attend(self):
        """A program is about to wait in a way of its own; True if packets came, now taken.

        True, too, if the device is broken: nothing is to be waited for. Without interrupts that
        wait ends soon, so that the program looks again.
        """
        state = self._state
        if state is not None and state[w.ATT_STATE] == w.ATT_ARMED:
            return False  # and not broken: then it would be CLOSED
        if self.broken is not None:
            return True
        if not self.interrupts:
            self.poll_events()
            self.reap()
            machine.alarm(w.POLL_US)
        return self._attention.attend()

    @micropython.native
    def sending_done(self):
        """Interrupts when the device is done with packets of ours; True: it already is."""
        return self.broken is not None or self._tx.enable_interrupts()
