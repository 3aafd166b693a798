# SPDX-License-Identifier: MIT
"""The options of level SOL_SOCKET, which Linux has for sockets of every family, value by value.

Most are kept and read back, and mean nothing to a socket of this family. A new one is a row.
"""

import struct

import errnos
from portable import const

from . import numbers as num

SOL_SOCKET = const(1)
SO_DEBUG = const(1)
SO_REUSEADDR = const(2)  # taken, and without a meaning: nor has it one on Linux's AF_VSOCK
SO_TYPE = const(3)
SO_ERROR = const(4)
SO_DONTROUTE = const(5)
SO_BROADCAST = const(6)
SO_SNDBUF = const(7)
SO_RCVBUF = const(8)
SO_KEEPALIVE = const(9)
SO_OOBINLINE = const(10)
SO_NO_CHECK = const(11)
SO_PRIORITY = const(12)
SO_LINGER = const(13)
SO_REUSEPORT = const(15)
SO_PASSCRED = const(16)
SO_PEERCRED = const(17)
SO_RCVLOWAT = const(18)
SO_SNDLOWAT = const(19)
SO_RCVTIMEO = const(20)
SO_SNDTIMEO = const(21)
SO_BINDTODEVICE = const(25)
SO_TIMESTAMP = const(29)
SO_ACCEPTCONN = const(30)
SO_PEERSEC = const(31)
SO_PASSSEC = const(34)
SO_TIMESTAMPNS = const(35)
SO_MARK = const(36)
SO_PROTOCOL = const(38)
SO_DOMAIN = const(39)
SO_RXQ_OVFL = const(40)
SO_WIFI_STATUS = const(41)
SO_PEEK_OFF = const(42)
SO_NOFCS = const(43)
SO_LOCK_FILTER = const(44)
SO_SELECT_ERR_QUEUE = const(45)
SO_BUSY_POLL = const(46)
SO_MAX_PACING_RATE = const(47)
SO_ZEROCOPY = const(60)
SO_RCVTIMEO_NEW = const(66)
SO_SNDTIMEO_NEW = const(67)

_SWITCHES = (
    SO_DEBUG,
    SO_REUSEADDR,
    SO_DONTROUTE,
    SO_BROADCAST,
    SO_KEEPALIVE,
    SO_OOBINLINE,
    SO_NO_CHECK,
    SO_PASSCRED,
    SO_TIMESTAMP,
    SO_PASSSEC,
    SO_TIMESTAMPNS,
    SO_RXQ_OVFL,
    SO_WIFI_STATUS,
    SO_NOFCS,
    SO_LOCK_FILTER,
    SO_SELECT_ERR_QUEUE,
)
_NUMBERS = (SO_PRIORITY, SO_MARK, SO_BUSY_POLL)
# Buffers of other families: Linux takes at most so much, doubles it, and keeps at least so much.
_BUFFERS = {SO_SNDBUF: 4608, SO_RCVBUF: 2304}
_BUFFER_MOST = const(212992)
_LINGER = struct.pack("<ii", 0, 0)
_LINGER_MOST = const(0x978D4FDF)  # what Linux makes of a negative time, with 250 ticks a second
_TIMEOUTS = {
    SO_RCVTIMEO: "receive_us",
    SO_SNDTIMEO: "send_us",
    SO_RCVTIMEO_NEW: "receive_us",
    SO_SNDTIMEO_NEW: "send_us",
}
# What can only be read, and its value; see _current for those that have one of their own.
_FIXED = {
    SO_REUSEPORT: struct.pack("<i", 0),
    SO_PEERCRED: struct.pack("<Iii", 0, -1, -1),  # a peer on another machine: nobody
    SO_SNDLOWAT: struct.pack("<i", 1),
    SO_BINDTODEVICE: b"",
    SO_MAX_PACING_RATE: b"\xff" * 8,
    SO_ZEROCOPY: struct.pack("<i", 0),
}
_REFUSED = (SO_PEEK_OFF, SO_ZEROCOPY, SO_REUSEPORT)  # known, but not to this family

_INT_MAX = const(0x7FFFFFFF)
TICK_US = const(4000)  # Linux's clock, to which it rounds time-outs up
_LONGEST = const(36893488147419102)  # seconds


def first(value, length):
    """A value's first `length` bytes; an int is one of 64 bits. Raises EINVAL if it has fewer."""
    if isinstance(value, int):
        value = struct.pack("<Q", value & 0xFFFFFFFFFFFFFFFF)
    if len(value) < length:
        raise OSError(errnos.EINVAL)
    return bytes(memoryview(value)[:length])


def integer(value):
    """The int of C that a value begins with. Raises EINVAL."""
    return struct.unpack("<i", first(value, 4))[0]


def timeval(us):
    """A struct timeval of microseconds; None, for ever, is 0."""
    return struct.pack("<qq", *divmod(us or 0, 1000000))


def _microseconds(value):
    """What SO_RCVTIMEO is set to: None waits for ever. Raises EINVAL, EDOM."""
    seconds, micros = struct.unpack("<qq", first(value, 16))
    if not 0 <= micros < 1000000:
        raise OSError(errnos.EDOM)
    if seconds < 0:
        return 0
    if seconds == micros == 0 or seconds >= _LONGEST:
        return None
    return seconds * 1000000 + -(-micros // TICK_US) * TICK_US


def set_general(sock, name, value):
    """setsockopt at level SOL_SOCKET. Raises ENOPROTOOPT, EOPNOTSUPP, EINVAL, EDOM."""
    number = integer(value)
    options = sock.options
    if name in _SWITCHES:
        options.keep(name, 1 if number else 0)
    elif name in _NUMBERS:
        options.keep(name, number)
    elif name in _BUFFERS:
        most = min(number & 0xFFFFFFFF, _BUFFER_MOST)
        options.keep(name, max(2 * most, _BUFFERS[name]))
    elif name in _TIMEOUTS:
        setattr(options, _TIMEOUTS[name], _microseconds(value))
    elif name == SO_RCVLOWAT and sock.kind.borders:
        options.force_lowat(number if number >= 0 else _INT_MAX, sock.connection)
    elif name == SO_RCVLOWAT:
        options.set_lowat(number, sock.connection)
    elif name == SO_LINGER:
        on, seconds = struct.unpack("<ii", first(value, 8))
        if on:
            seconds = seconds if seconds >= 0 else _LINGER_MOST
            options.keep(name, struct.pack("<iI", 1, seconds))
        else:
            options.keep(name, struct.pack("<i", 0) + options.kept(name, _LINGER)[4:])
    elif name in _REFUSED:
        if number or name != SO_REUSEPORT:
            raise OSError(errnos.EOPNOTSUPP)
    else:
        raise OSError(errnos.ENOPROTOOPT)


def get_general(sock, name):
    """The bytes of an option of level SOL_SOCKET. Raises ENOPROTOOPT, EOPNOTSUPP."""
    options = sock.options
    if name in _FIXED:
        return _FIXED[name]
    if name in _TIMEOUTS:
        return timeval(getattr(options, _TIMEOUTS[name]))
    if name == SO_LINGER:
        return options.kept(name, _LINGER)
    if name == SO_PEEK_OFF:
        raise OSError(errnos.EOPNOTSUPP)
    return struct.pack("<I", _current(sock, options, name) & 0xFFFFFFFF)


def _current(sock, options, name):
    if name == SO_ERROR:
        return sock.take_error()
    if name == SO_TYPE:
        return sock.type
    if name == SO_DOMAIN:
        return num.AF_VSOCK
    if name == SO_PROTOCOL:
        return 0
    if name == SO_ACCEPTCONN:
        return 1 if sock.is_listening() else 0
    if name == SO_RCVLOWAT:
        return options.lowat
    if name in _SWITCHES or name in _NUMBERS:
        return options.kept(name, 0)
    if name in _BUFFERS:
        return options.kept(name, _BUFFER_MOST)
    raise OSError(errnos.ENOPROTOOPT)
