# SPDX-License-Identifier: MIT
"""`vsock.raw()`: packets as they are, for whoever tests a device from a guest.

A script sends any header with any payload in a chain of any shape, and receives every packet that
comes, each by the rules of packet.py: what cannot be one is refused by name. The sockets work on
beside it, but for packets that the script claims.
"""

import time

import errnos
from portable import addressof, const, micropython

from . import pcapng as p
from . import words as w
from .notes import Notes
from .packet import DataTooLong, Packet, PacketError
from .tap import Tap, Watcher

__all__ = ("Packet", "PacketError", "Raw")

_ROOM = const(512 << 10)  # bytes of packets that wait, twice
_LOOKS = const(100)  # for chains that the device has not read when the script ends
_LOOK_US = const(10_000)
_WORD = const(4)  # bytes


class Raw(Watcher):
    """A way to the device beside the sockets; `with` closes it.

    `dropped` counts packets that came while too many waited to be received.
    """

    def __init__(self, stack, ports, alone):
        """`ports`: packets to these are the script's alone; with `alone` all packets are."""
        if stack.device is None:
            raise OSError(errnos.ENODEV, "this machine has no vsock device")
        super().__init__(Notes(_ROOM, w.MAX_DATA))
        self.notes.only_inbound()
        self.cid = stack.cid
        self._stack = stack
        self._ports = ports
        if alone:
            self.claims = self._all
        elif ports:
            self.claims = self._ours
        self._page = memoryview(b"")
        self._tap = stack.tap or Tap(stack)
        self._tap.enrol(self)

    @property
    def dropped(self):
        return self.notes.dropped

    @micropython.native
    def _all(self, header):
        return True

    @micropython.native
    def _ours(self, header):
        return header[w.DST_PORT] in self._ports

    # -- sending ----------------------------------------------------------------------------------

    def make(self, op, dst_port=0, src_port=0, data=b"", **fields):
        """A packet of this guest's to the host, to be sent or changed; `fields` are header fields,
        lies among them."""
        given = {"op": op, "src_cid": self.cid, "dst_cid": w.CID_HOST, "buf_alloc": _ROOM}
        given["src_port"] = src_port
        given["dst_port"] = dst_port
        given.update(fields)
        return Packet(data, **given)

    def send(self, packet, sizes=()):
        """Send a packet, in a chain with buffers of these sizes, the rest in a last one.

        The packet may say what it likes. Raises DataTooLong where `sizes` go beyond it, and what
        `send_chain` does.
        """
        total = w.HEADER_LEN + sum([len(view) for view in packet.data])
        if sum(sizes) > total:
            raise DataTooLong("sizes of %d bytes for %d" % (sum(sizes), total))
        ends = [0]
        for size in sizes:
            ends.append(ends[-1] + size)
        if ends[-1] < total:
            ends.append(total)
        whole = bytearray(total)
        views = [memoryview(whole)[a:b] for a, b in zip(ends, ends[1:])]
        packet.to_tx_chain([(view, False) for view in views])
        at = addressof(whole)
        self._put([(at + a, b - a) for a, b in zip(ends, ends[1:])], (), whole, total)

    def send_chain(self, parts, writable=()):
        """Send bytes as they are: each of `parts` a buffer of the chain, then buffers of the sizes
        in `writable`, which the device may write to, though it should not.

        Waits until the device has taken earlier packets. Raises ValueError where the device takes
        no chain of so many buffers, OSError once it has broken.
        """
        sizes = [len(part) for part in parts]
        whole = bytearray(b"".join(parts) + bytes(sum(writable)))
        at = addressof(whole)
        chain = []
        for size in sizes + list(writable):
            chain.append((at, size))
            at += size
        self._put(chain[: len(sizes)], chain[len(sizes) :], whole, sum(sizes))

    def _put(self, readable, writable, whole, n):
        stack = self._stack
        while True:
            device = stack.device
            if device is None or device.broken is not None:
                raise OSError(errnos.EIO, "the device is gone")
            if stack.out.put_chain(readable, writable, whole, n):
                return
            stack.waiter.wait_sent()

    # -- receiving --------------------------------------------------------------------------------

    def receive(self, timeout=None):
        """The next packet that came to this guest, to whatever port; None after `timeout` seconds.

        Raises the PacketError that says what is wrong with it, where it cannot be a packet.
        """
        start = time.ticks_ms()
        while not len(self._page):
            if self.notes.waiting:
                self._page = memoryview(self.notes.turn())
                break
            left = -1
            if timeout is not None:
                left = int(timeout * 1000) - time.ticks_diff(time.ticks_ms(), start)
                if left <= 0:
                    return None
                left *= 1000
            device = self._stack.device
            if device is None or device.broken is not None:
                raise OSError(errnos.EIO, "the device is gone")
            self._stack.waiter.wait(left)
        return self._next()

    def _next(self):
        """The first packet in the page."""
        page = self._page
        size = _word(page, p.P_LENGTH)
        kept = _word(page, p.P_KEPT)
        whole = _word(page, p.P_WHOLE)
        self._page = page[size:]
        start = _WORD * p.P_RECORD + p.MONITOR_LEN
        record = bytes(page[start : start + kept - p.MONITOR_LEN])
        return Packet.from_used_rx_chain([(record, True)], whole - p.MONITOR_LEN)

    def close(self):
        """The sockets get every packet again."""
        self._tap.dismiss(self)
        stack = self._stack
        for _ in range(_LOOKS):
            if stack.device is None or stack.device.broken is not None or stack.out.chains_done():
                break
            stack.waiter.wait_sent(_LOOK_US)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def _word(page, number):
    at = _WORD * number
    return int.from_bytes(page[at : at + _WORD], "little")
