# SPDX-License-Identifier: MIT
"""Split virtqueue (virtio 1.2, 2.7), driver's side, with event index and indirect descriptors.

The rings are shared with the device, which is not trusted: every decision is made from a private
shadow (`_words`, in the garbage-collected heap) that is never read back from the rings, and each
used entry is read exactly once, then checked. Knows nothing of PCI or of what the buffers mean.
"""

from array import array

import micropython
import uctypes
from inline import inline
from machine import DMABuffer, fence
from micropython import const

from .errors import QueueBroken, QueueFull

_MAX_SIZE = const(32768)  # 2.7: the largest a split queue can be
_INDIRECT_LIMIT = const(16)  # segments in one indirect table
_INDIRECT_FROM = const(3)  # a table costs one more memory touch: it pays from three segments on

_F_NEXT = const(1)  # descriptor flags, 2.7.5
_F_WRITE = const(2)
_F_INDIRECT = const(4)
_NO_INTERRUPT = const(1)  # avail.flags, 2.7.6
_NO_NOTIFY = const(1)  # used.flags, 2.7.8

# The private state is one array of 32-bit words, so that a viper function reaches all of it
# through one pointer. Addresses take two words, low half first.
_DESC = const(0)
_AVAIL = const(2)
_USED = const(4)
_NOTIFY = const(6)
_INDEX = const(8)  # which queue of the device this is: the value that a notification carries
_MASK = const(9)  # size - 1
_BROKEN = const(10)  # 0, or the index in _REASONS plus 1
_EVENT_IDX = const(11)  # 1 if VIRTIO_F_EVENT_IDX was negotiated
_FREE = const(12)  # descriptors on the free list
_FREE_HEAD = const(13)
_AVAIL_IDX = const(14)  # next avail slot to fill; 16-bit, wraps
_PUBLISHED = const(15)  # what avail.idx says in the ring
_LAST_USED = const(16)  # next used slot to take; 16-bit, wraps
_SHADOW = const(18)
# From _SHADOW on, two words for each descriptor:
#   link  next descriptor of its chain or of the free list; a chain's head has the number of
#         descriptors of its chain in bits 16 and up
#   tag   0: free, or not the first of its chain; else 1 + bytes that the device may write

_REASONS = (
    "used index ran ahead of what was offered",
    "used id out of range",
    "used id is not the head of a chain in flight",
    "used length exceeds the device-writable bytes",
    "closed",
)
_STATE_LAYOUT = {"index": _INDEX * 4 | uctypes.UINT32, "broken": _BROKEN * 4 | uctypes.UINT32}


class Virtqueue:
    """One split virtqueue; see the module's docstring for whom it trusts.

    A queue belongs to one caller: add, publish and pop must not run concurrently. Buffers belong
    to the device from `publish()` until `pop()` returns their head. `size` is a power of two,
    `notify_address` the MMIO address that takes `index` as a 16-bit notification.

    Most of it is functions of this module that take `state`, the address of the private words, so
    that the build can put them where they are called.
    """

    def __init__(self, index, size, notify_address, event_idx=False, indirect=False):
        if not 1 <= size <= _MAX_SIZE or size & (size - 1):
            raise ValueError("queue size must be a power of two, at most 32768")
        self.size = size
        self.index = index
        self.vector = None  # the machine.Vector of its MSI-X entry; set by the device
        # 2.7: descriptors (align 16), avail (2), used (4; here it gets a cache line of its own)
        avail = 16 * size
        used = (avail + 6 + 2 * size + 63) & ~63
        self._rings = DMABuffer(used + 6 + 8 * size)
        self._indirect = indirect
        self._tables = None  # indirect tables, one for each descriptor, made when first needed
        self.desc_address = self._rings.addr
        self.avail_address = self.desc_address + avail
        self.used_address = self.desc_address + used
        words = array("I", bytes(4 * (_SHADOW + 2 * size)))
        for at, address in (
            (_DESC, self.desc_address),
            (_AVAIL, self.avail_address),
            (_USED, self.used_address),
            (_NOTIFY, notify_address),
        ):
            words[at] = address & 0xFFFFFFFF
            words[at + 1] = address >> 32
        words[_INDEX] = index
        words[_MASK] = size - 1
        words[_EVENT_IDX] = 1 if event_idx else 0
        words[_FREE] = size
        self._words = words
        self.state = uctypes.addressof(words)  # an int: a cheaper pointer than `words`
        _link_all(self.state, size)
        self.disable_interrupts()

    @property
    def free(self):
        """Descriptors that are free now."""
        return self._words[_FREE]

    @property
    def in_flight(self):
        """Chains that were added and not yet popped."""
        words = self._words
        return (words[_AVAIL_IDX] - words[_LAST_USED]) & 0xFFFF

    @property
    def broken(self):
        """The reason why this queue has stopped, or None."""
        why = self._words[_BROKEN]
        return _REASONS[why - 1] if why else None

    def close(self):
        """Free the rings. Reset the device before: until then they are its to write."""
        self._words[_BROKEN] = len(_REASONS)
        self._rings.free()
        if self._tables is not None:
            self._tables.free()

    def add1(self, address, length, device_writes):
        """The function `add1` on this queue."""
        return add1(self.state, address, length, device_writes)

    def add2(self, address0, length0, address1, length1):
        """The function `add2` on this queue."""
        return add2(self.state, address0, length0, address1, length1)

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
        if words[_BROKEN] or words[_FREE] < (1 if indirect else segments):
            _refuse(self.state)
        total = sum(length for _, length in writable)
        if total >= 1 << 31:
            raise ValueError("chain longer than 2 GiB")
        head = words[_FREE_HEAD]
        if indirect:
            self._fill_table(head, readable, writable)
            segments = 1
        else:
            self._fill_ring(head, readable, writable)
        tail = head
        for _ in range(segments - 1):
            tail = words[_SHADOW + 2 * tail]
        words[_FREE_HEAD] = words[_SHADOW + 2 * tail]
        words[_FREE] -= segments
        at = _SHADOW + 2 * head
        words[at] = (words[at] if segments > 1 else 0) | segments << 16
        words[at + 1] = 1 + total
        _offer(self.state, head)
        return head

    def _fill_ring(self, head, readable, writable):
        left = len(readable) + len(writable)
        base = self.desc_address
        i = head
        for write, segments in ((0, readable), (_F_WRITE, writable)):
            for address, length in segments:
                left -= 1
                link = self._words[_SHADOW + 2 * i] if left else 0
                _put(base + 16 * i, address, length, write | (_F_NEXT | link << 16 if left else 0))
                i = link

    def _fill_table(self, head, readable, writable):
        if self._tables is None:
            self._tables = DMABuffer(16 * _INDIRECT_LIMIT * self.size)
        table = self._tables.addr + 16 * _INDIRECT_LIMIT * head
        left = len(readable) + len(writable)
        at = table
        link = 0
        for write, segments in ((0, readable), (_F_WRITE, writable)):
            for address, length in segments:
                left -= 1
                link += 1
                _put(at, address, length, write | (_F_NEXT | link << 16 if left else 0))
                at += 16
        _put(self.desc_address + 16 * head, table, at - table, _F_INDIRECT)

    def publish(self):
        """The function `publish` on this queue."""
        publish(self.state)

    def pop(self):
        """The function `pop` on this queue."""
        return pop(self.state)

    def enable_interrupts(self):
        """The function `enable_interrupts` on this queue."""
        return enable_interrupts(self.state)

    def disable_interrupts(self):
        """The function `disable_interrupts` on this queue."""
        disable_interrupts(self.state)


@inline
@micropython.viper
def add1(state: int, address: int, length: int, device_writes: int) -> int:
    """Add a chain of one buffer: `length` bytes at `address`; returns its head.

    Raises QueueFull, QueueBroken.
    """
    s = ptr32(state)
    if s[_BROKEN] != 0 or s[_FREE] == 0:
        _refuse(state)
    head = s[_FREE_HEAD]
    at = _SHADOW + head * 2
    s[_FREE_HEAD] = s[at]
    s[_FREE] = s[_FREE] - 1
    s[at] = 0x10000
    desc = ptr32((s[_DESC] | (s[_DESC + 1] << 32)) + head * 16)
    desc[0] = address
    desc[1] = address >> 32
    desc[2] = length
    if device_writes:
        desc[3] = _F_WRITE
        s[at + 1] = length + 1
    else:
        desc[3] = 0
        s[at + 1] = 1
    slot = s[_AVAIL_IDX]
    avail = ptr16(s[_AVAIL] | (s[_AVAIL + 1] << 32))
    avail[2 + (slot & s[_MASK])] = head
    s[_AVAIL_IDX] = (slot + 1) & 0xFFFF
    return head


@inline
@micropython.viper
def add2(state: int, address0: int, length0: int, address1: int, length1: int) -> int:
    """Add a chain of two buffers that the device reads, in this order; returns its head.

    Raises QueueFull, QueueBroken.
    """
    s = ptr32(state)
    if s[_BROKEN] != 0 or s[_FREE] < 2:
        _refuse(state)
    head = s[_FREE_HEAD]
    at = _SHADOW + head * 2
    tail = s[at]
    s[_FREE_HEAD] = s[_SHADOW + tail * 2]
    s[_FREE] = s[_FREE] - 2
    s[at] = tail | 0x20000
    s[at + 1] = 1
    base = s[_DESC] | (s[_DESC + 1] << 32)
    desc = ptr32(base + head * 16)
    desc[0] = address0
    desc[1] = address0 >> 32
    desc[2] = length0
    desc[3] = _F_NEXT | (tail << 16)
    desc = ptr32(base + tail * 16)
    desc[0] = address1
    desc[1] = address1 >> 32
    desc[2] = length1
    desc[3] = 0
    slot = s[_AVAIL_IDX]
    avail = ptr16(s[_AVAIL] | (s[_AVAIL + 1] << 32))
    avail[2 + (slot & s[_MASK])] = head
    s[_AVAIL_IDX] = (slot + 1) & 0xFFFF
    return head


@micropython.viper
def _offer(state: int, head: int):
    s = ptr32(state)
    slot = s[_AVAIL_IDX]
    avail = ptr16(s[_AVAIL] | (s[_AVAIL + 1] << 32))
    avail[2 + (slot & s[_MASK])] = head
    s[_AVAIL_IDX] = (slot + 1) & 0xFFFF


@inline
@micropython.viper
def publish(state: int):
    """Let the device see everything added so far; notify it only if it asked for that."""
    s = ptr32(state)
    new = s[_AVAIL_IDX]
    old = s[_PUBLISHED]
    if new == old:
        return
    if s[_BROKEN] != 0:
        _refuse(state)
    # x86 keeps stores in order: the device sees descriptors and slots before the index.
    ptr16(s[_AVAIL] | (s[_AVAIL + 1] << 32))[1] = new
    s[_PUBLISHED] = new
    # The one place where the CPU may reorder: the index must be visible before we look
    # whether the device sleeps (2.7.13.4.1).
    fence()
    used = ptr16(s[_USED] | (s[_USED + 1] << 32))
    if s[_EVENT_IDX] != 0:
        event = used[2 + (s[_MASK] + 1) * 4]
        if (new - event - 1) & 0xFFFF >= (new - old) & 0xFFFF:
            return
    elif used[0] & _NO_NOTIFY:
        return
    ptr16(s[_NOTIFY] | (s[_NOTIFY + 1] << 32))[0] = s[_INDEX]


@inline
@micropython.viper
def pop(state: int) -> int:
    """Take one completion: `head << 32 | length`, or -1 if there is none.

    `length` is what the device says it wrote, at most the chain's device-writable bytes; 0
    for chains without any (vhost_vsock before Linux 5.16 puts the bytes it read there).
    Raises QueueBroken.
    """
    s = ptr32(state)
    if s[_BROKEN] != 0:
        _refuse(state)
    last = s[_LAST_USED]
    used = s[_USED] | (s[_USED + 1] << 32)
    ahead = (ptr16(used)[1] - last) & 0xFFFF
    if ahead == 0:
        return -1
    if ahead > (s[_PUBLISHED] - last) & 0xFFFF:
        _break(state, 1)
    # x86 keeps loads in order too: the entry is at least as new as the index read above.
    entry = ptr32(used + 4 + (last & s[_MASK]) * 8)
    head = entry[0]
    length = entry[1]
    if head > s[_MASK]:
        _break(state, 2)
    at = _SHADOW + head * 2
    limit = s[at + 1]
    if limit == 0:
        _break(state, 3)
    if length >= limit:
        if limit != 1:
            _break(state, 4)
        length = 0
    s[at + 1] = 0
    count = s[at] >> 16
    link = s[at] & 0xFFFF
    s[at] = link
    s[_FREE] = s[_FREE] + count
    while count > 1:
        at = _SHADOW + link * 2
        link = s[at]
        count -= 1
    s[at] = s[_FREE_HEAD]
    s[_FREE_HEAD] = head
    s[_LAST_USED] = (last + 1) & 0xFFFF
    return head << 32 | length


@micropython.viper
def enable_interrupts(state: int) -> bool:
    """Ask for an interrupt at the next completion; True: one is there, do not sleep."""
    s = ptr32(state)
    avail = ptr16(s[_AVAIL] | (s[_AVAIL + 1] << 32))
    last = s[_LAST_USED]
    if s[_EVENT_IDX] != 0:
        avail[2 + s[_MASK] + 1] = last
    else:
        avail[0] = 0
    fence()  # store before load: else a completion right now would be seen by neither side
    return ptr16(s[_USED] | (s[_USED + 1] << 32))[1] != last


@micropython.viper
def disable_interrupts(state: int):
    """Ask for no interrupts. A hint: some may still come."""
    s = ptr32(state)
    avail = ptr16(s[_AVAIL] | (s[_AVAIL + 1] << 32))
    if s[_EVENT_IDX] != 0:
        # An event index just passed is not passed again for 65,535 completions.
        avail[2 + s[_MASK] + 1] = (s[_LAST_USED] - 1) & 0xFFFF
    else:
        avail[0] = _NO_INTERRUPT


@micropython.viper
def spin(state: int, looks: int) -> bool:
    """Look for a completion so many times; True as soon as there is one."""
    s = ptr32(state)
    index = ptr16(s[_USED] | (s[_USED + 1] << 32))
    last = s[_LAST_USED]
    while looks > 0:
        if index[1] != last:
            return True
        looks -= 1
    return False


def _refuse(state):
    words = uctypes.struct(state, _STATE_LAYOUT)
    if words.broken:
        raise QueueBroken("queue %d: %s" % (words.index, _REASONS[words.broken - 1]))
    raise QueueFull("queue %d: no free descriptors" % words.index)


@micropython.viper
def _break(state: int, why: int):
    ptr32(state)[_BROKEN] = why
    _refuse(state)


@micropython.viper
def _link_all(state: int, size: int):
    """Put all descriptors on the free list."""
    s = ptr32(state)
    i = 1
    while i < size:
        s[_SHADOW - 2 + 2 * i] = i
        i += 1


@micropython.viper
def _put(at: int, address: int, length: int, flags_next: int):
    """Write one descriptor (2.7.5): 64-bit address, 32-bit length, 16-bit flags, 16-bit next."""
    desc = ptr32(at)
    desc[0] = address
    desc[1] = address >> 32
    desc[2] = length
    desc[3] = flags_next
