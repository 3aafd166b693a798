# SPDX-License-Identifier: MIT
"""MicroPython's REPL on a vsock port, beside the one on the serial port: `apps.repl.start()`.

One connection at a time is the terminal; a new one takes its place. It outlives a soft reset, as a
terminal on a serial port does. docs/services.md tells how mpremote and `mpfw repl` get here.
"""

import os
import socket
import struct

import errnos
import machine
from portable import const
from sockets import carry, ending

PORT = const(8266)  # WebREPL's
_WINDOW = const(262144)  # bytes; it stays, because what is typed is never much
_CHUNK = const(4096)  # what machine.terminal gathers, and what goes into one packet
_LAST_SECONDS = const(1)  # that a terminal has to take the last output before power-off
_PATIENCE = const(10)  # seconds that a terminal which takes no output may hold a program up

_service = None


class Repl:
    """Listens on `port`, and joins whoever connects to machine.terminal."""

    def __init__(self, port):
        self.port = port
        self._sock = None
        self._in = bytearray(_CHUNK)
        self._out = bytearray(_CHUNK)
        self._left = b""  # of _out, what is to be sent
        self._full = False  # the terminal had no room for all that was typed
        self._ahead = None  # takes all that a connection can hold, once that is needed
        self._sending = False
        self._listener = listener = socket.create_server((socket.VMADDR_CID_ANY, port))
        listener.setblocking(False)
        window = struct.pack("<Q", _WINDOW)
        listener.setsockopt(socket.AF_VSOCK, socket.SO_VM_SOCKETS_BUFFER_SIZE, window)
        self._background = socket.background(self._serve)
        self._background.register(listener)
        self._wire = machine.Vector()
        self._wire.irq(self._output)

    def close(self):
        """Listen no more and hang up, in this order: who hears of that may dial at once."""
        self._background.close()
        self._listener.close()
        self._hang_up(self._sock)
        self._wire.close()

    def attach(self, sock):
        """A socket is the terminal from now on."""
        self._hang_up(self._sock)
        sock.setblocking(False)
        self._sock = sock
        machine.terminal.irq(self._wire)
        os.dupterm(machine.terminal)
        self._background.register(sock)

    def carry(self):
        """Before a soft reset: send what was printed; have the connection outlive it."""
        sock = self._sock
        if sock is not None and _service is self:
            self._output(None)
            self._input()
        if sock is not None and sock is self._sock:
            words = carry.pack(sock)
            if words is not None:
                machine.terminal.keep(struct.pack("<I", self.port) + words)

    def finish(self):
        """Before power-off: have what was printed arrive, and hang up."""
        sock = self._sock
        if sock is not None and not self._sending:
            self._output(sock)
        if sock is not None and sock is self._sock:
            self._forget()
            ending.finish(sock, _LAST_SECONDS)

    def _serve(self, sock):
        if sock is self._listener:
            self._accept()
        else:
            self._output(sock)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # nobody waits
            self.attach(sock)

    def _hang_up(self, sock):
        if sock is not None and sock is self._sock:
            self._forget()
            sock.close()

    def _forget(self):
        self._sock = None
        self._left = b""
        os.dupterm(None)
        machine.terminal.irq(None)

    def _output(self, why):
        """Send what was printed, read what was typed. With None for `why` there must be room for
        more output, so that it waits."""
        sock = self._sock
        if sock is None or self._sending:
            return
        self._sending = True
        try:
            if why is None:
                sock.settimeout(_PATIENCE)
            self._send(sock)
        except OSError as error:
            if why is None or error.errno != errnos.EAGAIN:
                self._hang_up(sock)
        except KeyboardInterrupt:
            self._hang_up(sock)
            raise  # the terminal hands it on to the program that prints
        finally:
            self._sending = False
            if sock is self._sock:  # else it is closed, and would say so
                sock.setblocking(False)
        if why is not None:
            self._input()

    def _send(self, sock):
        while True:
            if not len(self._left):
                n = machine.terminal.take(self._out)
                if not n:
                    return
                self._left = memoryview(self._out)[:n]
            n = sock.send(self._left)
            self._left = self._left[n:]

    def _input(self):
        """Give the terminal what was typed. What it has no room for stays in the connection, and
        is looked through for the interrupt character."""
        sock = self._sock
        if sock is None:
            return
        try:
            while self._feed(sock, self._in):
                pass
            if self._full:
                if self._ahead is None:
                    self._ahead = bytearray(_WINDOW)
                self._feed(sock, self._ahead)
        except OSError as error:
            if error.errno != errnos.EAGAIN:
                self._hang_up(sock)

    def _feed(self, sock, buffer):
        """Move what was typed, as far as it fits into `buffer`; True if there may be more."""
        self._full = False
        n = sock.recv_into(buffer, 0, socket.MSG_PEEK)
        if not n:
            sock.send(b"")  # EPIPE unless it only stopped typing
            return False
        done = machine.terminal.feed(memoryview(buffer)[:n])
        if done:
            sock.recv_into(buffer, done)
        self._full = done < n  # the terminal calls when it has room
        return not self._full


def start(port=PORT, words=None):
    """Have the REPL on that vsock port, and no longer on another one.

    `words` are those of a connection from before a soft reset. Raises EADDRINUSE.
    """
    global _service
    expected = None if words is None else carry.expect(words)
    stop()
    first = _service is None
    _service = Repl(port)
    if first:
        machine.atreset(lambda: _service.carry())
        machine.atend(lambda: _service.finish())
    if expected and expected[0] is not None:
        expected[0].connection.flush()
        _service.attach(expected[0])
    machine.log("repl", "vsock port %d" % port)


def stop():
    """No REPL over vsock any more; does nothing if there is none."""
    if _service is not None:
        _service.close()
