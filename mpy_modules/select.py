# SPDX-License-Identifier: MIT
"""MicroPython's `select` with the names that CPython's has on Linux.

The poll bits are those that sockets answer with (sockets/endpoint.py), if they are asked for.
"""

from portable import const
from sockets import numbers as num
from uselect import POLLERR, POLLHUP, POLLIN, POLLOUT, poll  # noqa: F401  in C

POLLPRI = num.POLLPRI
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


def select(rlist, wlist, xlist, timeout=None):
    """Wait until one is readable, writable or exceptional; three lists of those that are.

    `timeout` in seconds, None waits for ever. Raises ValueError if it is negative.
    """
    if timeout is not None and timeout < 0:
        raise ValueError("timeout must be non-negative")
    asked = ((rlist, _READABLE), (wlist, _WRITABLE), (xlist, _EXCEPTIONAL))
    masks = {}
    for each, mask in asked:
        for one in each:
            masks[id(one)] = masks.get(id(one), 0) | mask
    poller = poll()
    for each, _ in asked:
        for one in each:
            poller.register(one, masks[id(one)])
    wait = -1 if timeout is None else int(timeout * 1000)
    found = {id(one): bits for one, bits in poller.poll(wait)}
    return tuple([one for one in each if found.get(id(one), 0) & mask] for each, mask in asked)
