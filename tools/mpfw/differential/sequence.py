# SPDX-License-Identifier: MIT
"""What generated sequences are written in: do(), which runs one call and prints what came of it.

Goes before each sequence, under CPython and MicroPython alike. Sockets have numbers; ports 0 to 2
are the sequence's own. No call blocks for longer than its socket's time-out, which every socket is
given, and what is sent has arrived before the next call: so the output is deterministic.
"""

import errno
import select
import socket
import time

USUAL_TIMEOUT = 0.06  # seconds
SETTLE = 0.004
QUIET = ("getsockname", "getpeername", "poll", "getsockopt", "settimeout", "recv", "recv_into")

_sockets = {}
_count = [0]
_port = [0]


def begin(port):
    """A sequence begins, whose ports are those from `port` on."""
    _sockets.clear()
    _count[0] = 0
    _port[0] = port


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
    made.settimeout(USUAL_TIMEOUT)
    _sockets[number] = made


def _run(number, call, arguments):
    if call == "socket":
        _keep(number, socket.socket(socket.AF_VSOCK, *arguments))
        return "ok"
    sock = _sockets[number]
    if call == "accept":
        made, address = sock.accept()
        _keep(arguments[0], made)
        return address
    if call in ("bind", "connect", "connect_ex"):
        cid, port = arguments
        arguments = ((cid, port if port > 2 else _port[0] + port),)
    elif call in ("send", "sendall"):
        arguments = (_pattern(arguments[0]),) + arguments[1:]
    elif call == "recv_into":
        buffer = bytearray(arguments[0])
        got = sock.recv_into(buffer, *arguments[1:])
        return "%d %s" % (got, _shown(buffer[:got]))
    elif call == "poll":
        poller = select.poll()
        poller.register(sock, arguments[0])
        return ["%#x" % events for _, events in poller.poll(0)]
    return getattr(sock, call)(*arguments)


def do(number, call, *arguments):
    """Call a method of socket `number` and print its result, or the errno's name."""
    _count[0] += 1
    try:
        result = _shown(_run(number, call, arguments))
    except socket.timeout:
        result = "timeout"
    except OSError as error:
        result = (
            errno.errorcode.get(error.args[0], str(error.args[0])) if error.args else "OSError"
        )
    except Exception as error:
        result = type(error).__name__
    print("%d %s s%d: %s" % (_count[0], call, number, result))
    if call not in QUIET:
        time.sleep(SETTLE)


def end():
    """Close what is open."""
    for number in sorted(_sockets):
        _sockets[number].close()
    _sockets.clear()
