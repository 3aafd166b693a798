# SPDX-License-Identifier: MIT
"""Buffers that a device fills: posted, taken back when it has written to them, posted again.

For any queue of that direction, whatever its device is for. Each posted buffer has a tag, a number
of the driver's own, which comes back with it; the driver says where the buffer lies each time. The
device is shown new buffers by the batch, and notified of them late, if at all, because that costs
its thread a wake-up and a virtual machine an exit.
"""

from array import array

from inline import inline
from portable import addressof, micropython, ptr32, put_address

from . import queue as ring
from . import words as w


class Buffers:
    """The buffers of one Virtqueue. `at` is the address of the words that `take` and `post` want.

    Life: `post` each buffer once, `show` them; then `take` what is there, use it, `post` it again.
    Buffers belong to the device from being posted until they are taken.
    """

    def __init__(self, queue, length):
        """Every buffer has `length` bytes."""
        self.queue = queue
        self._tags = array("I", bytes(4 * queue.size))  # by head
        self._words = array("I", bytes(4 * w.POOL_WORDS))
        self.at = addressof(self._words)
        put_address(self._words, w.POOL_RING, queue.state)
        put_address(self._words, w.POOL_TAGS, addressof(self._tags))
        self._words[w.POOL_LENGTH] = length

    def fill(self, buffers):
        """Post the first buffers, `(address, tag)` each, as many as fit; returns how many.

        From then on they are shown by the quarter, and the device is notified, if it asked for
        that, once it knows of fewer than half of them. Linux's vhost asks each time that buffers
        are shown, and sees them all the same as soon as it comes to its next packet.
        """
        words = self._words
        words[w.POOL_BATCH] = self.queue.size + 1  # none before show()
        posted = 0
        for address, tag in buffers:
            if not self.queue.free:
                break
            post(self.at, address, tag)
            posted += 1
        words[w.POOL_BATCH] = (posted + 3) // 4
        words[w.POOL_LOW] = (posted + 1) // 2
        return posted

    def show(self):
        """Show the device what was posted; the device must be running."""
        self._words[w.POOL_HIDDEN] = 0
        self.queue.publish()

    @micropython.native
    def tags(self):
        """The tags of the buffers that the device has, for who takes them back after a reset."""
        return [self._tags[head] for head in range(self.queue.size) if self.queue.holds(head)]

    def take(self):
        """The function `take` on this pool."""
        return take(self.at)

    def post(self, address, tag):
        """The function `post` on this pool."""
        post(self.at, address, tag)


@inline
@micropython.viper
def take(pool: int) -> int:
    """Take back a buffer that the device has filled: `tag << 32 | bytes written`; -1: none.

    The number of bytes is at most the buffer's. Raises QueueBroken.
    """
    p = ptr32(pool)
    used = int(ring.pop(p[w.POOL_RING] | (p[w.POOL_RING + 1] << 32)))
    if used < 0:
        if used != -1:
            ring.refuse(p[w.POOL_RING] | (p[w.POOL_RING + 1] << 32))
        return -1
    head = used >> 32
    tags = ptr32(p[w.POOL_TAGS] | (p[w.POOL_TAGS + 1] << 32))
    return (tags[head] << 32) | (used - (head << 32))


@inline
@micropython.viper
def post(pool: int, address: int, tag: int):
    """Give the device the buffer at `address`. Raises QueueFull, QueueBroken."""
    p = ptr32(pool)
    queue = p[w.POOL_RING] | (p[w.POOL_RING + 1] << 32)
    head = int(ring.add1(queue, address, p[w.POOL_LENGTH], 1))
    tags = ptr32(p[w.POOL_TAGS] | (p[w.POOL_TAGS + 1] << 32))
    tags[head] = tag
    hidden = p[w.POOL_HIDDEN] + 1
    if hidden >= p[w.POOL_BATCH]:
        hidden = 0
        ring.show(queue, p[w.POOL_LOW])
    p[w.POOL_HIDDEN] = hidden
