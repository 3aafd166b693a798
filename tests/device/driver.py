# SPDX-License-Identifier: MIT
"""A guest without a guest: QEMU's part of vhost-user and a vsock driver's, in one object.

It drives `mpfw device` and any other back end, such as vhost-device-vsock, packet by packet. It is
written from the specifications and shares nothing with the device's own code but the layout of a
packet.
"""

import mmap
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path

from mpfw.device.firmware import packet
from mpfw.device.firmware import vsock as w

RX, TX = 0, 1
SIZE = 64  # entries of a queue
MEMORY = 16 << 20
SPLIT = 8 << 20  # where the second region begins, ...
FAR = 1 << 32  # ... which the guest has here, above a hole
USER = 0x7F0000000000  # QEMU's address of the guest's address 0
RINGS = 0x10000  # bytes that a queue's rings have
BUFFER = 69632  # bytes of a buffer
EVENT_IDX, VERSION_1, PROTOCOL = 1 << 29, 1 << 32, 1 << 30
WAIT = 30.0  # s; the machine may be busy

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_NUM, SET_ADDR, SET_BASE, GET_BASE, SET_KICK, SET_CALL = 8, 9, 10, 11, 12, 13
GET_PROTOCOL, SET_PROTOCOL, ENABLE = 15, 16, 18


class NoPacket(AssertionError):
    """The device sent nothing, or not what was to come."""


class Driver:
    """Connect to the back end at `path`; start() brings the queues up.

    `window` is what packets of ours offer as buf_alloc.
    """

    def __init__(self, path: Path, cid: int = 3, event_idx: bool = False, datagrams: bool = False):
        self.cid = cid
        self.datagrams = datagrams
        self.event_idx = event_idx
        self.window = 1 << 18
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT)
        deadline = time.monotonic() + WAIT
        while self.socket.connect_ex(os.fspath(path)):
            assert time.monotonic() < deadline, f"nobody listens at {path}"
            time.sleep(0.01)
        self.file = os.memfd_create("guest")
        os.ftruncate(self.file, MEMORY)
        self.memory = mmap.mmap(self.file, MEMORY)
        self.view = memoryview(self.memory)
        self.queues = [Queue(self, RX), Queue(self, TX)]

    def close(self) -> None:
        self.socket.close()
        os.close(self.file)
        for queue in self.queues:
            os.close(queue.kick)
            os.close(queue.call)

    # -- vhost-user -------------------------------------------------------------------------------

    def say(self, request: int, payload: bytes = b"", fds: tuple[int, ...] = ()) -> None:
        head = struct.pack("<III", request, 1, len(payload))
        socket.send_fds(self.socket, [head + payload], list(fds))

    def ask(self, request: int, payload: bytes = b"") -> bytes:
        self.say(request, payload)
        head = self._receive(12)
        return self._receive(struct.unpack("<III", head)[2])

    def _receive(self, n: int) -> bytes:
        data = b""
        while len(data) < n:
            more = self.socket.recv(n - len(data))
            assert more, "the back end hung up"
            data += more
        return data

    def start(self, bases: tuple[int, int] = (0, 0)) -> "Driver":
        """Negotiate, share the memory, start both queues, post receive buffers."""
        (offered,) = struct.unpack("<Q", self.ask(GET_FEATURES))
        (protocol,) = struct.unpack("<Q", self.ask(GET_PROTOCOL))
        self.offered = offered
        self.say(SET_PROTOCOL, struct.pack("<Q", protocol & 1 << 3))
        self.say(SET_OWNER)
        self.say(SET_FEATURES, struct.pack("<Q", self._wanted() & offered))
        self.share()
        for queue, base in zip(self.queues, bases, strict=True):
            queue.start(base)
        self.ask(GET_FEATURES)  # all of it is done when this is answered
        if not any(bases):
            for number in range(SIZE):
                self.post(number)
            self.queues[RX].notify()
        return self

    def _wanted(self) -> int:
        kinds = w.F_SEQPACKET | (w.F_DGRAM if self.datagrams else 0)
        return VERSION_1 | PROTOCOL | kinds | (EVENT_IDX if self.event_idx else 0)

    def share(self) -> None:
        """Tell where the memory is: two regions."""
        regions = struct.pack("<4Q", 0, SPLIT, USER, 0)
        regions += struct.pack("<4Q", FAR, MEMORY - SPLIT, USER + FAR, SPLIT)
        self.say(SET_MEM_TABLE, struct.pack("<II", 2, 0) + regions, (self.file, self.file))

    def stop(self) -> tuple[int, int]:
        """Stop both queues, as QEMU does for `stop`; what start() needs to go on."""
        rx, tx = (self.ask(GET_BASE, struct.pack("<II", index, 0)) for index in (RX, TX))
        return struct.unpack("<II", rx)[1], struct.unpack("<II", tx)[1]

    # -- packets ----------------------------------------------------------------------------------

    def post(self, number: int) -> None:
        """A receive buffer for the device."""
        self.queues[RX].offer(number, w.HEADER_LEN + w.MAX_DATA, 2)

    def send(self, op: int, src: int, dst: int, data: bytes = b"", **fields: int) -> None:
        """Send one packet to CID 2; `fields` as Packet has them."""
        given = {"src_cid": self.cid, "dst_cid": 2, "src_port": src, "dst_port": dst, "op": op}
        given["buf_alloc"] = self.window
        made = packet.Packet(data, **given | fields)
        self.send_raw(bytes(made.header) + data)

    def send_raw(self, whole: bytes) -> None:
        """Send these bytes in one descriptor."""
        queue = self.queues[TX]
        number = queue.take_free()
        at = queue.buffer(number)
        self.view[at : at + len(whole)] = whole
        queue.offer(number, len(whole), 0)
        queue.notify()

    def receive(self, timeout: float = WAIT):
        """The next packet; its payload copied to `body`. Raises NoPacket."""
        queue = self.queues[RX]
        number, n = queue.wait_used(timeout)
        at = queue.buffer(number)
        whole = bytes(self.view[at : at + n])
        made = packet.Packet()
        made.header[:] = whole[: w.HEADER_LEN]
        made.body = whole[w.HEADER_LEN :]
        assert len(made.body) == made.len, made
        self.post(number)
        queue.notify()
        return made

    def expect(self, op: int, timeout: float = WAIT):
        """The next packet but for news of credit, which must have this op."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.receive(max(0.0, deadline - time.monotonic()))
            if found.op == op:
                return found
            if found.op not in (w.OP_CREDIT_UPDATE, w.OP_CREDIT_REQUEST):
                raise NoPacket(f"{found} in place of op {op}")

    def quiet(self, seconds: float = 0.3) -> None:
        """Nothing comes but news of credit."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found = self.receive(deadline - time.monotonic())
            except NoPacket:
                return
            assert found.op in (w.OP_CREDIT_UPDATE, w.OP_CREDIT_REQUEST), found


class Queue:
    """One split virtqueue, the driver's side."""

    def __init__(self, driver: Driver, index: int):
        self.driver = driver
        self.index = index
        self.at = SPLIT + RINGS * index  # in the second region: rings have QEMU's addresses
        self.desc, self.avail, self.used = self.at, self.at + 0x2000, self.at + 0x4000
        memory = driver.view
        self.avail_words = memory[self.avail : self.avail + 2 * (3 + SIZE)].cast("H")
        self.used_words = memory[self.used : self.used + 2 * (3 + 4 * SIZE)].cast("H")
        self.entries = memory[self.used + 4 : self.used + 4 + 8 * SIZE].cast("I")
        self.kick = os.eventfd(0, os.EFD_NONBLOCK)
        self.call = os.eventfd(0, os.EFD_NONBLOCK)
        self.posted = self.shown = self.seen = 0
        self.free = list(range(SIZE))
        self.poller = select.poll()
        self.poller.register(self.call, select.POLLIN)
        self.notifications = self.waits = 0
        self.lock = threading.Lock()

    def buffer(self, number: int) -> int:
        """Where a buffer lies in the file; the transmit queue's are in the second region."""
        if self.index == RX:
            return (number + 1) * BUFFER
        return SPLIT + 2 * RINGS + number * BUFFER

    def address(self, number: int) -> int:
        at = self.buffer(number)
        return at if at < SPLIT else at - SPLIT + FAR

    def start(self, base: int) -> None:
        say, user = self.driver.say, USER + FAR - SPLIT
        say(SET_NUM, struct.pack("<II", self.index, SIZE))
        say(SET_BASE, struct.pack("<II", self.index, base))
        where = (user + self.desc, user + self.used, user + self.avail, 0)
        say(SET_ADDR, struct.pack("<II4Q", self.index, 0, *where))
        say(SET_CALL, struct.pack("<Q", self.index), (self.call,))
        say(SET_KICK, struct.pack("<Q", self.index), (self.kick,))
        say(ENABLE, struct.pack("<II", self.index, 1))

    def offer(self, number: int, length: int, flags: int) -> None:
        self.describe(number, self.address(number), length, flags)
        self.avail_words[2 + self.posted % SIZE] = number
        self.posted = self.posted + 1 & 0xFFFF
        self.avail_words[1] = self.posted

    def describe(self, number: int, address: int, length: int, flags: int, after: int = 0) -> None:
        at = self.desc + 16 * number
        self.driver.view[at : at + 16] = struct.pack("<QIHH", address, length, flags, after)

    def notify(self) -> None:
        """Kick the device if it wants that."""
        self.fence()
        old, self.shown = self.shown, self.posted
        if self.driver.event_idx:
            event = self.used_words[2 + 4 * SIZE]
            if (self.posted - event - 1) & 0xFFFF >= (self.posted - old) & 0xFFFF:
                return
        self.notifications += 1
        os.eventfd_write(self.kick, 1)

    def fence(self) -> None:
        with self.lock:
            pass

    def wait_used(self, timeout: float) -> tuple[int, int]:
        """The next used entry: its buffer and length. Raises NoPacket."""
        deadline = time.monotonic() + timeout
        while True:
            if self.used_words[1] != self.seen:
                return self._entry()
            if self.driver.event_idx:
                self.avail_words[2 + SIZE] = self.seen
                self.fence()
                if self.used_words[1] != self.seen:
                    continue
            self.waits += 1
            left = deadline - time.monotonic()
            if left <= 0 or not self.poller.poll(left * 1000):
                raise NoPacket(f"no packet in {timeout} s")
            os.eventfd_read(self.call)

    def _entry(self) -> tuple[int, int]:
        at = 2 * (self.seen % SIZE)
        self.seen = self.seen + 1 & 0xFFFF
        return self.entries[at], self.entries[at + 1]

    def take_free(self) -> int:
        """A buffer that the device does not have."""
        while self.used_words[1] != self.seen:
            self.free.append(self._entry()[0])
        while not self.free:
            self.free.append(self.wait_used(WAIT)[0])
        return self.free.pop()
