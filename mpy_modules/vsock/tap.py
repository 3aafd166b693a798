# SPDX-License-Identifier: MIT
"""Sees every packet of a Stack, those of its loopback too, while somebody wants that.

Then the methods through which packets pass are these here, each of which calls the one in whose
place it stands; else they are the usual ones, and nothing anywhere asks whether there is a Tap.
What is received is seen on its way in, in the driver's own copy of the header, which then goes on;
what is sent as the queue takes it.
"""

import time
from array import array

from portable import addressof, copy, micropython

from . import pcapng as p
from . import words as w
from .loopback import Loopback
from .notes import note
from .transmit import Transmitter


class Watcher:
    """Who sees packets: `notes` takes them, `news()` is called once the page has some.

    `claims(header)`, if it is not None, says of a packet that came whether it is the watcher's
    alone: it goes no further then. Both are native code.
    """

    def __init__(self, notes):
        self.notes = notes
        self.claims = None

    def news(self, end):
        """There are notes, `end` words of them."""


class Tap:
    """The one of a Stack, which has it as `tap`."""

    def __init__(self, stack):
        self._stack = stack
        self._watchers = []
        self._header = array("I", bytes(w.HEADER_LEN))
        self._at = addressof(self._header)
        self._device = self._out = self._loopback = None
        self._lent = False

    def enrol(self, watcher):
        """From now on a Watcher sees every packet."""
        if not self._watchers:
            stack = self._stack
            stack.tap = self
            self._loopback = stack.loopback
            self._loopback.copy = self._local
            if stack.device is not None:
                self.follow(stack.device)
        self._watchers = self._watchers + [watcher]

    def dismiss(self, watcher):
        """It sees no more; does nothing the second time."""
        if watcher not in self._watchers:
            return
        self._watchers = [each for each in self._watchers if each is not watcher]
        if self._watchers:
            return
        self._stack.tap = None
        del self._loopback.copy
        self._part()

    def follow(self, device):
        """The Stack's device is this one from now on."""
        self._part()
        self._device = device
        self._out = out = device.out
        device.watch(self)
        for name, method in self._methods():
            setattr(out, name, method)

    def _part(self):
        if self._device is not None:
            self._device.watch(None)
            for name, _ in self._methods():
                delattr(self._out, name)
            self._device = self._out = None

    def _methods(self):
        return (
            ("copy", self._copy),
            ("small", self._small),
            ("put", self._put),
            ("put_segment", self._put_segment),
            ("put_chain", self._put_chain),
        )

    @micropython.native
    def _note(self, header, head, data, n, way):
        when = time.time_ns()
        for watcher in self._watchers:
            end = note(watcher.notes.at, header, head, data, n, way, when)
            if end:
                watcher.news(end)

    @micropython.native
    def _take_header(self, place, n):
        """Copy the header of a packet of `n` bytes at `place`, zeros behind it if it is cut
        short; how many bytes of it there are."""
        head = n
        if n >= w.HEADER_LEN:
            head = w.HEADER_LEN
        else:
            header = self._header
            for i in range(w.HEADER_WORDS):
                header[i] = 0
        copy(self._at, 0, place, 0, head)
        return head

    # -- received ---------------------------------------------------------------------------------

    @micropython.native
    def received(self, receiver, place, n, seg):
        """As Receiver.packet, for a packet of `n` bytes at `place` in a receive buffer."""
        head = self._take_header(place, n)
        at = self._at
        data = place + w.HEADER_LEN
        self._note(at, head, data, n - head, p.INBOUND)
        if head == w.HEADER_LEN:
            for watcher in self._watchers:
                if watcher.claims is not None and watcher.claims(self._header):
                    return seg
        return receiver.packet(receiver.at, at, data, n, seg)

    # -- sent: each as Transmitter's of the same name ---------------------------------------------

    @micropython.native
    def _copy(self, at, data, n):
        self._note(at, w.HEADER_LEN, data, n, p.OUTBOUND)
        Transmitter.copy(self._out, at, data, n)

    @micropython.native
    def _small(self, at, data, n, flags):
        sent = Transmitter.small(self._out, at, data, n, flags)
        if sent:
            self._note(at, w.HEADER_LEN, data, n, p.OUTBOUND)
        return sent

    @micropython.native
    def _put(self, conn, data, n, buffer, flags, changes, last):
        self._lent = False
        sent = Transmitter.put(self._out, conn, data, n, buffer, flags, changes, last)
        # What was copied, or went as a segment, was seen by the two others.
        if sent > w.INLINE and not self._lent:
            self._note(conn.at, w.HEADER_LEN, data, sent, p.OUTBOUND)
        return sent

    @micropython.native
    def _put_segment(self, at, seg, n, flags, last):
        data = self._stack.store.unread(seg)
        sent = Transmitter.put_segment(self._out, at, seg, n, flags, last)
        if sent and n > w.INLINE:
            self._lent = True
            self._note(at, w.HEADER_LEN, data, n, p.OUTBOUND)
        return sent

    @micropython.native
    def _put_chain(self, readable, writable, whole, n):
        sent = Transmitter.put_chain(self._out, readable, writable, whole, n)
        if sent:
            at = addressof(whole)
            head = self._take_header(at, n)
            self._note(self._at, head, at + head, n - head, p.OUTBOUND)
        return sent

    @micropython.native
    def _local(self, at, data, n):
        """As Loopback.copy: a packet that leaves and comes in one."""
        self._note(at, w.HEADER_LEN, data, n, p.OUTBOUND)
        Loopback.copy(self._loopback, at, data, n)
