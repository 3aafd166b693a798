# SPDX-License-Identifier: MIT
"""How long to look for news before one sleeps: as long as it has paid lately.

Waking from a sleep takes longer than most answers do, so it pays to look for a while (spin). But
where whoever is to answer needs the processor that we spin on, there is no answer before we sleep.
That can be told: a spin found nothing, and the sleep behind it was over soon. Spins are short
then, and a long one is tried now and then; the more seldom, the more tries have failed. A peer
that is merely slow does not look like that: the sleep goes on long after the spin, and each such
sleep halves the next spin, until an answer comes soon again.

Waits of one kind differ: within a connection a server's are short, the one for the next is not.
So what long spins found, and short ones would not have, excuses one in vain for every PER_MISS.

    what happens                             the next spin          tries of MOST are
    a spin finds news                        MOST, after some       twice as often, after some
    a spin of more than SHORT in vain,       SHORT                  half as often
        news soon behind it
    the same, excused                        MOST                   as they were
    a shorter one in vain, news soon         SHORT; MOST: a try     as they were
    a spin in vain, news much later          half as long           as they were

So a wait for an answer that spinning holds up wastes SHORT us, and in the end one in RAREST, a
try, MOST: 75 us each on average; EXCUSES / PER_MISS waits at first waste MOST. Where it pays it
wastes at most MOST / (PER_MISS + 1) us each on average. `2 * RAREST` waits at most on a machine
that has become quiet pass before each spins again as long as it takes; after fewer failures, as
many as there were. A wait for a peer that is slow wastes MOST us, the next half of that.
"""

from portable import const, micropython

# us. An answer from the host takes about 50, waking from hlt 100 more; but a client that ends, or
# has only begun, takes 140 to 400: with 300, connections were a tenth slower at times.
MOST = const(600)
SHORT = const(70)  # us; on one processor for all longer ones cost connections more than they save
LEAST = const(1)  # us: one look at the ring, for at least ten microseconds
RAREST = const(128)  # waits from one try to the next, at most
PER_MISS = const(2)  # spins that only a long one could win, for one in vain
EXCUSES = const(4)  # of those, remembered at most
ROW = const(16)  # spins that have paid, one after the other: as good as all of those


class Patience:
    """What one kind of wait has learned. `spin` is how long the next one spins, in microseconds.

    Tell it what came of that: `found(us)` if it found news after so long (not needed while
    `sure`), otherwise `slept(us)`, how long the sleep behind it was.
    """

    def __init__(self):
        self.spin = MOST
        self.sure = True  # spins pay, each time
        self._every = 1  # waits from one try to the next
        self._left = 0  # waits until then
        self._row = 0  # spins that have paid since one was not excused
        self._excuses = EXCUSES

    @micropython.native
    def found(self, us):
        """The spin found news after `us` microseconds."""
        if us > SHORT and self._excuses < EXCUSES:
            self._excuses += 1
        self._row += 1
        if self._row < self._every:
            return
        self.spin = MOST
        if self._every > 1:
            self._row = 0
            self._every >>= 1
        elif self._excuses == EXCUSES or self._row >= ROW:
            self._excuses = EXCUSES
            self._row = 0
            self.sure = True

    @micropython.native
    def slept(self, us):
        """There was no news within the spin, but `us` microseconds after it."""
        self.sure = False
        if SHORT < self.spin and us < MOST and self._excuses >= PER_MISS:
            self._excuses -= PER_MISS
            self.spin = MOST
            return
        self._row = 0
        if us >= MOST:
            if self.spin > LEAST:
                self.spin >>= 1
        elif self.spin > SHORT:
            self.spin = SHORT
            if self._every < RAREST:
                self._every <<= 1
            self._left = self._every
        else:
            self._left -= 1
            self.spin = SHORT if self._left > 0 else MOST
