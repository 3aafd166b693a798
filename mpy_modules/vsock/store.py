# SPDX-License-Identifier: MIT
"""Memory for received bytes: large receive buffers and small blocks, queued per connection.

Every byte that the peer was allowed to send must be taken off the receive ring at once, whether
or not the program reads. A packet of some size stays where the device put it, as a segment of the
connection's queue, and is copied once, by recv; small packets, and large ones when no buffer can
be spared from the ring, are copied into blocks of 4 KiB, one behind the other, so that 1-byte
packets neither starve the ring nor cost more memory than they carry. All of it lies outside the
collector's heap. The device writes into large segments only while they are posted.
"""

from array import array

from inline import inline
from portable import addressof, const, copy, micropython, ptr32, put_address

from . import words as w

_NONE = const(0xFFFFFFFF)  # a free list that is empty
_FEW = const(64)  # segments that any connection may hold
_CHUNK = const(262144)  # bytes; CHUNK_BLOCKS blocks
_PAYLOAD_AT = w.HEADER_AT + w.HEADER_LEN  # in a large buffer


class Store:
    """All received bytes of one device. `large` receive buffers are allocated at once."""

    def __init__(self, allocate, large, limit):
        """`limit`: bytes for blocks, beside the large buffers; fewer if there is less memory.

        `allocate(n)` gives `n` bytes that the device can reach, as an object with an `addr` and a
        length, or raises MemoryError. With `clear=False` they may hold anything: of those nobody
        sees more than was copied there. All is allocated at once, so that a promise (budget.py)
        can be kept; the table of segments too, which no device is told of, and which the collector
        would have to look through.
        """
        self._allocate = allocate
        self._words = words = array("I", bytes(4 * w.STORE_WORDS))
        self.at = addressof(words)
        self._abandoned = []  # segments that a device may still write to
        self._buffers = []
        self.segments = 0  # in the table, which has room for more
        words[w.STORE_LARGE] = words[w.STORE_BLOCK] = _NONE
        base = self.large_base = self._take(large * w.LARGE_STRIDE) + _PAYLOAD_AT
        try:
            chunks = self._reserve(large, limit // _CHUNK)
        except MemoryError:
            self.close()
            raise
        # Large segment i has its payload at large_base + i * LARGE_STRIDE.
        self._add(base, w.LARGE_STRIDE, w.LARGE, large, w.IS_LARGE)
        blocks = words[w.STORE_TOTAL] = chunks * w.CHUNK_BLOCKS
        # Bytes between two segments that stay in large buffers may each begin a block.
        words[w.STORE_PROMISED] = min(large, blocks)

    def _take(self, size, **how):
        """Allocate memory that is ours until `close`; its address."""
        memory = self._allocate(size, **how)
        self._buffers.append(memory)
        return memory.addr

    def _reserve(self, large, chunks):
        """Allocate the table and so many chunks, or half as many, until it works; how many.

        Not without any: raises MemoryError.
        """
        kept = len(self._buffers)
        while True:
            size = (large + chunks * w.CHUNK_BLOCKS) * 4 * w.SEG_WORDS
            try:
                put_address(self._words, w.STORE_SEGMENTS, self._take(size, clear=False))
                if chunks:
                    self._next = self._take(chunks * _CHUNK, clear=False)
                return chunks
            except MemoryError:
                if chunks < 2:
                    raise
            while len(self._buffers) > kept:
                self._buffers.pop().free()
            chunks >>= 1

    @micropython.viper
    def _add(self, base: int, stride: int, size: int, count: int, kind: int):
        """Make `count` new free segments, the first one's memory at `base`.

        What a segment holds, SEG_START to SEG_END, is for who takes it to say.
        """
        s = ptr32(self.at)
        t = ptr32(_table(s))
        seg = int(self.segments)
        end = seg + count
        self.segments = end
        while seg < end:
            row = seg * w.SEG_WORDS
            high = base >> 32
            t[row + w.SEG_ADDR] = base - (high << 32)
            t[row + w.SEG_ADDR + 1] = high
            t[row + w.SEG_SIZE] = size
            t[row + w.SEG_KIND] = kind
            t[row + w.SEG_USES] = 0
            _free(s, t, seg)
            base += stride
            seg += 1

    def close(self):
        """Free all of it; no device has any of it, and nobody uses this any more."""
        for buffer in self._buffers:
            buffer.free()

    def abandon(self, segments):
        """A device that did not reset had these. They are for the next one of this stack, and for
        nothing else: it is the same host that writes there."""
        self._abandoned += segments

    def take_to_post(self):
        """A large segment for a device: one that was abandoned, or a free one; -1: none."""
        return self._abandoned.pop() if self._abandoned else self.take_large()

    @property
    def abandoned(self):
        """Large segments that wait for the next device."""
        return len(self._abandoned)

    @property
    def total(self):
        """Blocks that there is memory for."""
        return self._words[w.STORE_TOTAL]

    @property
    def promised(self):
        """Blocks that connections count on, and those that none can."""
        return self._words[w.STORE_PROMISED]

    def set_aside(self, blocks):
        """Set so many blocks aside for the least windows of connections to come."""
        self._words[w.STORE_RESERVED] = blocks

    @property
    def spare(self):
        """Large buffers that are free."""
        return self._words[w.STORE_SPARE]

    @micropython.viper
    def promise(self, blocks: int) -> int:
        """Have so many blocks more than promised so far. 0: there are none."""
        s = ptr32(self.at)
        need = s[w.STORE_PROMISED] + blocks
        if need > s[w.STORE_TOTAL]:
            return 0
        while s[w.STORE_MADE] < need:
            self._make()
            s[w.STORE_MADE] = s[w.STORE_MADE] + w.CHUNK_BLOCKS
        s[w.STORE_PROMISED] = need
        return 1

    @micropython.native
    def _make(self):
        """Put a chunk of blocks into the table: all at once would take a while at start-up."""
        self._add(self._next, w.BLOCK, w.BLOCK, w.CHUNK_BLOCKS, 0)
        self._next += _CHUNK

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
        if s[w.STORE_SPARE] == 0:
            return -1
        t = ptr32(_table(s))
        return int(_take_free(s, t))

    @inline
    @micropython.viper
    def lend(self, seg: int, n: int) -> int:
        """The device is to read the first `n` unread bytes; their address. `returned` ends it."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        start = t[row + w.SEG_START]
        t[row + w.SEG_START] = start + n
        t[row + w.SEG_USES] = t[row + w.SEG_USES] + 1
        return (t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)) + start

    @inline
    @micropython.viper
    def returned(self, seg: int):
        """The device has read what `lend` gave it: with the last bytes the segment is free."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        uses = t[row + w.SEG_USES] - 1
        t[row + w.SEG_USES] = uses
        if uses == 0 and t[row + w.SEG_START] == t[row + w.SEG_END]:
            _free(s, t, seg)

    @inline
    @micropython.viper
    def take_spare(self, rest: int) -> int:
        """A free large segment for something else than receiving; -1 unless `rest` remain."""
        s = ptr32(self.at)
        if s[w.STORE_SPARE] <= rest:
            return -1
        t = ptr32(_table(s))
        return int(_take_free(s, t))

    @micropython.viper
    def unread(self, seg: int) -> int:
        """The address of a segment's first unread byte."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        return (t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)) + t[row + w.SEG_START]

    @inline
    @micropython.viper
    def fill(self, seg: int, data: int, n: int):
        """Put the `n` bytes at `data` into a free segment that was taken."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        copy(t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32), 0, data, 0, n)
        t[row + w.SEG_START] = 0
        t[row + w.SEG_END] = n
        t[row + w.SEG_KIND] = w.IS_LARGE

    @micropython.viper
    def address(self, seg: int) -> int:
        """Where the payload of a segment starts; a large one's header ends there."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        return t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)

    @inline
    @micropython.viper
    def keep_bytes(self, at: int, seg: int, source: int, n: int, flags: int) -> int:
        """Queue the `n` bytes at `source`, which came in the large segment `seg`, or -1: in none.

        Returns the large segment to post in its place: `seg` itself if the bytes were copied.
        NO_MEMORY: there is none for them.
        """
        s = ptr32(self.at)
        if n <= w.COPYBREAK or seg < 0 or s[w.STORE_SPARE] == 0:
            if int(Store.append_bytes(self, at, source, n, flags)) < 0:
                return w.NO_MEMORY
            return seg
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        fresh = int(_take_free(s, t))
        t[row + w.SEG_KIND] = w.IS_LARGE | (flags << w.SEG_FLAGS_SHIFT)
        _enqueue(ptr32(at), t, seg, n)
        return fresh

    @inline
    @micropython.viper
    def append_bytes(self, at: int, source: int, n: int, flags: int) -> int:
        """Copy `n` bytes at `source` to the end of a queue. -1: no memory, nothing was queued."""
        c = ptr32(at)
        s = ptr32(self.at)
        t = ptr32(_table(s))
        if c[w.HEAD] == c[w.ONES]:
            if n <= w.BLOCK and s[w.STORE_BLOCKS] != 0:
                seg = int(_take_block(s, t))
                row = seg * w.SEG_WORDS
                copy(t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32), 0, source, 0, n)
                t[row + w.SEG_KIND] = flags << w.SEG_FLAGS_SHIFT
                _enqueue(c, t, seg, n)
                return 0
        else:
            row = c[w.TAIL] * w.SEG_WORDS
            # A block takes more bytes unless a message ended in it.
            if t[row + w.SEG_KIND] == 0:
                end = t[row + w.SEG_END]
                if t[row + w.SEG_SIZE] - end >= n:
                    to = t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)
                    copy(to, end, source, 0, n)
                    t[row + w.SEG_END] = end + n
                    t[row + w.SEG_KIND] = flags << w.SEG_FLAGS_SHIFT
                    return 0
        return int(self._append(at, source, n, flags))

    @micropython.viper
    def _append(self, at: int, source: int, n: int, flags: int) -> int:
        """The same, whatever it takes: the last block is filled up, others follow."""
        c = ptr32(at)
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = c[w.TAIL] * w.SEG_WORDS
        end = 0
        room = 0
        if c[w.HEAD] != c[w.ONES] and t[row + w.SEG_KIND] == 0:
            end = t[row + w.SEG_END]
            if c[w.PLEDGE] == 1 and c[w.HELD] == 1 and t[row + w.SEG_USES] == 0:
                end = int(_pack(t, row))
            room = w.BLOCK - end
            if room > n:
                room = n
        need = (n - room + w.BLOCK - 1) >> w.BLOCK_SHIFT
        if c[w.BORDERS] != 0 and c[w.HELD] + need > c[w.PLEDGE]:
            if int(self._more_messages(at, need)) == 0:
                return -1
            t = ptr32(_table(s))
        if s[w.STORE_BLOCKS] < need:
            return -1
        done = 0
        while done < n:
            if room == 0:
                seg = int(_take_block(s, t))
                _enqueue(c, t, seg, 0)
                row = seg * w.SEG_WORDS
                end = 0
                room = n - done
                if room > w.BLOCK:
                    room = w.BLOCK
            to = t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)
            copy(to, end, source, done, room)
            t[row + w.SEG_END] = end + room
            done += room
            room = 0
        t[row + w.SEG_KIND] = flags << w.SEG_FLAGS_SHIFT
        return 0

    @micropython.viper
    def _more_messages(self, at: int, need: int) -> int:
        """1 if a connection may hold `need` more blocks than it was promised, which it is then.

        One message, one block at least. What the storm of tiny ones that a peer may send costs is
        bounded by its window, and by what is left over.
        """
        c = ptr32(at)
        # If the program shrank the window, that is what the peer was told before.
        window = (c[w.EDGE] - c[w.READ_CNT]) & c[w.ONES]
        if window < c[w.BUF_ALLOC]:
            window = c[w.BUF_ALLOC]
        if c[w.HELD] + need > _FEW + (window >> 9):
            return 0
        more = c[w.HELD] + need - c[w.PLEDGE]
        s = ptr32(self.at)
        left = s[w.STORE_TOTAL] - s[w.STORE_PROMISED] - s[w.STORE_RESERVED]
        if left < more or int(self.promise(more)) == 0:
            return 0
        c[w.PLEDGE] = c[w.PLEDGE] + more
        return 1

    @inline
    @micropython.viper
    def head(self, at: int) -> int:
        """The first segment of a queue, -1 if it is empty."""
        c = ptr32(at)
        if c[w.HEAD] == c[w.ONES]:
            return -1
        return c[w.HEAD]

    @micropython.viper
    def after(self, seg: int) -> int:
        """The segment behind `seg` in its queue, -1 at the end."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        n = t[seg * w.SEG_WORDS + w.SEG_NEXT]
        if (n + 1) >> 32:
            return -1
        return n

    @inline
    @micropython.viper
    def length(self, seg: int) -> int:
        """Unread bytes of a segment."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        return t[row + w.SEG_END] - t[row + w.SEG_START]

    @micropython.viper
    def flags(self, seg: int) -> int:
        """SEQ_* flags of the packet that ended with this segment."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        return t[seg * w.SEG_WORDS + w.SEG_KIND] >> w.SEG_FLAGS_SHIFT

    @micropython.viper
    def data(self, seg: int) -> int:
        """Address of a segment's first unread byte."""
        s = ptr32(self.at)
        t = ptr32(_table(s))
        row = seg * w.SEG_WORDS
        return (t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)) + t[row + w.SEG_START]

    @micropython.viper
    def message(self, at: int) -> int:
        """Bytes from the front of the queue to the end of its first message, both included."""
        c = ptr32(at)
        s = ptr32(self.at)
        t = ptr32(_table(s))
        seg = c[w.HEAD]
        total = 0
        while seg != c[w.ONES]:
            row = seg * w.SEG_WORDS
            total += t[row + w.SEG_END] - t[row + w.SEG_START]
            if t[row + w.SEG_KIND] >> w.SEG_FLAGS_SHIFT & w.SEQ_EOM:
                break
            seg = t[row + w.SEG_NEXT]
        return total

    @inline
    @micropython.viper
    def unlink(self, at: int) -> int:
        """Take the first segment out of its queue without freeing it; the queue is not empty."""
        c = ptr32(at)
        seg = c[w.HEAD]
        s = ptr32(self.at)
        t = ptr32(_table(s))
        c[w.HEAD] = t[seg * w.SEG_WORDS + w.SEG_NEXT]
        c[w.HELD] = c[w.HELD] - 1
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
        ones = c[w.ONES]
        seg = c[w.HEAD]
        done = 0
        while seg != ones and done < want:
            row = seg * w.SEG_WORDS
            start = t[row + w.SEG_START]
            part = t[row + w.SEG_END] - start
            if part > want - done:
                part = want - done
            source = t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)
            copy(into, done, source, start, part)
            done += part
            following = t[row + w.SEG_NEXT]
            if not peek:
                start += part
                t[row + w.SEG_START] = start
                if start == t[row + w.SEG_END]:
                    c[w.HEAD] = following
                    c[w.HELD] = c[w.HELD] - 1
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
    return s[w.STORE_SEGMENTS] | (s[w.STORE_SEGMENTS + 1] << 32)


@inline
@micropython.viper
def _free(s: ptr32, t: ptr32, seg: int):
    """Put a segment on its free list, or have `returned` do it if the device still reads it."""
    row = seg * w.SEG_WORDS
    if t[row + w.SEG_USES] != 0:
        t[row + w.SEG_START] = t[row + w.SEG_END]
    elif t[row + w.SEG_KIND] & w.IS_LARGE:
        t[row + w.SEG_NEXT] = s[w.STORE_LARGE]
        s[w.STORE_LARGE] = seg
        s[w.STORE_SPARE] = s[w.STORE_SPARE] + 1
    else:
        t[row + w.SEG_KIND] = 0
        t[row + w.SEG_NEXT] = s[w.STORE_BLOCK]
        s[w.STORE_BLOCK] = seg
        s[w.STORE_BLOCKS] = s[w.STORE_BLOCKS] + 1


@inline
@micropython.viper
def _take_block(s: ptr32, t: ptr32) -> int:
    """Take a block off the free list, which is not empty."""
    seg = s[w.STORE_BLOCK]
    s[w.STORE_BLOCK] = t[seg * w.SEG_WORDS + w.SEG_NEXT]
    s[w.STORE_BLOCKS] = s[w.STORE_BLOCKS] - 1
    return seg


@micropython.viper
def _pack(t: ptr32, row: int) -> int:
    """Move a block's unread bytes to its front; where they end then.

    So the smallest window, of one block, needs one only.
    """
    start = t[row + w.SEG_START]
    end = t[row + w.SEG_END] - start
    at = t[row + w.SEG_ADDR] | (t[row + w.SEG_ADDR + 1] << 32)
    copy(at, 0, at, start, end)
    t[row + w.SEG_START] = 0
    t[row + w.SEG_END] = end
    return end


@inline
@micropython.viper
def _take_free(s: ptr32, t: ptr32) -> int:
    """Take a large segment off the free list, which is not empty."""
    seg = s[w.STORE_LARGE]
    s[w.STORE_LARGE] = t[seg * w.SEG_WORDS + w.SEG_NEXT]
    s[w.STORE_SPARE] = s[w.STORE_SPARE] - 1
    return seg


@inline
@micropython.viper
def _enqueue(c: ptr32, t: ptr32, seg: int, n: int):
    """Put a segment, of which the first `n` bytes are unread, at the end of a queue."""
    row = seg * w.SEG_WORDS
    t[row + w.SEG_NEXT] = c[w.ONES]
    t[row + w.SEG_START] = 0
    t[row + w.SEG_END] = n
    if c[w.HEAD] == c[w.ONES]:
        c[w.HEAD] = seg
    else:
        t[c[w.TAIL] * w.SEG_WORDS + w.SEG_NEXT] = seg
    c[w.TAIL] = seg
    c[w.HELD] = c[w.HELD] + 1
