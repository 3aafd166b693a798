# SPDX-License-Identifier: MIT
"""How a program waits for its sockets: it spins a little, then sleeps until an interrupt.

This is bytecode, and the only place of the package where Ctrl-C or a scheduled handler can cut in.
"""

import time

import machine
from portable import const, micropython

from . import words as w

_SPIN_MOST = const(300)  # us; an answer from the host takes about 50, waking from hlt 100 more
# The longest sleep without a look: nested hypervisors lose an interrupt at times.
_LOOK_US = const(500000)


def deadline(seconds):
    """The moment `seconds` from now, for `left`; None never comes."""
    if seconds is None:
        return None
    return time.ticks_add(time.ticks_us(), int(seconds * 1000000))


def left(moment):
    """Microseconds until that moment, at least 0; -1: for ever."""
    if moment is None:
        return -1
    return max(0, time.ticks_diff(moment, time.ticks_us()))


class Waiter:
    """Waits for anything to happen on a stack.

    It spins before it sleeps, as long as waits have been short lately: waking from hlt costs more
    than most answers take. Measured under TCG: a 64-byte round trip takes 180 us without the spin.
    """

    def __init__(self, stack):
        self._stack = stack
        self._spin = _SPIN_MOST  # us

    @micropython.native
    def spin(self):
        """Wait a moment for packets; true if any came."""
        device = self._stack.device
        return device is not None and device.poll(self._spin)

    def wait(self, left=-1, reader=None):
        """Return when something may have happened, or `left` microseconds have passed.

        `reader` is the Connection that the program waits to read from, if it does.
        May return early: look at your condition again. Raises KeyboardInterrupt on Ctrl-C.
        """
        if left == 0:
            if self._stack.device is not None:
                self._stack.device.poll()
            return
        if self.spin():
            return
        if reader is not None:
            reader.tell()
        start = time.ticks_us()
        self._sleep(left)
        if time.ticks_us() - start < _SPIN_MOST:
            self._spin = _SPIN_MOST  # a spin would have caught it
        elif self._spin > 1:
            self._spin >>= 1

    def wait_sent(self, left=-1):
        """The same, also for the device giving back what it was sent."""
        device = self._stack.device
        if device is None or device.broken is not None:
            return
        if self._reap() or device.sending_done() or device.attend():
            return
        self._sleep(left)

    @micropython.native
    def _reap(self):
        """Spin until the device gives packets back; True if it did."""
        device = self._stack.device
        start = time.ticks_us()
        while True:
            if device.reap():
                return True
            if device.poll():
                return True
            if time.ticks_us() - start >= _SPIN_MOST:
                return False

    @micropython.native
    def tend(self):
        """End what is over, and have whatever wait comes next end in time for the rest.

        Also for waits that are not this module's: select.poll and asyncio sleep in the port.
        """
        stack = self._stack
        expiry = stack.next_expiry()
        if expiry == 0:
            stack.expire()
            expiry = stack.next_expiry()
        if expiry is not None:
            machine.alarm(expiry * 1000)

    def _sleep(self, left):
        if self._stack.lingering or self._stack.late:
            self.tend()
        device = self._stack.device
        if device is not None and not device.interrupts:
            device.look()
            if left < 0 or left > w.POLL_US:
                left = w.POLL_US
        if left < 0 or left > _LOOK_US:
            left = _LOOK_US
        start = time.ticks_us()
        machine.wait(left)
        if device is not None and time.ticks_diff(time.ticks_us(), start) >= _LOOK_US:
            device.look()
