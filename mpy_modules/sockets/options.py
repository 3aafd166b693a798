# SPDX-License-Identifier: MIT
"""Socket options: what Linux's AF_VSOCK does with setsockopt and getsockopt, value by value.

Values travel as CPython passes them: an int, which on a socket of this family is 64 unsigned bits
whatever the option, or bytes packed as Linux's C types. A new option is a number and its meaning
here, and its name in socket.py.
"""

import struct

import errnos
from portable import const, micropython
from vsock import credit
from vsock import words as w

from . import numbers as num

SOL_SOCKET = const(1)
SO_REUSEADDR = const(2)
SO_TYPE = const(3)
SO_ERROR = const(4)
SO_SNDBUF = const(7)
SO_RCVBUF = const(8)
SO_KEEPALIVE = const(9)
SO_LINGER = const(13)
SO_RCVLOWAT = const(18)
SO_RCVTIMEO = const(20)
SO_SNDTIMEO = const(21)
SO_ACCEPTCONN = const(30)
SO_PROTOCOL = const(38)
SO_DOMAIN = const(39)

SO_VM_SOCKETS_BUFFER_SIZE = const(0)  # linux/vm_sockets.h
SO_VM_SOCKETS_BUFFER_MIN_SIZE = const(1)
SO_VM_SOCKETS_BUFFER_MAX_SIZE = const(2)
SO_VM_SOCKETS_CONNECT_TIMEOUT = const(6)
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
_CONNECT_SECONDS = const(2)
_PATIENCE_MOST = const(86400)  # seconds
_U32 = 0xFFFFFFFF
_U64 = 0xFFFFFFFFFFFFFFFF


class Options:
    """The options of one socket; accepted sockets get a copy of their listener's buffer sizes."""

    size = _DEFAULT_BUFFER
    least = _DEFAULT_MIN
    most = _DEFAULT_BUFFER
    fixed = False  # the user chose the size: it stays
    connect_seconds = _CONNECT_SECONDS
    lowat = 1
    reuse = 0
    late = 0
    patience = 60  # seconds
    own_sizes = False  # size, least, most or fixed have been set
    plain = True  # nothing has been set: a new connection's words have it all already

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
            # Of a window that had to begin small no more can be waited for.
            end.block[w.LOWAT] = min(self.lowat, end.block[w.BUF_ALLOC])
            if self.fixed:
                bits = w.OPT_FIXED_WINDOW
            if self.late:
                bits |= w.OPT_LATE_SEND
                end.patience = 1000 * self.patience
        device = end.stack.device
        if device is not None and device.seqpacket:
            # Linux's own device. A program there may use the same two ports again at once, and
            # an old SHUTDOWN that meets its new REQUEST fails that with EPROTO.
            bits |= w.OPT_SHUTDOWN_ONCE
        end.block[w.OPTIONS] = bits

    def set_size(self, value, end):
        """Linux clamps: the minimum first, then the maximum, so that the maximum wins. A packet
        has room for 32 bits of it."""
        self.size = min(max(value, self.least), self.most, _U32)
        self.fixed = self.own_sizes = True
        if end is not None:
            end.block[w.OPTIONS] |= w.OPT_FIXED_WINDOW
            end.block[w.SEND_LIMIT] = self.size
            end.resize(self.size)


def _bytes(value, length):
    """A value's first `length` bytes. Raises EINVAL if it has fewer."""
    if isinstance(value, int):
        value = struct.pack("<Q", value & _U64)
    if len(value) < length:
        raise OSError(errnos.EINVAL)
    return bytes(memoryview(value)[:length])


def _u64(value):
    return struct.unpack("<Q", _bytes(value, 8))[0]


def _int(value):
    return struct.unpack("<i", _bytes(value, 4))[0]


def _seconds(value):
    seconds, micros = struct.unpack("<qq", _bytes(value, 16))
    if not 0 <= micros < 1000000 or seconds < 0:
        raise OSError(errnos.EINVAL)
    return seconds + micros / 1000000


def _timeval(seconds):
    whole = int(seconds)
    return struct.pack("<qq", whole, int((seconds - whole) * 1000000))


def set_option(sock, level, name, value):
    """setsockopt of a socket. Raises ENOPROTOOPT for what Linux does not know, EINVAL."""
    options = sock.options
    options.plain = False
    end = sock.connection
    if level == num.AF_VSOCK:
        _set_vm_option(options, name, value, end)
    elif level != SOL_SOCKET:
        raise OSError(errnos.ENOPROTOOPT)
    elif name == SO_RCVLOWAT:
        options.lowat = max(1, _int(value) & 0x7FFFFFFF)
        if end is not None:
            options.apply(end)
            credit.update_due(end.at)
            end.flush()
            end.notify()
    elif name == SO_REUSEADDR:
        options.reuse = 1 if _int(value) else 0  # Linux's AF_VSOCK takes it and does nothing
    elif name in (SO_RCVTIMEO, SO_SNDTIMEO):
        sock.settimeout(_seconds(value) or None)
    elif name in (SO_SNDBUF, SO_RCVBUF, SO_KEEPALIVE, SO_LINGER):
        pass  # known to every Linux socket, without a meaning for these
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
        options.connect_seconds = _seconds(value) or _CONNECT_SECONDS
    elif name == SO_VM_SOCKETS_LATE_SEND:
        options.late = 1 if _int(value) else 0
        _apply_late(options, end)
    elif name == SO_VM_SOCKETS_LATE_SEND_TIMEOUT:
        options.patience = min(max(0, _int(value)), _PATIENCE_MOST)
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
    options = sock.options
    if level == num.AF_VSOCK:
        if name == SO_VM_SOCKETS_LATE_SEND:
            packed = struct.pack("<i", options.late)
        elif name == SO_VM_SOCKETS_LATE_SEND_TIMEOUT:
            packed = struct.pack("<i", options.patience)
        else:
            packed = _vm_option(options, name)
    elif level == SOL_SOCKET:
        packed = _socket_option(sock, options, name)
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
        return _timeval(options.connect_seconds)
    raise OSError(errnos.ENOPROTOOPT)


def _socket_option(sock, options, name):
    if name in (SO_RCVTIMEO, SO_SNDTIMEO):
        return _timeval(sock.gettimeout() or 0)
    if name == SO_ERROR:
        value = sock.take_error()
    elif name == SO_TYPE:
        value = sock.type
    elif name == SO_DOMAIN:
        value = num.AF_VSOCK
    elif name == SO_ACCEPTCONN:
        value = 1 if sock.is_listening() else 0
    elif name == SO_RCVLOWAT:
        value = options.lowat
    elif name == SO_REUSEADDR:
        value = options.reuse
    elif name in (SO_SNDBUF, SO_RCVBUF):
        value = options.size
    elif name in (SO_PROTOCOL, SO_KEEPALIVE):
        value = 0
    else:
        raise OSError(errnos.ENOPROTOOPT)
    return struct.pack("<i", value)
