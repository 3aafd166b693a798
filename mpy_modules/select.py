# SPDX-License-Identifier: MIT
"""CPython's `select` over MicroPython's, which is in C (`uselect`).

What is waited for are objects, sockets among them, or the numbers that sockets' fileno() gives.
`poll` answers with what was registered: a socket equals its number, so that both may be asked for.
The poll bits are those that sockets answer with (sockets/polling.py), if they are asked for.
"""

import errnos
import uselect
from portable import const, micropython
from sockets import descriptors
from sockets import numbers as num
from sockets.endpoint import Endpoint

POLLIN = num.POLLIN
POLLPRI = num.POLLPRI
POLLOUT = num.POLLOUT
POLLERR = num.POLLERR
POLLHUP = num.POLLHUP
POLLNVAL = num.POLLNVAL
POLLRDNORM = num.POLLRDNORM
POLLRDBAND = num.POLLRDBAND
POLLWRNORM = num.POLLWRNORM
POLLWRBAND = num.POLLWRBAND
POLLRDHUP = num.POLLRDHUP
error = OSError

# What Linux's select() counts: an error makes both readable and writable.
_READABLE = const(num.POLL_READ | num.POLLRDBAND | num.POLLHUP | num.POLLERR)
_WRITABLE = const(num.POLL_WRITE | num.POLLWRBAND | num.POLLERR)
_EXCEPTIONAL = const(num.POLLPRI)


def _pollable(thing):
    """What can be polled for a thing or a number. Raises ValueError, TypeError, EBADF."""
    if isinstance(thing, Endpoint):
        if thing.is_closed():
            raise ValueError("file descriptor cannot be a negative integer (-1)")
        return thing
    if isinstance(thing, int):
        if thing < 0:
            raise ValueError("file descriptor cannot be a negative integer (%d)" % thing)
        found = descriptors.find(thing)
        if found is None:
            raise OSError(errnos.EBADF, "no open socket has that number")
        return found
    try:
        uselect.poll().register(thing, 0)  # one of its own: a failure leaves it spoiled
    except OSError:
        raise TypeError("argument must be an int, or have a fileno() method.")
    return thing


def _milliseconds(timeout):
    """A time-out of poll: rounded up; None and negative ones are -1, for ever."""
    if timeout is None or timeout < 0:
        return -1
    return -int(-timeout // 1)


class poll:
    """CPython's poll object; `ipoll` is MicroPython's."""

    def __init__(self):
        self._poll = uselect.poll()
        self._entries = {}  # (what was registered, what is polled for it), by the latter's id
        self._numbers = False  # some were registered by their numbers

    def register(self, fd, eventmask=POLLIN | POLLPRI | POLLOUT):
        """Watch a socket, another stream or a number; again, with another mask."""
        thing = _pollable(fd)
        self._poll.register(thing, eventmask)
        self._entries[id(thing)] = fd, thing
        self._numbers = self._numbers or fd is not thing

    def modify(self, fd, eventmask):
        """Change the mask. Raises ENOENT if it is not registered."""
        self._poll.modify(self._registered(fd), eventmask)

    def unregister(self, fd):
        """Forget it. Raises KeyError if it is not registered."""
        thing = self._registered(fd)
        if thing is None:
            raise KeyError(fd)
        self._poll.unregister(thing)
        del self._entries[id(thing)]

    def _registered(self, fd):
        """What is polled for a thing or a number; None if nothing is."""
        if id(fd) in self._entries:
            return fd
        for given, thing in self._entries.values():
            if given == fd:
                return thing
        return None

    @micropython.native
    def poll(self, timeout=None):
        """[(what was registered, its events)] after `timeout` milliseconds at most."""
        found = self._poll.poll(-1 if timeout is None else _milliseconds(timeout))
        if not self._numbers:
            return found
        return [(self._entries[id(thing)][0], bits) for thing, bits in found]

    def ipoll(self, *arguments):
        """MicroPython's: the same of what is polled, as an iterator that allocates nothing."""
        return self._poll.ipoll(*arguments)


def select(rlist, wlist, xlist, timeout=None):
    """Wait until one is readable, writable or exceptional; three lists of those that are.

    `timeout` in seconds, None waits for ever. Raises ValueError if it is negative.
    """
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    asked = [
        (list(each), mask)
        for each, mask in ((rlist, _READABLE), (wlist, _WRITABLE), (xlist, _EXCEPTIONAL))
    ]
    masks = {}
    things = {}
    for each, mask in asked:
        for one in each:
            things[id(one)] = thing = _pollable(one)
            masks[id(thing)] = masks.get(id(thing), 0) | mask
    poller = uselect.poll()
    for thing in things.values():
        poller.register(thing, masks[id(thing)])
    wait = -1 if timeout is None else _milliseconds(timeout * 1000)
    found = {id(thing): bits for thing, bits in poller.poll(wait)}
    return tuple(
        [[one for one in each if found.get(id(things[id(one)]), 0) & mask] for each, mask in asked]
    )
