# SPDX-License-Identifier: MIT
"""What generated sequences are written in: do(), which runs one call and prints what came of it.

Goes before each sequence, under CPython and MicroPython alike. Sockets have numbers; ports 0 to 2
are the sequence's own. No call blocks for longer than its socket's time-out, which every socket is
given, and what is sent has arrived before the next call: so the output is deterministic.

Besides the methods of sockets there are `poll` and `select` at once, `accept_within`,
`send_within` and `recv_within`, which block until SO_RCVTIMEO or SO_SNDTIMEO is over, `set_time`
of an option that is a struct timeval, `set_bytes` and `get_bytes`, and `ioctl`.
"""

import errno
import fcntl
import select
import socket
import struct
import time

USUAL_TIMEOUT = 0.06  # seconds
SETTLE = 0.004
WITHIN = 30000  # microseconds that the calls named so have
QUIET = (
    "getsockname getpeername poll select getsockopt get_bytes settimeout ioctl "
    "recv recv_into recvfrom recvmsg recvmsg_into recv_within"
).split()

_sockets = {}
_count = [0]
_port = [0]
_patience = [USUAL_TIMEOUT, SETTLE]


def begin(port, timeout=USUAL_TIMEOUT, settle=SETTLE):
    """A sequence begins, whose ports are those from `port` on; how patient it is, in seconds."""
    _sockets.clear()
    _count[0] = 0
    _port[0] = port
    _patience[:] = [timeout, settle]


def _shown(value):
    """A result as both sides print it: automatic ports differ, data are long."""
    if isinstance(value, (bytes, bytearray)):
        return "%d bytes, sum %d" % (len(value), sum(value))
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], int):
        first, offset = value[0], value[1] - _port[0]
        named = "P+%d" % offset if 0 <= offset < 3 else "any" if value[1] == ANY else "automatic"
        return "(%s, %s)" % ("ANY" if first == ANY else first, named)
    if isinstance(value, tuple):
        return "(%s)" % ", ".join([_shown(each) for each in value])
    return str(value)


ANY = 0xFFFFFFFF


def _pattern(count):
    return bytes(range(256)) * (count // 256) + bytes(range(count % 256))


def _keep(number, made):
    """Give a new socket its number; who had it is closed, as nothing else holds it."""
    if number in _sockets:
        _sockets[number].close()
    made.settimeout(_patience[0])
    _sockets[number] = made


def _address(cid, port):
    return cid, port if port > 2 else _port[0] + port


def _socket(number, *arguments):
    _keep(number, socket.socket(socket.AF_VSOCK, *arguments))
    return "ok"


def _accept(sock, number):
    made, address = sock.accept()
    _keep(number, made)
    return address


def _into(receive, size, *arguments):
    buffer = bytearray(size)
    got = receive(buffer, *arguments)
    return "%d %s" % (got, _shown(buffer[:got]))


def _recvmsg_into(sock, *sizes):
    buffers = [bytearray(size) for size in sizes]
    got = sock.recvmsg_into(buffers)
    return "%s %s" % (_shown(got), _shown(b"".join(buffers)))


def _poll(sock, events):
    poller = select.poll()
    poller.register(sock, events)
    return ["%#x" % found for _, found in poller.poll(0)]


def _select(sock):
    return [len(ready) for ready in select.select([sock], [sock], [sock], 0)]


def _within(sock, option, call, *arguments):
    """A call that blocks until its option's time is over."""
    time_out = struct.pack("<qq", 0, WITHIN)
    sock.setsockopt(socket.SOL_SOCKET, option, time_out)
    sock.settimeout(None)
    try:
        return call(*arguments)
    finally:
        sock.settimeout(_patience[0])
        sock.setsockopt(socket.SOL_SOCKET, option, bytes(16))


OTHERS = {
    "accept": _accept,
    "bind": lambda sock, *at: sock.bind(_address(*at)),
    "connect": lambda sock, *at: sock.connect(_address(*at)),
    "connect_ex": lambda sock, *at: sock.connect_ex(_address(*at)),
    "send": lambda sock, size, *more: sock.send(_pattern(size), *more),
    "sendall": lambda sock, size, *more: sock.sendall(_pattern(size), *more),
    "sendto": lambda sock, size, *at: sock.sendto(_pattern(size), _address(*at)),
    "sendmsg": lambda sock, *sizes: sock.sendmsg([_pattern(size) for size in sizes]),
    "recv_into": lambda sock, *arguments: _into(sock.recv_into, *arguments),
    "recvmsg_into": _recvmsg_into,
    "poll": _poll,
    "select": _select,
    "set_time": lambda sock, level, name, *parts: sock.setsockopt(
        level, name, struct.pack("<qq", *parts)
    ),
    "set_bytes": lambda sock, level, name, value: sock.setsockopt(level, name, value),
    "get_bytes": lambda sock, level, name, size: sock.getsockopt(level, name, size).hex(),
    "ioctl": lambda sock, request: struct.unpack("<i", fcntl.ioctl(sock, request, bytes(4)))[0],
    "accept_within": lambda sock, number: _within(sock, socket.SO_RCVTIMEO, _accept, sock, number),
    "recv_within": lambda sock, *arguments: _within(
        sock, socket.SO_RCVTIMEO, sock.recv, *arguments
    ),
    "send_within": lambda sock, size: _within(sock, socket.SO_SNDTIMEO, sock.send, _pattern(size)),
}


def _run(number, call, arguments):
    if call == "socket":
        return _socket(number, *arguments)
    sock = _sockets[number]
    if call in OTHERS:
        return OTHERS[call](sock, *arguments)
    return getattr(sock, call)(*arguments)


def do(number, call, *arguments):
    """Call a method of socket `number` and print its result, or the errno's name."""
    _count[0] += 1
    try:
        result = _shown(_run(number, call, arguments))
    except socket.timeout:
        result = "timeout"
    except OSError as error:
        code = error.args[0] if error.args else None
        result = errno.errorcode.get(code, str(code))
        result = "EOPNOTSUPP" if result == "ENOTSUP" else result  # one number, two names
    except Exception as error:
        result = type(error).__name__
    print("%d %s s%d: %s" % (_count[0], call, number, result))
    if call not in QUIET:
        time.sleep(_patience[1])


def end():
    """Close what is open."""
    for number in sorted(_sockets):
        _sockets[number].close()
    _sockets.clear()
