# SPDX-License-Identifier: MIT
"""What sockets' calls are given, looked at as CPython does before it asks the kernel."""

from portable import const
from vsock import words as w

_SECONDS_MAX = const(9223372036)  # CPython counts 64 bits of nanoseconds


def timed_out():
    """What settimeout's end raises: as CPython's it has no number, `errno` is None."""
    return TimeoutError("timed out")


def checked_timeout(seconds):
    """A time-out as given, if CPython takes it. Raises ValueError, OverflowError, TypeError."""
    if seconds is not None:
        if not seconds >= 0:  # NaN is neither
            raise ValueError("Timeout value out of range")
        if seconds > _SECONDS_MAX:
            raise OverflowError("timestamp out of range")
    return seconds


def checked_address(address):
    """(cid, port): as in CPython 32 bits of each number, so that -1 is CID_ANY, or PORT_ANY."""
    if not isinstance(address, tuple):
        raise TypeError("AF_VSOCK address must be tuple, not %s" % type(address).__name__)
    if len(address) != 2:
        raise TypeError("an AF_VSOCK address is (cid, port), 2 numbers, not %d" % len(address))
    cid, port = address
    try:
        return cid & w.CID_ANY, port & w.PORT_ANY
    except TypeError:
        wrong = port if isinstance(cid, int) else cid
        raise TypeError("'%s' object cannot be interpreted as an integer" % type(wrong).__name__)
