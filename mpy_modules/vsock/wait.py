# SPDX-License-Identifier: MIT
"""How a program waits for its sockets: it spins if that pays, then sleeps until an interrupt.

This is bytecode, and the only place of the package where Ctrl-C or a scheduled handler can cut in.
"""

import time

import machine
from portable import const, micropython

from . import words as w
from .patience import MOST, Patience

READING = const(0)  # kinds of waits: for what a peer does
SENDING = const(1)  # for credit
RETURN = const(2)  # for the device giving back what it was sent
_NO_KIND = const(-1)
# The longest sleep without a look. Nested hypervisors lose an interrupt at times, and without it
# guests whose device began late have slept on here, too: why is not known.
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
    """Waits for anything to happen on a stack; patience.py says how long it spins at first.

    Measured under TCG: a 64-byte round trip takes 180 us without the spin, 60 with it.
    """

    def __init__(self, stack):
        self._stack = stack
        self._patience = [Patience(), Patience(), Patience()]  # by kinds of waits
        self._spun = _NO_KIND  # the kind of wait that has spun last, in vain,
        self._spun_at = 0  # and until when

    @micropython.native
    def spin(self, kind=READING):
        """Wait a moment for packets; true if any came.

        A `wait` of that kind right behind it does not spin again.
        """
        device = self._stack.device
        if device is None:
            return False
        patience = self._patience[kind]
        sure = patience.sure
        start = 0 if sure else time.ticks_us()
        if device.poll(patience.spin):
            if not sure:
                patience.found(time.ticks_us() - start)
            self._spun = _NO_KIND
            return True
        self._spun = kind
        self._spun_at = time.ticks_us()
        return False

    def wait(self, left=-1, reader=None, kind=READING):
        """Return when something may have happened, or `left` microseconds have passed.

        `reader` is the Connection that the program waits to read from, if it does.
        May return early: look at your condition again. Raises KeyboardInterrupt on Ctrl-C.
        """
        spun, self._spun = self._spun, _NO_KIND
        if left == 0:
            if self._stack.device is not None:
                self._stack.device.poll()
            return
        # A spin long ago was for something else: what this one's sleep says is not about it.
        if spun != kind or time.ticks_diff(time.ticks_us(), self._spun_at) > MOST:
            if self.spin(kind):
                return
            self._spun = _NO_KIND
        if reader is not None:
            reader.tell()
        self._doze(left, kind)

    def wait_sent(self, left=-1):
        """The same, also for the device giving back what it was sent."""
        self._spun = _NO_KIND
        device = self._stack.device
        if device is None or device.broken is not None:
            return
        if self._reap() or device.sending_done() or device.attend():
            return
        self._doze(left, RETURN)

    @micropython.native
    def _reap(self):
        """Spin until the device gives packets back; True if it did."""
        device = self._stack.device
        patience = self._patience[RETURN]
        start = time.ticks_us()
        while True:
            if device.reap() or device.poll():
                if not patience.sure:
                    patience.found(time.ticks_us() - start)
                return True
            if time.ticks_us() - start >= patience.spin:
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

    def _doze(self, left, kind):
        """Sleep behind a spin in vain, and learn from it."""
        start = time.ticks_us()
        self._sleep(left)
        us = time.ticks_us() - start
        if us >= MOST or not 0 <= left <= us:  # else it was over for no news
            self._patience[kind].slept(us)

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
