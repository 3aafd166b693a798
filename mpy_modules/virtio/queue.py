# SPDX-License-Identifier: MIT
"""Split virtqueue (virtio 1.2, 2.7), driver's side, with event index and indirect descriptors.

The rings are shared with the device, which is not trusted: every decision is made from a private
shadow (`_words`, in the garbage-collected heap) that is never read back from the rings, and each
used entry is read exactly once, then checked. Knows nothing of how a device is reached or of what
the buffers mean. words.py has the layouts.
"""

from array import array

from inline import inline
from machine import DMABuffer, fence
from portable import addressof, const, micropython, ptr16, ptr32, put_address

from . import words as w
from .errors import QueueBroken, QueueFull

_MAX_SIZE = const(32768)  # 2.7: the largest a split queue can be
_INDIRECT_LIMIT = const(16)  # segments in one indirect table
_INDIRECT_FROM = const(3)  # a table costs one more memory touch: it pays from three segments on
_CACHE_LINE = const(64)
_CHAIN_OF_ONE = const(1 << w.SHADOW_COUNT_SHIFT)
_CHAIN_OF_TWO = const(2 << w.SHADOW_COUNT_SHIFT)

_REASONS = (
    "used index ran ahead of what was offered",
    "used id out of range",
    "used id is not the head of a chain in flight",
    "used length exceeds the device-writable bytes",
    "closed",
)
_RAN_AHEAD = const(1)  # 1 + the index in _REASONS
_ID_RANGE = const(2)
_ID_STRAY = const(3)
_TOO_LONG = const(4)
_CLOSED = const(5)


class Virtqueue:
    """One split virtqueue; see the module's docstring for whom it trusts.

    A queue belongs to one caller: add, publish and pop must not run concurrently. Buffers belong
    to the device from `publish()` until `pop()` returns their head. `size` is a power of two,
    `notify_address` the MMIO address that takes `index` as a notification of `notify_bytes`.
    `allocate(n)` gives `n` bytes that the device can reach, all 0, as a DMABuffer.

    Most of it is functions of this module that take `state`, the address of the private words, so
    that the build can put them where they are called.
    """

    def __init__(
        self,
        index,
        size,
        notify_address,
        event_idx=False,
        indirect=False,
        notify_bytes=2,
        allocate=DMABuffer,
    ):
        if not 1 <= size <= _MAX_SIZE or size & (size - 1):
            raise ValueError("queue size must be a power of two, at most 32768")
        self.size = size
        self.index = index
        self.vector = None  # the machine.Vector of its MSI-X entry; set by the device
        # 2.7: descriptors (align 16), avail (2), used (4; here it gets a cache line of its own)
        avail = w.DESC_BYTES * size
        used = (avail + w.AVAIL_BYTES + 2 * size + _CACHE_LINE - 1) & -_CACHE_LINE
        words = array("I", bytes(4 * (w.Q_SHADOW + w.SHADOW_WORDS * size)))
        self._allocate = allocate
        self._rings = allocate(used + w.USED_BYTES + w.USED_ENTRY_BYTES * size)
        self._indirect = indirect
        self._tables = None  # indirect tables, one for each descriptor, made when first needed
        self.desc_address = self._rings.addr
        self.avail_address = self.desc_address + avail
        self.used_address = self.desc_address + used
        for at, address in (
            (w.Q_DESC, self.desc_address),
            (w.Q_AVAIL, self.avail_address),
            (w.Q_USED, self.used_address),
            (w.Q_NOTIFY, notify_address),
        ):
            put_address(words, at, address)
        words[w.Q_INDEX] = index
        words[w.Q_MASK] = size - 1
        words[w.Q_NOTIFY_BYTES] = notify_bytes
        words[w.Q_EVENT_IDX] = 1 if event_idx else 0
        words[w.Q_FREE] = size
        self._words = words
        self.state = addressof(words)  # an int: a cheaper pointer than `words`
        _link_all(self.state, size)
        self.disable_interrupts()

    @property
    def free(self):
        """Descriptors that are free now."""
        return self._words[w.Q_FREE]

    @property
    @micropython.native
    def indirect(self):
        """True if a chain of more than two buffers, of 16 at most, takes one descriptor."""
        return self._indirect

    @property
    def in_flight(self):
        """Chains that were added and not yet popped."""
        words = self._words
        return (words[w.Q_AVAIL_IDX] - words[w.Q_LAST_USED]) & 0xFFFF

    @property
    @micropython.native
    def broken(self):
        """The reason why this queue has stopped, or None."""
        why = self._words[w.Q_BROKEN]
        return _REASONS[why - 1] if why else None

    def error(self):
        """The QueueBroken that tells why this queue has stopped; it has."""
        return QueueBroken("queue %d: %s" % (self.index, self.broken))

    def holds(self, head):
        """True if a chain with that head was added and not popped."""
        return self._words[_row(head) + w.SHADOW_TAG] != 0

    @micropython.native
    def close(self):
        """Free the rings. Reset the device before: until then they are its to write."""
        for memory in self.abandon():
            memory.free()

    @micropython.native
    def abandon(self):
        """Use the rings no more; their memory, which is the device's until it resets."""
        words = self._words
        words[w.Q_BROKEN] = _CLOSED
        words[w.Q_PUBLISHED] = words[w.Q_TOLD] = words[w.Q_AVAIL_IDX]
        return [each for each in (self._rings, self._tables) if each is not None]

    def add1(self, address, length, device_writes):
        """The function `add1` on this queue."""
        return add1(self.state, address, length, device_writes)

    def add2(self, address0, length0, address1, length1):
        """The function `add2` on this queue."""
        return add2(self.state, address0, length0, address1, length1)

    @micropython.native
    def add(self, readable, writable=()):
        """Add a chain of any shape: `(address, length)` pairs, first those that the device reads.

        Long chains go through an indirect table where the device offers it (one descriptor of
        the ring each). Returns the head; raises QueueFull, QueueBroken, ValueError if no queue of
        this size could ever hold the chain.
        """
        segments = len(readable) + len(writable)
        indirect = self._indirect and _INDIRECT_FROM <= segments <= _INDIRECT_LIMIT
        if not segments or (segments > self.size and not indirect):
            raise ValueError("chain of %d segments in a queue of %d" % (segments, self.size))
        words = self._words
        if words[w.Q_BROKEN] or words[w.Q_FREE] < (1 if indirect else segments):
            refuse(self.state)
        total = sum(length for _, length in writable)
        if total >= 1 << 31:
            raise ValueError("chain longer than 2 GiB")
        head = words[w.Q_FREE_HEAD]
        if indirect:
            self._fill_table(head, readable, writable)
            segments = 1
        else:
            self._fill_ring(head, readable, writable)
        tail = head
        for _ in range(segments - 1):
            tail = words[_row(tail) + w.SHADOW_LINK]
        words[w.Q_FREE_HEAD] = words[_row(tail) + w.SHADOW_LINK]
        words[w.Q_FREE] -= segments
        at = _row(head)
        link = words[at + w.SHADOW_LINK] if segments > 1 else 0
        words[at + w.SHADOW_LINK] = link | segments << w.SHADOW_COUNT_SHIFT
        words[at + w.SHADOW_TAG] = 1 + total
        _offer(self.state, head)
        return head

    @micropython.native
    def _fill_ring(self, head, readable, writable):
        left = len(readable) + len(writable)
        base = self.desc_address
        i = head
        for write, segments in ((0, readable), (w.DESC_F_WRITE, writable)):
            for address, length in segments:
                left -= 1
                link = self._words[_row(i) + w.SHADOW_LINK] if left else 0
                more = w.DESC_F_NEXT | link << w.DESC_NEXT_SHIFT if left else 0
                _put(base + w.DESC_BYTES * i, address, length, write | more)
                i = link

    @micropython.native
    def _fill_table(self, head, readable, writable):
        if self._tables is None:
            self._tables = self._allocate(w.DESC_BYTES * _INDIRECT_LIMIT * self.size)
        table = self._tables.addr + w.DESC_BYTES * _INDIRECT_LIMIT * head
        left = len(readable) + len(writable)
        at = table
        link = 0
        for write, segments in ((0, readable), (w.DESC_F_WRITE, writable)):
            for address, length in segments:
                left -= 1
                link += 1
                more = w.DESC_F_NEXT | link << w.DESC_NEXT_SHIFT if left else 0
                _put(at, address, length, write | more)
                at += w.DESC_BYTES
        _put(self.desc_address + w.DESC_BYTES * head, table, at - table, w.DESC_F_INDIRECT)

    def publish(self):
        """The function `publish` on this queue."""
        publish(self.state)

    def pop(self):
        """The function `pop` on this queue, but it raises QueueBroken."""
        used = pop(self.state)
        if used < -1:
            refuse(self.state)
        return used

    def enable_interrupts(self):
        """The function `enable_interrupts` on this queue."""
        return enable_interrupts(self.state)

    def disable_interrupts(self):
        """The function `disable_interrupts` on this queue."""
        disable_interrupts(self.state)


# Here a queue is the address of its words, `s` the pointer to them.


@inline
@micropython.viper
def add1(state: int, address: int, length: int, device_writes: int) -> int:
    """Add a chain of one buffer: `length` bytes at `address`; returns its head.

    Raises QueueFull, QueueBroken.
    """
    s = ptr32(state)
    if s[w.Q_BROKEN] != 0 or s[w.Q_FREE] == 0:
        refuse(state)
    head = s[w.Q_FREE_HEAD]
    at = w.Q_SHADOW + head * w.SHADOW_WORDS
    s[w.Q_FREE_HEAD] = s[at + w.SHADOW_LINK]
    s[w.Q_FREE] = s[w.Q_FREE] - 1
    s[at + w.SHADOW_LINK] = _CHAIN_OF_ONE
    s[at + w.SHADOW_TAG] = 1
    flags = 0
    if device_writes:
        flags = w.DESC_F_WRITE
        s[at + w.SHADOW_TAG] = length + 1
    base = s[w.Q_DESC] | (s[w.Q_DESC + 1] << 32)
    _put(base + head * w.DESC_BYTES, address, length, flags)
    _offer(state, head)
    return head


@inline
@micropython.viper
def add2(state: int, address0: int, length0: int, address1: int, length1: int) -> int:
    """Add a chain of two buffers that the device reads, in this order; returns its head.

    Raises QueueFull, QueueBroken.
    """
    s = ptr32(state)
    if s[w.Q_BROKEN] != 0 or s[w.Q_FREE] < 2:
        refuse(state)
    head = s[w.Q_FREE_HEAD]
    at = w.Q_SHADOW + head * w.SHADOW_WORDS
    tail = s[at + w.SHADOW_LINK]
    s[w.Q_FREE_HEAD] = s[w.Q_SHADOW + tail * w.SHADOW_WORDS + w.SHADOW_LINK]
    s[w.Q_FREE] = s[w.Q_FREE] - 2
    s[at + w.SHADOW_LINK] = tail | _CHAIN_OF_TWO
    s[at + w.SHADOW_TAG] = 1
    base = s[w.Q_DESC] | (s[w.Q_DESC + 1] << 32)
    more = w.DESC_F_NEXT | (tail << w.DESC_NEXT_SHIFT)
    _put(base + head * w.DESC_BYTES, address0, length0, more)
    _put(base + tail * w.DESC_BYTES, address1, length1, 0)
    _offer(state, head)
    return head


@inline
@micropython.viper
def publish(state: int):
    """Let the device see everything added so far; notify it only if it asked for that.

    What was added before the queue broke stays unseen. Raises nothing.
    """
    s = ptr32(state)
    new = s[w.Q_AVAIL_IDX]
    old = s[w.Q_TOLD]
    if new == old:
        return
    # x86 keeps stores in order: the device sees descriptors and slots before the index.
    ptr16(s[w.Q_AVAIL] | (s[w.Q_AVAIL + 1] << 32))[w.AVAIL_IDX] = new
    s[w.Q_PUBLISHED] = new
    s[w.Q_TOLD] = new
    # The one place where the CPU may reorder: the index must be visible before we look
    # whether the device sleeps (2.7.13.4.1).
    fence()
    used = ptr16(s[w.Q_USED] | (s[w.Q_USED + 1] << 32))
    if s[w.Q_EVENT_IDX] != 0:
        event = used[w.USED_RING + (s[w.Q_MASK] + 1) * w.USED_ENTRY_SHORTS]
        if (new - event - 1) & 0xFFFF >= (new - old) & 0xFFFF:
            return
    elif used[w.USED_FLAGS] & w.USED_F_NO_NOTIFY:
        return
    notify = s[w.Q_NOTIFY] | (s[w.Q_NOTIFY + 1] << 32)
    if s[w.Q_NOTIFY_BYTES] == 2:
        ptr16(notify)[w.NOTIFY_INDEX] = s[w.Q_INDEX]
    else:
        ptr32(notify)[w.NOTIFY_INDEX] = s[w.Q_INDEX]


@micropython.viper
def show(state: int, low: int):
    """Let the device see everything added so far; `publish` if it may have fewer than `low` left.

    For buffers that wait for the device, not it for them: a device that has some does not sleep
    for want of others, so that what it asks to be told of can wait. It knows of those that it was
    told of, and of those before its event index, which it has seen by itself. Raises nothing.
    """
    s = ptr32(state)
    new = s[w.Q_AVAIL_IDX]
    ptr16(s[w.Q_AVAIL] | (s[w.Q_AVAIL + 1] << 32))[w.AVAIL_IDX] = new
    s[w.Q_PUBLISHED] = new
    fence()  # store before load: what it asks now, having seen these
    if s[w.Q_EVENT_IDX] != 0:
        told = s[w.Q_TOLD]
        used = ptr16(s[w.Q_USED] | (s[w.Q_USED + 1] << 32))
        event = used[w.USED_RING + (s[w.Q_MASK] + 1) * w.USED_ENTRY_SHORTS]
        if (event - told) & 0xFFFF <= (new - told) & 0xFFFF:
            s[w.Q_TOLD] = event  # the next to be told of, by its own wish
    # It may also have used more than that: it has looked by itself.
    left = (s[w.Q_TOLD] - s[w.Q_LAST_USED]) & 0xFFFF
    if left < low or left > s[w.Q_MASK] + 1:
        publish(state)


@inline
@micropython.viper
def pop(state: int) -> int:
    """Take one completion: `head << 32 | length`, or -1 if there is none, -2: it is broken.

    `length` is what the device says it wrote, at most the chain's device-writable bytes; 0
    for chains without any (vhost_vsock before Linux 5.16 puts the bytes it read there).
    """
    s = ptr32(state)
    if s[w.Q_BROKEN] != 0:
        return -2
    last = s[w.Q_LAST_USED]
    used = s[w.Q_USED] | (s[w.Q_USED + 1] << 32)
    ahead = (ptr16(used)[w.USED_IDX] - last) & 0xFFFF
    if ahead == 0:
        return -1
    if ahead > (s[w.Q_PUBLISHED] - last) & 0xFFFF:
        return int(_break(state, _RAN_AHEAD))
    # x86 keeps loads in order too: the entry is at least as new as the index read above.
    entry = ptr32(used + 2 * w.USED_RING + (last & s[w.Q_MASK]) * w.USED_ENTRY_BYTES)
    head = entry[w.USED_ID]
    length = entry[w.USED_LENGTH]
    if head > s[w.Q_MASK]:
        return int(_break(state, _ID_RANGE))
    at = w.Q_SHADOW + head * w.SHADOW_WORDS
    limit = s[at + w.SHADOW_TAG]
    if limit == 0:
        return int(_break(state, _ID_STRAY))
    if length >= limit:
        if limit != 1:
            return int(_break(state, _TOO_LONG))
        length = 0
    s[at + w.SHADOW_TAG] = 0
    count = s[at + w.SHADOW_LINK] >> w.SHADOW_COUNT_SHIFT
    link = s[at + w.SHADOW_LINK] & w.SHADOW_LINK_MASK
    s[at + w.SHADOW_LINK] = link
    s[w.Q_FREE] = s[w.Q_FREE] + count
    while count > 1:
        at = w.Q_SHADOW + link * w.SHADOW_WORDS
        link = s[at + w.SHADOW_LINK]
        count -= 1
    s[at + w.SHADOW_LINK] = s[w.Q_FREE_HEAD]
    s[w.Q_FREE_HEAD] = head
    s[w.Q_LAST_USED] = (last + 1) & 0xFFFF
    return head << 32 | length


@micropython.viper
def enable_interrupts(state: int) -> bool:
    """Ask for an interrupt at the next completion; True: one is there, do not sleep."""
    s = ptr32(state)
    avail = ptr16(s[w.Q_AVAIL] | (s[w.Q_AVAIL + 1] << 32))
    last = s[w.Q_LAST_USED]
    if s[w.Q_EVENT_IDX] != 0:
        avail[w.AVAIL_RING + s[w.Q_MASK] + 1] = last
    else:
        avail[w.AVAIL_FLAGS] = 0
    fence()  # store before load: else a completion right now would be seen by neither side
    return ptr16(s[w.Q_USED] | (s[w.Q_USED + 1] << 32))[w.USED_IDX] != last


@micropython.viper
def disable_interrupts(state: int):
    """Ask for no interrupts. A hint: some may still come."""
    s = ptr32(state)
    avail = ptr16(s[w.Q_AVAIL] | (s[w.Q_AVAIL + 1] << 32))
    if s[w.Q_EVENT_IDX] != 0:
        # An event index just passed is not passed again for 65,535 completions.
        avail[w.AVAIL_RING + s[w.Q_MASK] + 1] = (s[w.Q_LAST_USED] - 1) & 0xFFFF
    else:
        avail[w.AVAIL_FLAGS] = w.AVAIL_F_NO_INTERRUPT


@micropython.viper
def spin(state: int, looks: int) -> bool:
    """Look for a completion so many times; True as soon as there is one."""
    s = ptr32(state)
    index = ptr16(s[w.Q_USED] | (s[w.Q_USED + 1] << 32))
    last = s[w.Q_LAST_USED]
    while looks > 0:
        if index[w.USED_IDX] != last:
            return True
        looks -= 1
    return False


@inline
@micropython.viper
def _offer(state: int, head: int):
    """Put a chain into the available ring; publish() shows it."""
    s = ptr32(state)
    slot = s[w.Q_AVAIL_IDX]
    avail = ptr16(s[w.Q_AVAIL] | (s[w.Q_AVAIL + 1] << 32))
    avail[w.AVAIL_RING + (slot & s[w.Q_MASK])] = head
    s[w.Q_AVAIL_IDX] = (slot + 1) & 0xFFFF


@inline
@micropython.viper
def _put(at: int, address: int, length: int, flags_next: int):
    """Write the descriptor at `at` (2.7.5)."""
    desc = ptr32(at)
    desc[w.DESC_ADDRESS] = address
    desc[w.DESC_ADDRESS + 1] = address >> 32
    desc[w.DESC_LENGTH] = length
    desc[w.DESC_FLAGS_NEXT] = flags_next


@micropython.viper
def _link_all(state: int, size: int):
    """Put all descriptors on the free list."""
    s = ptr32(state)
    i = 1
    while i < size:
        s[w.Q_SHADOW + w.SHADOW_LINK + (i - 1) * w.SHADOW_WORDS] = i
        i += 1


@micropython.viper
def _break(state: int, why: int) -> int:
    """The queue has stopped for good; what the device was not shown it never sees."""
    s = ptr32(state)
    s[w.Q_BROKEN] = why
    s[w.Q_PUBLISHED] = s[w.Q_AVAIL_IDX]
    s[w.Q_TOLD] = s[w.Q_AVAIL_IDX]
    return -2


@micropython.viper
def _word(state: int, index: int) -> int:
    return ptr32(state)[index]


@micropython.native
def refuse(state):
    """Say why nothing can be added or taken. Raises QueueBroken, QueueFull."""
    index = _word(state, w.Q_INDEX)
    broken = _word(state, w.Q_BROKEN)
    if broken:
        raise QueueBroken("queue %d: %s" % (index, _REASONS[broken - 1]))
    raise QueueFull("queue %d: no free descriptors" % index)


def _row(i):
    """Where in the words a descriptor's shadow begins."""
    return w.Q_SHADOW + w.SHADOW_WORDS * i
