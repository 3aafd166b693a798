# SPDX-License-Identifier: MIT
"""Sockets that are served while another program runs: between its bytecodes, and while it waits.

What a Background calls runs as an interrupt handler does, so it never waits: its sockets are
non-blocking.
"""

import machine
from portable import const, micropython

from .ready import Ready

_LOOK_US = const(10000)  # how often a device without interrupts is looked at


class Background(Ready):
    """A set of sockets; `serve(sock)` is called for each that has news, as Ready tells them.

    `serve(None)` is called once for any number of `trigger()` before it, and when the time of
    `after(us)` has come. What `serve` raises is printed and ends nothing.
    """

    def __init__(self, stack, serve):
        super().__init__(stack)
        self._serve = serve
        self._called = False
        self.vector = machine.Vector()
        self.vector.irq(self._run)
        self._clock = machine.Vector()
        self._clock.irq(self._tick)
        self._look = None
        device = stack.device
        if device is not None and not device.interrupts:
            self._look = machine.Vector()
            self._look.irq(self._poll)
            self._poll(self._look)

    @micropython.native
    def add(self, end):
        """Called by the stack: news for this connection or listener."""
        super().add(end)
        self.vector.trigger()

    def trigger(self):
        """Have `serve(None)` called soon."""
        self._called = True
        self.vector.trigger()

    def after(self, us):
        """Have `serve(None)` called in so many microseconds; negative: not."""
        self._clock.after(us)

    def close(self):
        """Serve nothing any more."""
        self.vector.close()
        self._clock.close()
        if self._look is not None:
            self._look.close()
        self._serve = None

    def _tick(self, vector):
        self._serve(None)

    def _run(self, vector):
        if self._called:
            self._called = False
            self._serve(None)
        while self._serve is not None:
            sock = self.next()
            if sock is None:
                break
            self._serve(sock)

    def _poll(self, vector):
        device = self._stack.device
        if device is not None:
            device.look()
            vector.after(_LOOK_US)
