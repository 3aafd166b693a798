# SPDX-License-Identifier: MIT
"""Socket options: what Linux's AF_VSOCK does with setsockopt and getsockopt, value by value.

Values travel as CPython passes them: an int, which on a socket of this family is 64 unsigned bits
whatever the option, or bytes packed as Linux's C types. A new option is a number and its meaning
here, or in general.py if sockets of every family have it, and its name in socket.py.
"""

import struct

import errnos
from portable import const, micropython
from vsock import credit
from vsock import words as w

from . import general
from . import numbers as num

SO_VM_SOCKETS_BUFFER_SIZE = const(0)  # linux/vm_sockets.h
SO_VM_SOCKETS_BUFFER_MIN_SIZE = const(1)
SO_VM_SOCKETS_BUFFER_MAX_SIZE = const(2)
SO_VM_SOCKETS_PEER_HOST_VM_ID = const(3)  # VMware's, as are TRUSTED and NONBLOCK_TXRX
SO_VM_SOCKETS_TRUSTED = const(5)
SO_VM_SOCKETS_CONNECT_TIMEOUT = const(6)
SO_VM_SOCKETS_NONBLOCK_TXRX = const(7)
SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW = const(8)
# Ours, far from Linux's numbers: an int; non-zero lets send() go on after the peer said that it
# takes no more. vhost-device-vsock says so when its client merely stops sending.
SO_VM_SOCKETS_LATE_SEND = const(0x4D50)
# Ours too, an int: seconds that a peer which has shut both directions may take nothing of what is
# sent late, 60 by default; then, at the latest after as many again, its connection is reset.
# 0: for ever.
SO_VM_SOCKETS_LATE_SEND_TIMEOUT = const(0x4D51)

_DEFAULT_BUFFER = const(262144)
_DEFAULT_MIN = const(128)
_CONNECT_US = const(2000000)
_PATIENCE_MOST = const(86400)  # seconds
_CONNECT_LONGEST = const(36893488147419102)  # seconds
_U32 = 0xFFFFFFFF
_LENGTH_MOST = const(1024)  # bytes of a value that CPython asks for


class Options:
    """The options of one socket; accepted sockets get a copy of their listener's buffer sizes."""

    size = _DEFAULT_BUFFER
    least = _DEFAULT_MIN
    most = _DEFAULT_BUFFER
    fixed = False  # the user chose the size: it stays
    connect_us = _CONNECT_US
    receive_us = None  # SO_RCVTIMEO; None: for ever
    send_us = None  # SO_SNDTIMEO
    lowat = 1
    late = 0
    patience = 60  # seconds
    own_sizes = False  # size, least, most or fixed have been set
    plain = True  # nothing has been set: a new connection's words have it all already
    _kept = None  # what has no meaning here is read back: a dict once there is any

    def keep(self, name, value):
        """Remember what an option was set to."""
        if self._kept is None:
            self._kept = {}
        self._kept[name] = value

    def kept(self, name, otherwise):
        """What it was set to last."""
        return otherwise if self._kept is None else self._kept.get(name, otherwise)

    def inherit(self, parent):
        """Take a listener's buffer sizes."""
        if parent.own_sizes:
            self.own_sizes = True
            self.plain = False
            self.size = parent.size
            self.least = parent.least
            self.most = parent.most
            self.fixed = parent.fixed

    @micropython.native
    def apply(self, end):
        """Give a new connection its options."""
        bits = 0
        if not self.plain:
            self._mark(end)
            if self.fixed:
                bits = w.OPT_FIXED_WINDOW
            if self.late:
                bits |= w.OPT_LATE_SEND
                end.patience = 1000 * self.patience
        device = end.stack.device
        if end.out is end.stack.loopback:
            # A window that does not grow, and credit not before Linux gives it: programs see it.
            bits |= w.OPT_LOOPBACK | w.OPT_FIXED_WINDOW
        elif device is not None and device.seqpacket:
            # Linux's own device. A program there may use the same two ports again at once, and
            # an old SHUTDOWN that meets its new REQUEST fails that with EPROTO.
            bits |= w.OPT_SHUTDOWN_ONCE
        end.block[w.OPTIONS] = bits

    @micropython.native
    def _mark(self, end):
        """SO_RCVLOWAT in the connection's words."""
        # Of a window that had to begin small no more can be waited for.
        end.block[w.LOWAT] = min(self.lowat, end.block[w.BUF_ALLOC])
        if self.size <= 1 == self.lowat:
            end.block[w.LOWAT] = 0

    def set_lowat(self, value, end):
        """SO_RCVLOWAT: 0 stands for 1. Raises EINVAL beyond the buffer's size."""
        if not 0 <= value <= self.size:
            raise OSError(errnos.EINVAL)
        self.force_lowat(value, end)

    def force_lowat(self, value, end):
        """The same of any value: Linux does not look at it where there are messages."""
        self.plain = False
        self.lowat = max(1, value)
        if end is not None:
            self.apply(end)
            credit.update_due(end.at)
            end.flush()
            end.notify()

    def set_size(self, value, end):
        """Linux clamps: the minimum first, then the maximum, so that the maximum wins. A packet
        has room for 32 bits of it."""
        self.size = min(max(value, self.least), self.most, _U32)
        self.fixed = self.own_sizes = True
        if end is not None:
            end.block[w.OPTIONS] |= w.OPT_FIXED_WINDOW
            end.block[w.SEND_LIMIT] = self.size
            end.resize(self.size)
            self._mark(end)


def _u64(value):
    return struct.unpack("<Q", general.first(value, 8))[0]


def _connect_us(value):
    """What the connect time-out is set to, in microseconds. Raises EINVAL, ERANGE."""
    seconds, micros = struct.unpack("<qq", general.first(value, 16))
    if not 0 <= seconds < _CONNECT_LONGEST or micros >= 1000000:
        raise OSError(errnos.ERANGE)
    us = seconds * 1000000 + -(-micros // general.TICK_US) * general.TICK_US
    return us if us > 0 else _CONNECT_US


def set_option(sock, level, name, value):
    """setsockopt of a socket. Raises ENOPROTOOPT for what Linux does not know, EINVAL."""
    if isinstance(value, str):
        raise TypeError("an option's value is an int or bytes, not 'str'")
    level & name  # a TypeError if one is no integer
    if isinstance(value, bool):
        value = int(value)
    if level == num.AF_VSOCK:
        sock.options.plain = False
        _set_vm_option(sock.options, name, value, sock.connection)
    elif level == general.SOL_SOCKET:
        general.set_general(sock, name, value)
    else:
        raise OSError(errnos.ENOPROTOOPT)


def _set_vm_option(options, name, value, end):
    if name == SO_VM_SOCKETS_BUFFER_SIZE:
        options.set_size(_u64(value), end)
    elif name == SO_VM_SOCKETS_BUFFER_MIN_SIZE:
        options.own_sizes = True
        options.least = _u64(value)
        if options.size < options.least:
            options.set_size(options.size, end)
    elif name == SO_VM_SOCKETS_BUFFER_MAX_SIZE:
        options.own_sizes = True
        options.most = _u64(value)
        if options.size > options.most:
            options.set_size(options.size, end)
    elif name in (SO_VM_SOCKETS_CONNECT_TIMEOUT, SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW):
        options.connect_us = _connect_us(value)
    elif name == SO_VM_SOCKETS_LATE_SEND:
        options.late = 1 if general.integer(value) else 0
        _apply_late(options, end)
    elif name == SO_VM_SOCKETS_LATE_SEND_TIMEOUT:
        options.patience = min(max(0, general.integer(value)), _PATIENCE_MOST)
        _apply_late(options, end)
    else:
        raise OSError(errnos.ENOPROTOOPT)


def _apply_late(options, end):
    """What has been set counts for a connection that is there, too."""
    if end is not None:
        options.apply(end)
        end.stack.mind(end)


def get_option(sock, level, name, buflen=0):
    """getsockopt: an int, or `buflen` bytes at most. Raises ENOPROTOOPT, EINVAL."""
    level & name  # a TypeError if one is no integer
    if not 0 <= buflen <= _LENGTH_MOST:
        raise OSError("getsockopt buflen out of range")
    options = sock.options
    if level == num.AF_VSOCK:
        if name == SO_VM_SOCKETS_LATE_SEND:
            packed = struct.pack("<i", options.late)
        elif name == SO_VM_SOCKETS_LATE_SEND_TIMEOUT:
            packed = struct.pack("<i", options.patience)
        else:
            packed = _vm_option(options, name)
    elif level == general.SOL_SOCKET:
        packed = general.get_general(sock, name)
    else:
        raise OSError(errnos.ENOPROTOOPT)
    if buflen == 0:
        buflen = 8  # what CPython asks for then
        if level == num.AF_VSOCK and len(packed) > buflen:
            raise OSError(errnos.EINVAL)
        return int.from_bytes(packed[:buflen], "little")
    if level == num.AF_VSOCK and buflen < len(packed):
        raise OSError(errnos.EINVAL)
    return packed[:buflen]


def _vm_option(options, name):
    if name == SO_VM_SOCKETS_BUFFER_SIZE:
        return struct.pack("<Q", options.size)
    if name == SO_VM_SOCKETS_BUFFER_MIN_SIZE:
        return struct.pack("<Q", options.least)
    if name == SO_VM_SOCKETS_BUFFER_MAX_SIZE:
        return struct.pack("<Q", options.most)
    if name in (SO_VM_SOCKETS_CONNECT_TIMEOUT, SO_VM_SOCKETS_CONNECT_TIMEOUT_NEW):
        return general.timeval(options.connect_us)
    raise OSError(errnos.ENOPROTOOPT)
