# SPDX-License-Identifier: MIT
"""Numbers of sockets, for programs that have it from fileno() and give it to select."""

_FIRST = 3  # the least that is free, as everywhere; 0 to 2 are the console
_sockets = {}  # by number: those that were asked for theirs and are open
_kept = set()  # the numbers of those that are detached: nothing else holds them


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
    _kept.discard(number)


def find(number):
    """The socket of a number, or None."""
    return _sockets.get(number)


def keep(number, sock, detached=True):
    """The number is another socket's now: one that is `detached`, or a program's."""
    _sockets[number] = sock
    if detached:
        _kept.add(number)
    else:
        _kept.discard(number)


def is_kept(number):
    """Whether its socket is detached."""
    return number in _kept
