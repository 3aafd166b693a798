# SPDX-License-Identifier: MIT
"""Who looks whether the device has packets: an interrupt, the program that waits, or a timer.

An interrupt for each packet took a tenth of the throughput; so interrupts stay off as long as
packets keep coming while a program waits for them, as with Linux's NAPI. A program that then turns
to something else must not leave its peers alone: a timer looks whether it still polls.

The state is one of

    ARMED   the device interrupts with the next packet
    POLLED  interrupts are off: a program polls, and the timer will look whether it still does
    CLOSED  the queue is no more

    state   what happens                                   next    what is done
    any     a program polls and finds nothing in time      ARMED   interrupts on
    ARMED   a program polls and finds packets              POLLED  the timer is set
    POLLED  a program polls and finds packets              POLLED  they are counted
    POLLED  the timer; packets were counted since          POLLED  the count is 0, the timer is set
    POLLED  the timer; none were                           ARMED   interrupts on, and a look
    any     an interrupt; a program waits in its own way   ARMED   interrupts on, and a look
    ARMED   packets without an end, for a while            POLLED  the timer is set

The timer takes twice as long, to a limit, once packets were counted, and as long as at first once
none were: each of its looks holds a packet up, and a program that has polled for a while polls on.

Without interrupts (no MSI-X) ARMED is all there is: whoever waits must look now and then.
"""

import time
from array import array

import machine
from inline import inline
from portable import addressof, const, micropython, ptr32
from virtio import queue as ring

from . import words as w

_IDLE_US = const(2000)  # a program that polls does so more often than that
_IDLE_MOST_US = const(16000)  # p99 of round trips was a quarter worse with 2,000 all the time
_LOOKS = const(1000)  # at the ring between looks at the clock: about ten microseconds under TCG
# A look that finds more packets goes on, so many times and so long. They must not keep programs
# from going on, nor Ctrl-C out, which is looked for in bytecode only: on a busy machine 1,000
# connections came within one interrupt, more than may wait for accept().
_ROUNDS = const(16)
_LONGEST_US = const(1000)


class Attention:
    """Looks after one receive queue; `take()` takes what packets there are, and tells how many.

    `interrupts` is False where the device has none. `words` hold its state, `at` is their address.
    """

    def __init__(self, queue, take):
        self._queue = queue
        self._take = take
        self.words = array("I", bytes(4 * w.ATT_WORDS))
        self.at = addressof(self.words)
        self.interrupts = queue.vector is not None
        self._timer = None
        self._idle = _IDLE_US
        if self.interrupts:
            self._timer = machine.Vector()
            self._timer.irq(self._look)

    @micropython.native
    def close(self):
        """The queue is no more."""
        self.words[w.ATT_STATE] = w.ATT_CLOSED
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    @micropython.native
    def keep_polling(self):
        """Packets come while a program waits for them: it will look again soon, we guess."""
        if not self.interrupts:
            self._queue.enable_interrupts()
            return
        self.words[w.ATT_STATE] = w.ATT_POLLED
        self._set_timer()

    @micropython.native
    def _set_timer(self):
        words = self.words
        if not words[w.ATT_TIMED] and self._timer is not None:
            words[w.ATT_TIMED] = 1
            self._timer.after(self._idle)

    @micropython.native
    def _look(self, vector):
        """The timer: has a program polled since the last time?"""
        words = self.words
        words[w.ATT_TIMED] = 0
        polls = words[w.ATT_STATE] == w.ATT_POLLED
        if words[w.ATT_TAKEN]:
            words[w.ATT_TAKEN] = 0
            if self._idle < _IDLE_MOST_US:
                self._idle *= 2
            if polls:
                self._set_timer()
        else:
            self._idle = _IDLE_US
            if polls:
                self.arm()

    @micropython.native
    def arm(self):
        """Interrupts on; True if packets came meanwhile, which are now taken."""
        words = self.words
        if words[w.ATT_STATE] == w.ATT_POLLED:
            words[w.ATT_STATE] = w.ATT_ARMED
        news = False
        start = 0
        for _ in range(_ROUNDS):
            if words[w.ATT_STATE] == w.ATT_CLOSED or not self._queue.enable_interrupts():
                return news
            if not news:
                news = True
                start = time.ticks_us()
            if not self._take():
                return True
            if time.ticks_us() - start > _LONGEST_US:
                break
        self.keep_polling()
        return True

    @micropython.native
    def attend(self):
        """A program is about to wait in a way of its own (select): interrupts must be on.

        True if packets came, which are now taken.
        """
        if not self.interrupts:
            return self._take() > 0
        return self.words[w.ATT_STATE] == w.ATT_POLLED and self.arm()


@inline
@micropython.viper
def polled(at: int, taken: int) -> int:
    """A program polled and found so many packets; with none, interrupts are on already.

    1: it is for `keep_polling` to go on from ARMED.
    """
    a = ptr32(at)
    if a[w.ATT_STATE] == w.ATT_CLOSED:
        return 0
    if taken == 0:
        a[w.ATT_STATE] = w.ATT_ARMED
        return 0
    a[w.ATT_TAKEN] = a[w.ATT_TAKEN] + taken
    return w.ATT_POLLED - a[w.ATT_STATE]


@micropython.viper
def spin(state: int, micros: int, now):
    """Look for a packet in a queue for that long, without interrupts; `now` is the clock."""
    look = ring.spin
    if look(state, 1):
        return
    ring.disable_interrupts(state)
    start = int(now())
    while not look(state, _LOOKS):
        if int(now()) - start >= micros:
            break
