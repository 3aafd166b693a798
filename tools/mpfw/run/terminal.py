# SPDX-License-Identifier: MIT
"""A guest's console in the hands of whoever sits at this terminal, or of a file of commands."""

import os
import select
import socket
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_ESCAPE = b"\x01"  # Ctrl-A, as in QEMU's own multiplexed console
_CTRL_D = b"\x04"


def join(console: socket.socket, said: bytes) -> None:
    """Join standard input and output with a console until Ctrl-A x, or until the guest is off.

    `said` is shown first. What is no terminal is typed line by line, and Ctrl-D at its end.
    """
    console.setblocking(True)
    with _raw() as typed:
        _show(said)
        poll = select.poll()
        for number in (console.fileno(), sys.stdin.fileno()):
            poll.register(number, select.POLLIN)
        escaped = False
        while True:
            ready = dict(poll.poll())
            if console.fileno() in ready:
                data = _receive(console)
                if not data:
                    return
                _show(data)
            if sys.stdin.fileno() not in ready:
                continue
            keys = os.read(sys.stdin.fileno(), 1024)
            if not keys:
                poll.unregister(sys.stdin.fileno())
            keys, escaped, over = (
                _unescape(keys, escaped) if typed else (_lines(keys), False, False)
            )
            _send(console, keys)
            if over:
                return


def _receive(console: socket.socket) -> bytes:
    try:
        return console.recv(1 << 16)
    except OSError:
        return b""


def _send(console: socket.socket, keys: bytes) -> None:
    try:
        console.sendall(keys)
    except OSError:
        pass  # it is off, which is seen in the next round


def _lines(data: bytes) -> bytes:
    """A file's bytes as keys."""
    return data.replace(b"\n", b"\r") if data else _CTRL_D


def _unescape(keys: bytes, escaped: bool) -> tuple[bytes, bool, bool]:
    """The keys for the guest, whether Ctrl-A came last, whether Ctrl-A x was typed."""
    passed = bytearray()
    for key in keys:
        byte = bytes([key])
        if escaped and byte in b"xX":
            return bytes(passed), False, True
        escaped = not escaped and byte == _ESCAPE
        if not escaped:
            passed += byte
    return bytes(passed), escaped, False


@contextmanager
def _raw() -> Iterator[bool]:
    """Every key as it is typed; whether there is a terminal."""
    if not sys.stdin.isatty():
        yield False
        return
    settings = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield True
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, settings)
        print()


def _show(data: bytes) -> None:
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]
