# SPDX-License-Identifier: MIT
"""Memory for received bytes: large receive buffers and small blocks, queued per connection.

Every byte that the peer was allowed to send must be taken off the receive ring at once, whether
or not the program reads. A packet of some size stays where the device put it, as a segment of the
connection's queue, and is copied once, by recv; small packets, and large ones when no buffer can
be spared from the ring, are copied into blocks of 4 KiB, one behind the other, so that 1-byte
packets neither starve the ring nor cost more memory than they carry. All of it is DMA memory,
outside the collector's heap. The device writes into large segments only while they are posted.
"""

from array import array

from inline import inline
from machine import DMABuffer, copy

from .layout import addressof, const

try:
    import micropython
except ImportError:
    from .portable import micropython, ptr32

HEADER_LEN = const(44)
LARGE = const(65536)
_BLOCK = const(4096)
_CHUNK_BLOCKS = const(64)  # blocks come in chunks of 256 KiB, one step of a growing window
COPYBREAK = const(2048)  # below, a copy costs less than keeping a buffer from the ring
# Where a copy's source and destination have the same page number modulo its size, QEMU's soft
# TLB misses on every page; an odd number of pages, plus a bit, keeps buffers apart.
LARGE_STRIDE = const(69632 + 64)
_HEADER_AT = const(20)  # the payload behind the 44-byte header is aligned to 64

# A segment: eight 32-bit words.
_NEXT = const(0)  # the following one in a queue or on a free list; 0xFFFFFFFF at the end
_START = const(1)  # first unread byte, as an offset from the address
_END = const(2)
_KIND = const(3)  # _IS_*, and on seqpacket the packet's SEQ_* flags in bits 8 and up
_ADDR = const(4)  # two words, low half first
_SIZE = const(6)
_USES = const(7)  # parts of it that the device still reads
_SEGMENT = const(8)  # words of one segment
_IS_LARGE = const(1)
_EOM = const(1)
_NONE32 = const(0xFFFFFFFF)

# The store's own words.
_SEGMENTS = const(0)  # address of the segment table, two words
_FREE_LARGE = const(2)
_FREE_BLOCK = const(3)
_SPARE = const(4)  # free large segments: those that need not go back to the ring at once
_BLOCKS_FREE = const(5)
_WORDS = const(8)

_HEAD = const(23)  # words of the control block (connection.py) that are the store's to write
_TAIL = const(24)
_HELD = const(28)
_ONES = const(29)
_BUF_ALLOC = const(9)
_EDGE = const(18)
_READ_CNT = const(31)
_FEW = const(64)


class Store:
    """All received bytes of one device. `large` receive buffers are allocated at once."""

    def __init__(self, large, limit):
        """`limit`: bytes of DMA memory that blocks may take at most, beside the large buffers."""
        # Clearing them made a start 3 ms longer. A device that says that it wrote more than it did
        # makes a program read what was there before; it could read that itself, as all memory.
        self._buffers = [DMABuffer(large * LARGE_STRIDE, clear=False)]
        self._words = array("I", bytes(4 * _WORDS))
        self.at = addressof(self._words)
        self._segments = array("I")
        self._blocks = 0
        self._promised = 0  # chunks that connections' grown windows count on
        self._chunks_left = limit // (_BLOCK * _CHUNK_BLOCKS)
        self._words[_FREE_LARGE] = self._words[_FREE_BLOCK] = _NONE32
        # Large segment i has its payload at large_base + i * LARGE_STRIDE.
        base = self.large_base = self._buffers[0].addr + _HEADER_AT + HEADER_LEN
        self._add(base, LARGE_STRIDE, LARGE, large, _IS_LARGE)

    @micropython.native
    def _add(self, base, stride, size, count, kind):
        """Make `count` new free segments. Allocates first: a MemoryError changes nothing."""
        first = len(self._segments) // _SEGMENT
        table = array("I", bytes(4 * _SEGMENT * (first + count)))
        table[: len(self._segments)] = self._segments
        words = self._words
        where = addressof(table)
        self._segments = table
        words[_SEGMENTS] = where & 0xFFFFFFFF
        words[_SEGMENTS + 1] = where >> 32
        for i in range(first, first + count):
            w = i * _SEGMENT
            table[w + _KIND] = kind
            table[w + _ADDR] = base & 0xFFFFFFFF
            table[w + _ADDR + 1] = base >> 32
            table[w + _SIZE] = size
            base += stride
            self.release(i)

    @property
    def spare(self):
        """Large buffers that are free."""
        return self._words[_SPARE]

    @micropython.native
    def promise(self):
        """Have memory for one chunk more than promised so far. False: there is none."""
        if (self._promised + 1) * _CHUNK_BLOCKS > self._blocks and not self._add_chunk():
            return False
        self._promised += 1
        return True

    @micropython.native
    def redeem(self, chunks):
        """So many promised chunks are not needed any more."""
        self._promised -= chunks

    @micropython.native
    def _have_blocks(self, need):
        """Have so many free blocks, in more memory if it must be. False: there is none."""
        while self._words[_BLOCKS_FREE] < need:
            if not self._add_chunk():
                return False
        return True

    @micropython.native
    def _add_chunk(self):
        if self._chunks_left <= 0:
            return False
        try:
            chunk = DMABuffer(_BLOCK * _CHUNK_BLOCKS, clear=False)
            self._buffers.append(chunk)
            self._add(chunk.addr, _BLOCK, _BLOCK, _CHUNK_BLOCKS, 0)
        except MemoryError:
            self._chunks_left = 0
            return False
        self._blocks += _CHUNK_BLOCKS
        self._chunks_left -= 1
        return True

    @micropython.viper
    def release(self, seg: int):
        """Nobody needs the segment any more. It is free as soon as the device does not either."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        _free(s, t, seg)

    @micropython.viper
    def take_large(self) -> int:
        """A free large segment, to be posted; -1 if there is none."""
        s = ptr32(self.at)
        if s[_SPARE] == 0:
            return -1
        t = ptr32(_table(s))
        return int(_take(s, t))

    @inline
    @micropython.viper
    def lend(self, seg: int, n: int) -> int:
        """The device is to read the first `n` unread bytes; their address. `returned` ends it."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        w = seg * _SEGMENT
        start = t[w + _START]
        t[w + _START] = start + n
        t[w + _USES] = t[w + _USES] + 1
        return (t[w + _ADDR] | (t[w + _ADDR + 1] << 32)) + start

    @inline
    @micropython.viper
    def returned(self, seg: int):
        """The device has read what `lend` gave it: with the last bytes the segment is free."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        w = seg * _SEGMENT
        uses = t[w + _USES] - 1
        t[w + _USES] = uses
        if uses == 0 and t[w + _START] == t[w + _END]:
            _free(s, t, seg)

    @inline
    @micropython.viper
    def take_spare(self, rest: int) -> int:
        """A free large segment for something else than receiving; -1 unless `rest` remain."""
        s = ptr32(self.at)
        if s[_SPARE] <= rest:
            return -1
        t = ptr32(_table(s))
        return int(_take(s, t))

    @inline
    @micropython.viper
    def fill(self, seg: int, data: int, n: int):
        """Put the `n` bytes at `data` into a free segment that was taken."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        w = seg * _SEGMENT
        copy(t[w + _ADDR] | (t[w + _ADDR + 1] << 32), 0, data, 0, n)
        t[w + _START] = 0
        t[w + _END] = n
        t[w + _KIND] = _IS_LARGE

    @micropython.viper
    def address(self, seg: int) -> int:
        """Where the payload of a segment starts; a large one's header ends there."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        w = seg * _SEGMENT + _ADDR
        return t[w] | (t[w + 1] << 32)

    @inline
    @micropython.viper
    def keep(self, at: int, seg: int, n: int, flags: int) -> int:
        """Queue the `n` bytes that came in the large segment `seg`.

        Returns the large segment to post in its place: `seg` itself if the bytes were copied.
        -1: no memory for them.
        """
        s = ptr32(self.at)
        t = ptr32(_table(s))
        w = seg * _SEGMENT
        if n <= COPYBREAK or s[_SPARE] == 0:
            source = t[w + _ADDR] | (t[w + _ADDR + 1] << 32)
            if int(Store.append(self, at, source, n, flags)) < 0:
                return -1
            return seg
        fresh = int(_take(s, t))
        t[w + _KIND] = _IS_LARGE | (flags << 8)
        _queue(ptr32(at), t, seg, n)
        return fresh

    @inline
    @micropython.viper
    def append(self, at: int, source: int, n: int, flags: int) -> int:
        """Copy `n` bytes at `source` to the end of a queue. -1: no memory, nothing was queued."""
        c = ptr32(at)
        s = ptr32(self.at)
        t = ptr32(_table(s))
        left = n
        if c[_HEAD] != c[_ONES]:
            w = c[_TAIL] * _SEGMENT
            # A block takes more bytes unless a message ended in it.
            if t[w + _KIND] == 0:
                end = t[w + _END]
                part = t[w + _SIZE] - end
                if part >= left:
                    copy(t[w + _ADDR] | (t[w + _ADDR + 1] << 32), end, source, 0, left)
                    t[w + _END] = end + left
                    t[w + _KIND] = flags << 8
                    return 0
        need = (left + _BLOCK - 1) >> 12
        # One message, one segment at least: bound what a storm of tiny ones can cost, by what the
        # peer may send. If the program shrank the window, that is what it was told before.
        window = (c[_EDGE] - c[_READ_CNT]) & c[_ONES]
        if window < c[_BUF_ALLOC]:
            window = c[_BUF_ALLOC]
        if c[_HELD] + need > _FEW + (window >> 9):
            return -1
        if s[_BLOCKS_FREE] < need:
            if not self._have_blocks(need):
                return -1
            t = ptr32(_table(s))
        while left > 0:
            part = left
            if part > _BLOCK:
                part = _BLOCK
            seg = s[_FREE_BLOCK]
            w = seg * _SEGMENT
            s[_FREE_BLOCK] = t[w + _NEXT]
            s[_BLOCKS_FREE] = s[_BLOCKS_FREE] - 1
            copy(t[w + _ADDR] | (t[w + _ADDR + 1] << 32), 0, source, 0, part)
            source += part
            left -= part
            if left == 0:
                t[w + _KIND] = flags << 8
            _queue(c, t, seg, part)
        return 0

    @inline
    @micropython.viper
    def head(self, at: int) -> int:
        """The first segment of a queue, -1 if it is empty."""
        c = ptr32(at)
        if c[_HEAD] == c[_ONES]:
            return -1
        return c[_HEAD]

    @micropython.viper
    def after(self, seg: int) -> int:
        """The segment behind `seg` in its queue, -1 at the end."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        n = t[seg * _SEGMENT + _NEXT]
        if (n + 1) >> 32:
            return -1
        return n

    @inline
    @micropython.viper
    def length(self, seg: int) -> int:
        """Unread bytes of a segment."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        w = seg * _SEGMENT
        return t[w + _END] - t[w + _START]

    @micropython.viper
    def flags(self, seg: int) -> int:
        """SEQ_* flags of the packet that ended with this segment."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        return t[seg * _SEGMENT + _KIND] >> 8

    @micropython.viper
    def data(self, seg: int) -> int:
        """Address of a segment's first unread byte."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        w = seg * _SEGMENT
        return (t[w + _ADDR] | (t[w + _ADDR + 1] << 32)) + t[w + _START]

    @micropython.viper
    def message(self, at: int) -> int:
        """Bytes from the front of the queue to the end of its first message, both included."""
        c = ptr32(at)
        s = ptr32(self.at)
        t = ptr32(_table(s))
        seg = c[_HEAD]
        total = 0
        while seg != c[_ONES]:
            w = seg * _SEGMENT
            total += t[w + _END] - t[w + _START]
            if t[w + _KIND] >> 8 & _EOM:
                break
            seg = t[w + _NEXT]
        return total

    @micropython.viper
    def is_large(self, seg: int) -> int:
        s = ptr32(self.at)
        t = ptr32(_table(s))
        return t[seg * _SEGMENT + _KIND] & _IS_LARGE

    @inline
    @micropython.viper
    def unlink(self, at: int) -> int:
        """Take the first segment out of its queue without freeing it; the queue is not empty."""
        c = ptr32(at)
        seg = c[_HEAD]
        s = ptr32(self.at)
        t = ptr32(_table(s))
        c[_HEAD] = t[seg * _SEGMENT + _NEXT]
        c[_HELD] = c[_HELD] - 1
        return seg

    @inline
    @micropython.viper
    def read(self, at: int, into: int, want: int, peek: int) -> int:
        """Copy up to `want` bytes of a queue to address `into`; returns how many.

        They leave the queue unless `peek` (MSG_PEEK). The caller accounts for the credit.
        """
        c = ptr32(at)
        s = ptr32(self.at)
        t = ptr32(_table(s))
        ones = c[_ONES]
        seg = c[_HEAD]
        done = 0
        while seg != ones and done < want:
            w = seg * _SEGMENT
            start = t[w + _START]
            part = t[w + _END] - start
            if part > want - done:
                part = want - done
            copy(into, done, (t[w + _ADDR] | (t[w + _ADDR + 1] << 32)) + start, 0, part)
            done += part
            following = t[w + _NEXT]
            if not peek:
                start += part
                t[w + _START] = start
                if start == t[w + _END]:
                    c[_HEAD] = following
                    c[_HELD] = c[_HELD] - 1
                    _free(s, t, seg)
            seg = following
        return done

    @micropython.native
    def discard(self, at):
        """Throw a whole queue away."""
        while self.head(at) >= 0:
            self.release(self.unlink(at))


# Here the store's words, the segment table and a control block are pointers, a segment a number.


@inline
@micropython.viper
def _table(s: ptr32) -> int:
    """Where the segment table is."""
    return s[_SEGMENTS] | (s[_SEGMENTS + 1] << 32)


@inline
@micropython.viper
def _free(s: ptr32, t: ptr32, seg: int):
    """Put a segment on its free list, or have `returned` do it if the device still reads it."""
    w = seg * _SEGMENT
    if t[w + _USES] != 0:
        t[w + _START] = t[w + _END]
    elif t[w + _KIND] & _IS_LARGE:
        t[w + _NEXT] = s[_FREE_LARGE]
        s[_FREE_LARGE] = seg
        s[_SPARE] = s[_SPARE] + 1
    else:
        t[w + _KIND] = 0
        t[w + _NEXT] = s[_FREE_BLOCK]
        s[_FREE_BLOCK] = seg
        s[_BLOCKS_FREE] = s[_BLOCKS_FREE] + 1


@inline
@micropython.viper
def _take(s: ptr32, t: ptr32) -> int:
    """Take a large segment off the free list, which is not empty."""
    seg = s[_FREE_LARGE]
    s[_FREE_LARGE] = t[seg * _SEGMENT + _NEXT]
    s[_SPARE] = s[_SPARE] - 1
    return seg


@inline
@micropython.viper
def _queue(c: ptr32, t: ptr32, seg: int, n: int):
    """Put a segment, of which the first `n` bytes are unread, at the end of a queue."""
    w = seg * _SEGMENT
    t[w + _NEXT] = c[_ONES]
    t[w + _START] = 0
    t[w + _END] = n
    if c[_HEAD] == c[_ONES]:
        c[_HEAD] = seg
    else:
        t[c[_TAIL] * _SEGMENT + _NEXT] = seg
    c[_TAIL] = seg
    c[_HELD] = c[_HELD] + 1
