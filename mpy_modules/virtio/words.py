# SPDX-License-Identifier: MIT
"""Layouts of virtio, each number once: the split virtqueue's rings, its private state, a pool's.

Constants only: the build folds them into the modules that use them. An address takes two 32-bit
words, its low half first.
"""

from portable import const

# A descriptor as four 32-bit words (virtio 1.2, 2.7.5).
DESC_ADDRESS = const(0)  # two words
DESC_LENGTH = const(2)
DESC_FLAGS_NEXT = const(3)  # flags in the low half, the next descriptor in the high half
DESC_NEXT_SHIFT = const(16)
DESC_BYTES = const(16)

DESC_F_NEXT = const(1)
DESC_F_WRITE = const(2)  # the device writes to it
DESC_F_INDIRECT = const(4)

# The available ring as 16-bit words (2.7.6).
AVAIL_FLAGS = const(0)
AVAIL_IDX = const(1)
AVAIL_RING = const(2)  # size words, then used_event
AVAIL_BYTES = const(6)  # without the ring
AVAIL_F_NO_INTERRUPT = const(1)

# The used ring (2.7.8): 16-bit words, then entries of two 32-bit words.
USED_FLAGS = const(0)
USED_IDX = const(1)
USED_RING = const(2)  # 16-bit words before the entries; avail_event follows them
USED_ENTRY_BYTES = const(8)
USED_ENTRY_SHORTS = const(4)
USED_ID = const(0)
USED_LENGTH = const(1)
USED_BYTES = const(6)  # without the entries
USED_F_NO_NOTIFY = const(1)

NOTIFY_INDEX = const(0)  # the word at a queue's notification address (4.1.4.4, 4.2.2)

# The driver's private state of a queue. Nobody but queue.py writes it, after `Virtqueue` made it.
Q_DESC = const(0)  # address of the descriptor table; never changes
Q_AVAIL = const(2)  # address of the available ring; never changes
Q_USED = const(4)  # address of the used ring; never changes
Q_NOTIFY = const(6)  # address that takes notifications; never changes
Q_INDEX = const(8)  # which queue of the device: what a notification carries; never changes
Q_MASK = const(9)  # size - 1; never changes
Q_BROKEN = const(10)  # 0, or 1 + index of the reason; set once, cleared by nobody
Q_EVENT_IDX = const(11)  # 1 if VIRTIO_F_EVENT_IDX was negotiated; never changes
Q_NOTIFY_BYTES = const(17)  # 2 or 4, how wide a notification is; never changes
Q_FREE = const(12)  # descriptors on the free list; add takes, pop gives back
Q_FREE_HEAD = const(13)  # the first of them
Q_AVAIL_IDX = const(14)  # next slot of the available ring to fill; 16 bits, wraps
Q_PUBLISHED = const(15)  # what avail.idx says in the ring; 16 bits, wraps
Q_LAST_USED = const(16)  # next entry of the used ring to take; 16 bits, wraps
Q_TOLD = const(18)  # what avail.idx said when a notification was last sent, or not wanted; 16 bits
Q_SHADOW = const(19)  # from here on two words for each descriptor:
SHADOW_LINK = const(0)  # next of its chain or of the free list; a head has its chain's count in
SHADOW_COUNT_SHIFT = const(16)  # the bits from here up
SHADOW_LINK_MASK = const(0xFFFF)
SHADOW_TAG = const(1)  # 0: free, or not a head; else 1 + bytes that the device may write
SHADOW_WORDS = const(2)

# A pool of receive buffers (buffers.py). Nobody else writes it.
POOL_RING = const(0)  # address of the queue's state; never changes
POOL_TAGS = const(2)  # address of the table that has each posted buffer's tag, by head
POOL_LENGTH = const(4)  # bytes of each buffer; never changes
POOL_HIDDEN = const(5)  # posted buffers that the device has not been shown; publishing clears it
POOL_BATCH = const(6)  # so many of them are shown together
POOL_LOW = const(7)  # the device knows of fewer: it is notified, if it asked for that
POOL_WORDS = const(8)
