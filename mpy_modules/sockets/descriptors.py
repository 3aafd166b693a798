# SPDX-License-Identifier: MIT
"""Numbers of sockets, for programs that have it from fileno() and give it to select."""

_FIRST = 3  # the least that is free, as everywhere; 0 to 2 are the console
_sockets = {}  # by number: those that were asked for theirs and are open


def give(sock):
    """A number for a socket."""
    number = _FIRST
    while number in _sockets:
        number += 1
    _sockets[number] = sock
    return number


def take_back(number):
    """Its socket is closed: the next one may have the number."""
    _sockets.pop(number, None)


def find(number):
    """The socket of a number, or None."""
    return _sockets.get(number)
