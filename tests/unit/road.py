# SPDX-License-Identifier: MIT
"""A whole device in an engine, beside it the model of what the guest must do (road_model.py).

Real sockets on the modules under test; whoever uses this plays the host and the programs. After
every step what went out, what programs got, who was woken, what was dropped and which buffers are
in the ring again is compared with the model.
"""

import random
import reprlib
from errno import EINPROGRESS, EIO, ENODEV, ESOCKTNOSUPPORT
from typing import Any

import vsock_bench
from engines import Engine
from road_model import (
    EAGAIN,
    ECONNRESET,
    SEQPACKET,
    SIZE,
    STREAM,
    Guest,
    Line,
    Listener,
    Packet,
    Refusal,
    w,
)

device_module = vsock_bench.module("virtio.device")
CID = 33
LARGE, POSTED = 40, 16  # receive buffers, and those of them that are in the ring
BLOCKS = 56 * 64  # two ninths of the RAM
SHOWN_BY = POSTED // 4  # so many posted ones are shown at once
NOISE = random.Random(11).randbytes(1 << 18)
numbers = vsock_bench.module("sockets.numbers")
general = vsock_bench.module("sockets.general")
MSG_PEEK = numbers.MSG_PEEK
SOCKETS = {STREAM: 1, SEQPACKET: 5}
AF_VSOCK, BUFFER_SIZE = numbers.AF_VSOCK, 0
# Port: socket type, backlog, window.
LISTENERS = {1234: (STREAM, 2, None), 1235: (SEQPACKET, 1, None), 1236: (STREAM, 0, 3000)}

_short = reprlib.Repr()
_short.maxlist = _short.maxlevel = 12


class Road:
    """One guest, one device."""

    def __init__(self, engine: Engine, event_idx=True, seqpacket=True, vectors=4, **settings):
        """`settings` are further ones of bench_transport.py."""
        self.engine = engine
        self.trace: list[tuple] = []
        self.serial = 0
        self.noise_at = 0
        offered = device_module.F_VERSION_1 | w.F_STREAM
        offered |= device_module.F_EVENT_IDX * event_idx | w.F_SEQPACKET * seqpacket
        engine.power_on({"offered": offered, "vectors": vectors, **settings})
        assert engine.bring_up() == CID
        self.guest = Guest(CID, seqpacket, LARGE, POSTED, BLOCKS)
        self.cid = CID  # the device's
        self.seqpacket = seqpacket
        self.interrupts = vectors > 0
        self.names: dict[str, Line] = {}  # sockets with a connection
        self.broken = self.closed = False
        self._fresh_ring()
        # Segment 0 is the next one to be used: that number is easily taken for none.
        free = engine.many(*[["stack.store.take_large"]] * (LARGE - POSTED))
        engine.many(*[["stack.store.release", seg] for seg in free])
        for port in LISTENERS:
            self.listen(port)

    def _fresh_ring(self):
        """The driver has posted its first buffers."""
        posted = self.engine.host.refresh()
        assert [each[2:] for each in posted] == [[w.BUFFER_LEN, 0]] * POSTED
        self.posted = {head: address for head, address, _, _ in posted}
        assert len(set(self.posted.values())) == POSTED
        # Addresses posted since, shown and not yet shown; None: of any other buffer.
        self.shown: list[int | None] = []
        self.hidden: list[int | None] = []

    def noise(self, n):
        """Bytes that are not those of before."""
        self.noise_at = (self.noise_at + 7919) % (len(NOISE) - (1 << 17))
        return NOISE[self.noise_at : self.noise_at + n]

    def story(self):
        """What was called, for a person."""
        return "\n".join(" ".join(map(_short.repr, calls)) for calls in self.trace)

    # -- the host

    def header(self, packet, length=None, used=None, dst=None, src_high=0, dst_high=0):
        length = len(packet.payload) if length is None else length
        dst = self.guest.cid if dst is None else dst
        kind = packet.kind | packet.op << w.OP_SHIFT
        ends = [packet.key[0], src_high, dst, dst_high, *packet.key[1:]]
        return [*ends, length, kind, packet.flags, packet.alloc, packet.fwd]

    def given(self, packet, head=None, blank=False, **lies):
        """A packet in the buffer `head`, as Host.give wants it; the model has received it then.

        `blank`: the device writes no header at all. `lies` are those of Guest.receive.
        """
        head = min(self.posted) if head is None else head
        header = [] if blank else self.header(packet, **lies)
        payload = packet.payload
        used = lies.get("used", w.HEADER_LEN + len(payload))
        address = self.posted.pop(head)
        self.hidden.append(None if self.guest.receive(packet, **lies) else address)
        if len(self.hidden) == SHOWN_BY:
            self.shown += self.hidden
            self.hidden = []
        return [head, header, payload, used]

    def send(self, packet, **lies):
        """One packet comes."""
        self.step(["host.give", [self.given(packet, **lies)]], ["device.poll"])

    def to(self, line, op, payload=b"", flags=0, alloc=SIZE):
        """A packet of the peer of a connection, which has read all that we sent."""
        fwd = line.sent & 0xFFFFFFFF
        self.send(Packet(line.key, op, line.kind, flags, alloc, fwd, payload))

    def open(self, port, peer):
        """A host's program connects, and the guest's accepts that."""
        self.send(Packet((2, peer, port), w.OP_REQUEST, LISTENERS[port][0], alloc=SIZE))
        return self.accept(port)

    # -- what every step shows

    def step(self, *calls):
        """Call the engine, then compare everything that can be seen with the model."""
        guest = self.guest
        self.trace.append(calls)
        watched = [name for name, line in self.names.items() if line.unchecked]
        values = self.engine.many(
            *calls,
            ["program.connecting", watched],
            ["host.collect", True],
            ["program.woken"],
            ["host.dropped"],
            ["host.refresh"],
            ["program.connections"],
            ["stack.store.spare"],
            ["host.broken"],
        )
        connecting, sent, woken, dropped, posted, connections, spare, broken = values[len(calls) :]
        for name, state in zip(watched, connecting, strict=True):
            assert state == guest.connecting(self.names[name])
            if state[0] < 0:
                del self.names[name]
        assert [self._seen(*each) for each in sent] == [self._due(each) for each in guest.out]
        assert sorted(woken) == sorted(guest.woken)
        assert dropped == guest.dropped
        assert connections == len(guest.lines)
        assert spare == guest.spare
        assert bool(broken) == (self.broken or self.closed)
        guest.out.clear()
        guest.woken.clear()
        self._check_posted(posted)
        return values[: len(calls)]

    def _seen(self, _, header, payload, parts):
        """A packet that went out, as `_due` has it; `parts` of its chain."""
        assert header[w.SRC_CID_HIGH] == header[w.DST_CID_HIGH] == 0
        assert header[w.LEN] == len(payload)
        assert parts == (2 if len(payload) > w.INLINE else 1)
        fields = [w.SRC_CID, w.DST_CID, w.DST_PORT, w.SRC_PORT, w.TYPE_OP, w.FLAGS]
        return [*[header[each] for each in [*fields, w.BUF_ALLOC, w.FWD_CNT]], payload]

    def _due(self, packet):
        kind = packet.kind | packet.op << w.OP_SHIFT
        ends = [self.guest.cid, *packet.key]
        return [*ends, kind, packet.flags, packet.alloc, packet.fwd, packet.payload]

    def _check_posted(self, posted):
        """The buffers that the device got are those that the model posted, blank and whole."""
        assert [each[2:] for each in posted] == [[w.BUFFER_LEN, 0]] * len(self.shown)
        for (head, address, _, _), wanted in zip(posted, self.shown, strict=True):
            assert wanted is None or address == wanted
            assert head not in self.posted
            self.posted[head] = address
        self.shown = []
        known = [*self.posted.values(), *filter(None, self.hidden)]
        assert len(set(known)) == len(known), "a buffer is posted twice"

    def ask(self, wanted, path, *arguments):
        """A call of a program; the model's answer, which it must be, comes from `wanted()`."""
        try:
            answer = [wanted(), None]
        except Refusal as refusal:
            answer = [None, refusal.errno]
        assert self.step(["attempt", path, *arguments]) == [answer]
        return answer

    # -- programs; a socket is known by its name

    def new_name(self):
        self.serial += 1
        return f"~s{self.serial}"

    def listen(self, port):
        kind, backlog, window = LISTENERS[port]
        name = f"~{port}"
        self.engine.program.listen(name, port, SOCKETS[kind], backlog)
        if window is not None:
            value = window.to_bytes(8, "little")
            self.engine.call(f"{name}.setsockopt", AF_VSOCK, BUFFER_SIZE, value)
        self.guest.listeners[port] = Listener(kind, backlog, window, [], name)

    def stop_listening(self, port):
        name = self.guest.listeners[port].name
        self.guest.stop_listening(port)
        self.step(["program.forget", name])

    def accept(self, port):
        """Accept a connection if one is pending; its socket's name, or None."""
        name = self.new_name()
        listener = self.guest.listeners[port]
        if not listener.pending:
            [answer] = self.step(["attempt", "program.accept", listener.name, name])
            assert answer == [None, listener.error or EAGAIN]
            listener.error = 0
            return None
        line = listener.pending.pop(0)
        line.name = name
        self.names[name] = line
        [peer] = self.step(["program.accept", listener.name, name])
        assert peer == [line.key[0], line.key[1]]
        return name

    def connect(self, kind=STREAM):
        """Begin to connect; the socket's name."""
        name, local = self.new_name(), 2000 + self.serial
        error = EINPROGRESS
        if self.closed:
            error = ENODEV
        elif self.broken:
            error = EIO
        elif kind == SEQPACKET and not self.seqpacket:
            error = ESOCKTNOSUPPORT
        else:
            self.names[name] = self.guest.connect(name, (2, 6000, local), kind)
        calls: list[list[Any]] = [["program.connect", name, 2, 6000, local, SOCKETS[kind]]]
        if error != EINPROGRESS:
            calls.append(["program.forget", name])
        assert self.step(*calls)[0] == error
        return name

    def recv(self, name, want, peek=False):
        line = self.names[name]
        flags = MSG_PEEK if peek else 0
        wanted = lambda: self.guest.recv(line, want, peek)  # noqa: E731
        return self.ask(wanted, f"{name}.recv", want, flags)

    def write(self, name, payload):
        line = self.names[name]
        return self.ask(lambda: self.guest.send(line, payload), f"{name}.send", payload)

    def shutdown(self, name, how):
        """`how`: SHUTDOWN's flags."""
        line = self.names[name]
        return self.ask(lambda: self.guest.shutdown(line, how), f"{name}.shutdown", how - 1)

    def close(self, name):
        self.guest.close(self.names.pop(name))
        self.step(["program.forget", name])

    def wait(self, ms):
        """Time passes."""
        self.guest.pass_time(ms)
        self.step(["clock.advance", 1000 * ms], ["stack.expire"])

    # -- the device

    def reset_transport(self, cid, length=w.EVENT_BYTES):
        """TRANSPORT_RESET; `length` is what the device says that it wrote of the event."""
        self.guest.cid = self.cid = cid
        self.guest.lose(ECONNRESET)
        way = ["transport.fire", 2] if self.interrupts else ["device.poll_events"]
        reserved = 1 << 40
        self.step(["host.have_cid", self.cid | reserved], ["host.event", length], way)

    def break_by(self, call, way):
        """The device does what it may not; `way` is how the driver comes to look."""
        self._go(EIO)
        self.guest.warn(EIO)
        self.broken = True
        self.step(call, way)

    def _go(self, error):
        """The device is gone: its buffers are the store's again."""
        self.guest.lose(error)
        self.guest.posted = 0
        self.posted, self.shown, self.hidden = {}, [], []

    def close_device(self):
        self._go(ECONNRESET)
        self.closed = True
        self.guest.cid = w.CID_LOCAL
        self.step(["vsock.close"], ["vsock.close"])  # twice is once

    def reopen(self):
        self._go(ECONNRESET)
        self.guest.posted = POSTED
        self.guest.dropped = [0] * len(self.guest.dropped)
        self.guest.cid = self.cid
        self.guest.warn(0)
        self.broken = self.closed = False
        self.engine.reopen()
        self._fresh_ring()
        self.step()
