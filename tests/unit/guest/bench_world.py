# SPDX-License-Identifier: MIT
"""A whole vsock device on a fake transport: `host` is what is beyond it, `program` uses sockets.

The modules under test are brought up as on the firmware, by vsock.get().
"""

import struct
from array import array

import bench_clock
import bench_machine
import virtio
import vsock
import vsock.device
from bench_machine import span
from bench_objects import find, given, objects, offered
from bench_transport import FakeTransport
from portable import addressof, copy, octets
from sockets.data import socket
from sockets.ready import Ready
from virtio.device import VirtioDevice
from vsock import words as w

RX, TX, EVENT = 0, 1, 2
_HEADER = "<%dI" % w.HEADER_WORDS


class Host:
    """The device's side: it has the rings, and everybody whom the guest may talk to."""

    def __init__(self):
        self.transport = FakeTransport()
        self.transport.configuration = struct.pack("<Q", 33)
        self.lazy_until = 0  # us; from then on it takes what is sent while the driver comes up
        self.posted = {}  # receive buffers that it has: head -> [address, length]
        self.sent = {}  # what it has of the transmit queue: head -> [bytes, chain]
        self.taken = []  # packets that it took while the program slept

    def ring(self, index):
        return self.transport.rings[index]

    def takes_after(self, micros):
        """While the driver comes up, the device takes nothing before that time."""
        self.lazy_until = micros

    def serve(self):
        """At a look at the clock: take what was sent at once, if it does that."""
        if bench_clock.now >= self.lazy_until:
            self.work()

    def refresh(self):
        """The buffers that were posted meanwhile: [head, address, length, what is in TYPE_OP]."""
        found = []
        if RX not in self.transport.rings:  # the driver reset the device
            self.posted.clear()
            self.sent.clear()
            return found
        for head, chain in self.ring(RX).take_all():
            if len(chain) != 1 or not chain[0][2] or head in self.posted:
                raise AssertionError("a receive buffer of %r" % chain)
            address, length, _ = chain[0]
            self.posted[head] = [address, length]
            mark = struct.unpack_from("<I", span(address + 4 * w.TYPE_OP, 4), 0)[0]
            found.append([head, address, length, mark])
        return found

    def heads(self):
        """Of the receive buffers that it has."""
        self.refresh()
        return sorted(self.posted)

    def fill(self, head, header, payload):
        """Write a packet into a receive buffer: header words, none if the list is empty."""
        address = self.posted[head][0]
        if header:
            struct.pack_into(_HEADER, span(address, w.HEADER_LEN), 0, *header)
        if payload:
            span(address + w.HEADER_LEN, len(payload))[:] = payload

    def give(self, packets):
        """Complete receive buffers: [head, header words, payload, used length], all at once."""
        for head, header, payload, length in packets:
            self.fill(head, header, payload)
            del self.posted[head]
            self.ring(RX).put(head, length, False)
        self.ring(RX).set_used_idx(self.ring(RX).done)

    def put(self, head, length):
        """A used entry of the receive queue, true or not."""
        self.ring(RX).put(head, length)

    def jump(self, count):
        """The receive queue's used index runs ahead."""
        self.ring(RX).set_used_idx(self.ring(RX).done + count)

    def collect(self, complete):
        """What the guest sent since: [head, header words, payload, parts of the chain]."""
        found = []
        if TX not in self.transport.rings:
            return found
        for head, chain in self.ring(TX).take_all():
            data = _read(chain)
            if any([writable for _, _, writable in chain]):
                raise AssertionError("a writable buffer in the transmit queue")
            header = struct.unpack_from(_HEADER, data, 0)
            found.append([head, list(header), data[w.HEADER_LEN :], len(chain)])
            self.sent[head] = [data, chain]
        if complete:
            self.complete([each[0] for each in found])
        return found

    def complete(self, heads):
        """Give sent chains back: what lies there must still be what was sent."""
        for head in heads:
            data, chain = self.sent.pop(head)
            if _read(chain) != data:
                raise AssertionError("a buffer changed while the device had it")
            self.ring(TX).put(head, 0)

    def work(self):
        """Take what was sent, remember it, and give everything back."""
        self.taken += self.collect(False)
        self.complete(sorted(self.sent))

    def took(self):
        """What `work` took since the last call."""
        taken = self.taken
        self.taken = []
        return taken

    def has(self):
        """The heads of what it took and did not give back."""
        return sorted(self.sent)

    def works_while_the_program_sleeps(self):
        bench_machine.at_rest = self.work

    def floods(self, header, payload):
        """From now on each buffer that the driver shows is full of that packet at once."""

        def at_once():
            given = [
                [each[0], header, payload, w.HEADER_LEN + len(payload)] for each in self.refresh()
            ]
            self.give(given)

        bench_machine.at_fence = at_once if header else None

    def gives_while_it_looks(self, packets):
        """At the next look at the clock those packets come, see `asked`."""

        def come():
            bench_clock.at_look = None
            self.give(packets)
            self.was_asked = self.ring(RX).wants_interrupt()

        bench_clock.at_look = come

    def asked(self):
        """Whether the driver wanted to be interrupted for them."""
        return self.was_asked

    def gives_at_fence(self, packets):
        """At the next fence those packets come."""

        def at_once():
            bench_machine.at_fence = None
            self.give(packets)

        bench_machine.at_fence = at_once

    def works_at_fence(self, number):
        """At the fence of that number from now on, the first is 1, it does what `work` does."""
        left = [number]

        def at_once():
            left[0] -= 1
            if left[0] == 0:
                bench_machine.at_fence = None
                self.work()

        bench_machine.at_fence = at_once

    def gives_back_at_fence(self, count):
        """At the next fence it gives back so many of what it took, the first ones."""

        def at_once():
            bench_machine.at_fence = None
            self.complete(self.has()[:count])

        bench_machine.at_fence = at_once

    def event_buffers(self):
        """The addresses and lengths that the event queue has, and takes them."""
        return [chain[0][:2] for _, chain in self.ring(EVENT).take_all()]

    def event(self, length, event=w.EVENT_TRANSPORT_RESET):
        """Complete an event buffer; False if there is none."""
        taken = self.ring(EVENT).take()
        if taken is None:
            return False
        head, [[address, _, _]] = taken
        struct.pack_into("<I", span(address, w.EVENT_BYTES), 0, event)
        self.ring(EVENT).put(head, length)
        return True

    def floods_events(self, on=True):
        """From now on each event buffer that the driver shows comes back at once."""
        self.event_count = 0

        def at_once():
            while self.event(w.EVENT_BYTES):
                self.event_count += 1

        bench_machine.at_fence = at_once if on else None

    def events(self):
        """How many did."""
        return self.event_count

    def have_cid(self, cid):
        """The guest's CID from now on, 64 bits."""
        self.transport.set("configuration", struct.pack("<Q", cid))

    def dropped(self):
        """How many packets went no further, by DROP_*."""
        return objects["device"].receiver.dropped

    def broken(self):
        """What stopped the device, as text; None: nothing."""
        device = objects["device"]
        return None if device.broken is None else str(device.broken)


def _read(chain):
    return b"".join([bytes(span(address, n)) for address, n, _ in chain])


class Program:
    """What runs on the guest. Sockets have names; `woken` tells of which there are news."""

    def socket(self, name, kind=1):
        """Make a socket that never waits."""
        sock = socket(type=kind, stack=objects["stack"])
        sock.settimeout(0)
        return self._keep(name, sock)

    def _keep(self, name, sock):
        sock.bench_name = name
        objects[name] = sock

    def listen(self, name, port, kind=1, backlog=0, cid=w.CID_ANY):
        """Make a socket that listens."""
        self.socket(name, kind)
        find(name).bind((cid, port))
        find(name).listen(backlog)
        self.watch(name)

    def accept(self, listener, name):
        """Accept a connection, which is watched; the peer's address."""
        sock, peer = find(listener).accept()
        sock.settimeout(0)
        self._keep(name, sock)
        self.watch(name)
        return peer

    def connect(self, name, cid, port, local, kind=1):
        """Begin to connect from our port `local`; the errno."""
        self.socket(name, kind)
        find(name).bind((w.CID_ANY, local))
        error = find(name).connect_ex((cid, port))
        if find(name).endpoint is not None:
            self.watch(name)
        return error

    def watch(self, name):
        """Hear of news of a socket, from now on."""
        ready = objects["ready"]
        ready.register(find(name))
        self.woken()

    def woken(self):
        """The sockets with news since the last call."""
        found = []
        while True:
            sock = objects["ready"].next()
            if sock is None:
                return found
            found.append(sock.bench_name)

    def forget(self, name):
        """Close a socket and let go of it."""
        find(name).close()
        del objects[name]

    def connecting(self, names):
        """Whether connections under way are there: [1], [0] not yet, or [-1, errno], forgotten."""
        found = []
        for name in names:
            state = find(name).connect_state()
            found.append([state])
            if state < 0:
                found[-1].append(find(name).take_error())
                self.forget(name)
        return found

    def write_once(self, name, data):
        """Send a buffer that the program uses for something else when send has returned."""
        buffer = bytearray(data)
        try:
            return find(name).send(buffer)
        finally:
            buffer[:] = b"\x5a" * len(buffer)

    def send_buffer(self, name, data):
        """Send a buffer that nobody holds any more when send has returned."""
        return find(name).send(bytearray(data))

    def read_into(self, name, size, want):
        """recv_into a buffer of so many bytes; the buffer."""
        buffer = bytearray(size)
        find(name).recv_into(buffer, want)
        return bytes(buffer)

    def splice(self, name, to):
        """splice between two sockets."""
        return find(name).splice(find(to))

    def forward(self, name, to):
        """Borrow received bytes and send them on; [bytes, whether they went]."""
        view = find(name).recv_view()
        data = bytes(view.data)
        sent = view.forward(find(to))
        view.release()
        return [data, sent]

    def next_ready(self):
        """Wait for the next socket with news; its name."""
        sock = objects["ready"].wait()
        return None if sock is None else sock.bench_name

    def connections(self):
        """How many there are in the table."""
        return objects["stack"].table.count


@offered
def power_on(settings):
    """A new machine with a vsock device (`host`), not yet used; `settings` of its transport."""
    _power_off()
    for name in [each for each in objects if each[0] == "~"]:
        del objects[name]
    objects["host"] = host = Host()
    objects["transport"] = host.transport
    objects["program"] = Program()
    objects["vsock"] = vsock
    for name in settings:
        host.transport.set(name, settings[name])
    virtio.find = lambda wanted: [host.transport] if wanted == virtio.SOCKET else []


def _power_off():
    """Stop the devices of before, which would keep their memory, and forget everything."""
    if "transport" in objects:
        objects["transport"].reset_reads = 0
        objects["transport"].stubborn = False
    try:
        soft_reset()
    except Exception:
        pass  # what a failing test left behind
    vsock._stacks.clear()
    vsock._kept.clear()
    bench_machine.reset()


@offered
def bring_up():
    """Use the device: `stack` and `device` are there then. The guest's CID."""
    _let_it_serve()
    objects["stack"] = stack = vsock.get()
    objects["ready"] = Ready(stack)
    _come_up()
    return stack.cid


@offered
def meanwhile(number, calls):
    """While the device comes up those calls are made, at its fence of that number from start."""
    left = [number]
    transport = objects["transport"]

    def at_once():
        if transport.status() & 4:
            left[0] -= 1
            if left[0] == 0:
                _plan(calls)()

    bench_machine.at_fence = at_once


@offered
def no_device():
    """The machine has none."""
    virtio.find = lambda wanted: []


@offered
def second_device():
    """Another device, whose CID is one more; `second` is a socket of it."""
    other = FakeTransport()
    other.configuration = struct.pack("<Q", 34)
    first = objects["transport"]
    virtio.find = lambda wanted: [first, other]
    bench_clock.looks_take(1000)
    objects["second"] = sock = socket(stack=vsock.get(1))
    sock.cid = vsock.get(1).cid
    bench_clock.looks_take(0)


@offered
def second_receives(header, payload):
    """A packet comes from the second device, in memory that is no receive buffer."""
    receiver = vsock.get(1).device.receiver
    words = array("I", header)
    data = octets(len(payload))
    copy(data, 0, payload, 0, len(payload))
    n = w.HEADER_LEN + len(payload)
    receiver.packet(receiver.at, addressof(words), addressof(data), n, -1)


@offered
def reopen():
    """vsock.reopen()."""
    _let_it_serve()
    vsock.reopen()
    objects["host"].posted.clear()
    objects["host"].sent.clear()
    _come_up()


def _let_it_serve():
    bench_clock.at_look = objects["host"].serve
    bench_clock.looks_take(10)


def _come_up():
    objects["device"] = objects["stack"].device
    host = objects["host"]
    bench_clock.at_look = None
    bench_clock.looks_take(0)
    if objects["device"] is not None:
        host.work()


@offered
def attempt(path, *arguments):
    """[value, None] of a call, or [None, errno] if it raises an OSError."""
    try:
        found = find(path)(*given(path, arguments))
    except OSError as error:
        return [None, error.errno]
    return [found, None]


@offered
def plan(calls):
    """What happens while the program sleeps: a list of calls for each time."""
    for each in calls:
        bench_machine.at_wait.append(_plan(each))


def _plan(calls):
    def happen():
        for path, *arguments in calls:
            find(path)(*arguments)

    return happen


class Interrupt(Exception):
    """Stands in for KeyboardInterrupt."""


@offered
def raise_interrupt():
    """Ctrl-C."""
    raise Interrupt


@offered
def keep(name, path, *arguments):
    """Call something, and keep what it gives under a name."""
    objects[name] = find(path)(*arguments)


@offered
def ring(index, name, *arguments):
    """Call, or ask for, something of the device's end of a queue."""
    found = getattr(objects["transport"].rings[index], name)
    return found(*arguments) if callable(found) else found


@offered
def soft_reset():
    """What Ctrl-D does before memory is freed."""
    for function in bench_machine.at_reset:
        function()


@offered
def open_device():
    """The driver of the device's registers alone (`virtio`), which a test takes step by step."""
    bench_clock.looks_take(1000)
    objects["virtio"] = VirtioDevice(objects["transport"])


@offered
def without_memory(path):
    """Call something while there is no heap left: MicroPython alone can do that."""
    import micropython

    function = find(path)
    micropython.heap_lock()
    try:
        return function()
    finally:
        micropython.heap_unlock()


@offered
def collect_garbage():
    """What nobody holds is gone, and its memory may be another's."""
    import gc

    gc.collect()
    for size in (16, 1024, 70000, 140000):
        bytearray(b"\x33" * size)
