# SPDX-License-Identifier: MIT
"""Where decisions come from: the bytes of a batch, one after the other; 255 when they are over.

So a batch is its bytes: the same bytes, the same batch, in whichever Python.
"""

SIZES = (0, 1, 2, 43, 64, 500, 1000, 2047, 2048, 2049, 4095, 4096, 4097, 9000, 65535, 65536)
WORDS = (0, 1, 2, 3, 33, 34, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 4096, 65536, 262144)


class Source:
    """Decisions, made of `data`."""

    def __init__(self, data):
        self._data = data
        self._at = 0
        self._end = len(data)

    def over(self):
        """Whether there are no more."""
        return self._at >= self._end

    def byte(self):
        """A number below 256."""
        at = self._at
        if at >= self._end:
            return 255
        self._at = at + 1
        return self._data[at]

    def below(self, n):
        """A number below `n`, which is at most 65,536."""
        if n <= 256:
            return self.byte() * n >> 8
        return (self.byte() << 8 | self.byte()) * n >> 16

    def chance(self, n):
        """True, so many times in 256."""
        return self.byte() < n

    def pick(self, choices):
        """One of some."""
        return choices[self.byte() * len(choices) >> 8]

    def word(self):
        """32 bits, often those at some border."""
        kind = self.byte()
        if kind < 128:
            return WORDS[kind % len(WORDS)]
        if kind < 192:
            return self.byte()
        word = self.byte() | self.byte() << 8
        return word | self.byte() << 16 | self.byte() << 24

    def size(self):
        """A length in bytes, from 0 to 65,536: mostly a small one."""
        kind = self.byte()
        if kind < 160:
            return kind
        if kind < 240:
            return SIZES[kind % len(SIZES)]
        return self.below(65536)


class Noise:
    """Numbers that follow from a first one, where a batch's bytes would not be enough."""

    def __init__(self, first):
        self._state = first & 0x7FFFFFFF

    def chance(self, n):
        """True, so many times in 256."""
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return self._state >> 16 & 0xFF < n

    def word(self):
        """32 bits."""
        self._state = (self._state * 1103515245 + 12345) & 0x7FFFFFFF
        return self._state << 1 | self._state >> 30
