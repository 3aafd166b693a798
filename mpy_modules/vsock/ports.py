# SPDX-License-Identifier: MIT
"""Which number a socket gets that asks for any free port, a stream's or a datagram's."""

from portable import const

_FIRST = const(1024)
_LAST = const(0x3FFFFFFF)  # a small int in every product


class Automatic:
    """Numbers in turn, so that one that was given back is not soon another socket's."""

    def __init__(self, first):
        self.next = first

    def unused(self, taken):
        """The next number that is not in `taken`."""
        while True:
            number = self.next
            self.next = number + 1 if number < _LAST else _FIRST
            if number not in taken:
                return number
