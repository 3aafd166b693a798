# SPDX-License-Identifier: MIT
"""What peers can make this guest keep: how many connections, and which window each is promised.

A window is a promise: there are blocks in the store for all of it before the peer hears of it, so
that no connection within its credit ever ends for lack of memory. One block is set aside for each
connection that may still come, the others are the pool. The first connections get from it what
they ask for; once little is left, a new one gets a share of that, and at last LEAST alone, or RST.
What windows grow by comes from what is left over. docs/security.md has the numbers.
"""

from inline import inline
from portable import const, micropython, ptr32

from . import credit
from . import words as w

LEAST = const(1)  # blocks, for a window of 4 KiB
_SHARE = const(3)  # a shift: nobody gets more than an eighth of what is left
_USUAL = const(262144)  # bytes; windows that had to begin smaller widen up to here first


class Budget:
    """The limits of one stack. A connection's own promise is PLEDGE, blocks, in its words."""

    def __init__(self, store):
        self._store = store
        self._words = store.at
        self.short = False  # a stuck peer got no larger window; cleared by who sees to that
        total = store.total
        self.connections = total // 3  # in the table
        self.pending = max(1, self.connections >> 1)  # that one listener has not accepted
        self.lingering = max(1, self.connections >> 2)  # closed, waiting for their peers
        store.set_aside(self.connections * LEAST)
        # Windows of those that only read a lot leave half of the pool to peers that are stuck, and
        # these leave an eighth of it to those that come.
        self._half = (total - store.promised - self.connections * LEAST) >> 1

    @micropython.viper
    def below(self, percent: int) -> bool:
        """Whether less than so much of the pool is left over."""
        s = ptr32(self._store.at)
        left = s[w.STORE_TOTAL] - s[w.STORE_PROMISED] - s[w.STORE_RESERVED]
        return left * 50 < int(self._half) * percent

    @micropython.viper
    def begin(self, at: int) -> int:
        """Promise a new connection the window that its BUF_ALLOC asks for, or a smaller one.

        0: there is no memory even for the least.
        """
        c = ptr32(at)
        s = ptr32(self._words)
        if int(_promise(self, s, LEAST)) == 0:
            return 0
        s[w.STORE_RESERVED] = s[w.STORE_RESERVED] - LEAST
        c[w.PLEDGE] = LEAST
        wanted = c[w.BUF_ALLOC]
        if wanted > w.BLOCK:
            window = w.BLOCK + int(_more(self, s, c, wanted - w.BLOCK, 0))
            if window < wanted:
                c[w.BUF_ALLOC] = window
                c[w.BASE] = window
                c[w.EDGE] = window
        return 1

    @micropython.viper
    def grow(self, at: int, limit: int):
        """A larger window, up to `limit`, for a peer that is stuck: it may write before it reads.

        What earlier growth holds back comes first.
        """
        if int(credit.release_reserve(at)) == 0 and ptr32(at)[w.BUF_ALLOC] + w.STEP <= limit:
            step = int(self.more(at, w.STEP, int(self._half) >> 2))
            if step != 0:
                credit.grow(at, step)
            else:
                self.short = True

    @micropython.viper
    def widen(self, at: int):
        """A larger window for a program that reads fast, lest the peer wait for each update.

        With vhost-device-vsock 1 MiB gives 1.5 times the throughput of the 256 KiB that Linux has.
        """
        step = _USUAL - ptr32(at)[w.BASE]
        leave = 0
        if step <= 0:
            step = w.STEP
            leave = int(self._half)
        step = int(self.more(at, step, leave))
        if step != 0:
            credit.widen(at, step)

    def resize(self, conn, size):
        """The window that a program gets which wants `size`: that, or a smaller one."""
        more = size - self._window(conn.block)
        if more > 0:
            self.more(conn.at, more, 0)
        return min(size, self._window(conn.block))

    @staticmethod
    def _window(block):
        """The largest window for which a connection's blocks are enough."""
        n = block[w.PLEDGE]
        if block[w.BORDERS]:
            n >>= 1
        return max(1, n - 1) << w.BLOCK_SHIFT

    @micropython.viper
    def more(self, at: int, step: int, leave: int) -> int:
        """Promise up to `step` bytes more, if more than `leave` blocks are left over; how many."""
        return int(_more(self, ptr32(self._words), ptr32(at), step, leave))

    @micropython.viper
    def left_table(self, at: int):
        """The connection is in the table no more: its memory is free but for what is unread."""
        c = ptr32(at)
        queued = (c[w.RX_CNT] - c[w.READ_CNT]) & c[w.ONES]
        keep = 0
        if queued != 0:
            keep = (queued >> w.BLOCK_SHIFT) + 2
            if c[w.BORDERS] != 0:
                keep = c[w.PLEDGE]
        s = ptr32(self._words)
        _closed(s, c, keep)
        s[w.STORE_RESERVED] = s[w.STORE_RESERVED] + LEAST

    @micropython.viper
    def closed(self, at: int, keep: int):
        """Of what a connection was promised it needs `keep` blocks from now on, at most."""
        _closed(ptr32(self._words), ptr32(at), keep)


@inline
@micropython.viper
def _promise(budget, s: ptr32, blocks: int) -> int:
    """Store.promise without a call where that is easy."""
    need = s[w.STORE_PROMISED] + blocks
    if need > s[w.STORE_MADE]:
        return int(budget._store.promise(blocks))
    s[w.STORE_PROMISED] = need
    return 1


@inline
@micropython.viper
def _closed(s: ptr32, c: ptr32, keep: int):
    n = c[w.PLEDGE]
    if n > keep:
        s[w.STORE_PROMISED] = s[w.STORE_PROMISED] - (n - keep)
        c[w.PLEDGE] = keep


@inline
@micropython.viper
def _more(budget, s: ptr32, c: ptr32, step: int, leave: int) -> int:
    """Budget.more without a call: of the connection at `c`."""
    left = s[w.STORE_TOTAL] - s[w.STORE_PROMISED] - s[w.STORE_RESERVED]
    most = left >> _SHARE
    borders = c[w.BORDERS]
    if borders != 0:
        most >>= 1
    n = (step + w.BLOCK - 1) >> w.BLOCK_SHIFT
    if n > most:
        n = most
    if n <= 0 or left <= leave:
        return 0
    # Wherever in a block they begin, so many bytes fill one block more, and the least window
    # is packed into one. Messages share no blocks: they count as 2 KiB each.
    need = n
    if c[w.PLEDGE] == LEAST:
        need += 1
    if borders != 0:
        need += n + (need - n) * 2
    if int(_promise(budget, s, need)) == 0:
        return 0
    c[w.PLEDGE] = c[w.PLEDGE] + need
    if n << w.BLOCK_SHIFT < step:
        step = n << w.BLOCK_SHIFT
    return step
