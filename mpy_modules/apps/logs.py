# SPDX-License-Identifier: MIT
"""The log as syslog messages to a vsock port of the host: `apps.logs.start(port)`.

Messages wait while nobody listens or reads (syslog.py). What a peer has not read when it hangs up
is sent to the next one. docs/services.md tells what a host sees of it.
"""

import socket
import time

import errnos
import machine
from portable import const
from sockets import ending

from .syslog import MOST, Messages

_RETRY_US = const(1000000)
_LAST_SECONDS = const(1)  # that the peer has to read the last messages before power-off

_service = None


class Logs:
    """Carries the log to CID 2, `port`, while other programs run."""

    def __init__(self, port):
        self.port = port
        self._messages = Messages("guest-%d" % socket.get_local_cid())
        self._sock = None
        self._up = False
        self._sent = 0  # bytes on this connection
        self._start = time.time_ns() // 1000 - time.ticks_us()  # of the log's clock
        self._background = socket.background(self._serve)
        self._wire = machine.Vector()
        self._wire.irq(self._take)
        # Between two looks as many bytes as may wait here: what has no room there would have none.
        machine.journal.irq(self._wire, bytearray(MOST))
        self._call()

    def close(self):
        """No more of it."""
        machine.journal.irq(None, None)
        self._wire.close()
        self._background.close()
        if self._sock is not None:
            self._sock.close()

    def finish(self):
        """Before power-off: have everything read, or so much as there is time for."""
        self._take(None)
        sock = self._sock
        if sock is not None and self._up:
            self._sock = None
            sock.settimeout(_LAST_SECONDS)
            try:
                while True:
                    rest = self._messages.rest()
                    if rest is None:
                        break
                    self._messages.sent(sock.send(rest))
                ending.finish(sock, _LAST_SECONDS)
            except OSError:
                pass  # it is nobody's any more
        self.close()

    def _take(self, vector):
        """Lines of the log came."""
        lines = machine.journal.take()
        lost = machine.journal.lost()  # that came after those
        for line in lines.split(b"\n")[:-1]:
            self._messages.add(line, self._start)
        self._messages.drop(lost)
        if self._up:
            self._send()

    def _serve(self, sock):
        if sock is None and self._up:
            self._send()
        elif sock is None:
            self._call()
        elif sock is not self._sock:
            pass  # of an earlier connection
        elif self._up:
            self._hear()
        else:
            self._answered()

    def _call(self):
        """Dial, or see what became of it; and once more after a while."""
        self._background.after(_RETRY_US)
        if self._sock is not None:
            self._answered()
        else:
            self._dial()

    def _dial(self):
        self._sock = sock = socket.socket()
        sock.setblocking(False)
        if sock.connect_ex((socket.VMADDR_CID_HOST, self.port)) in (0, errnos.EINPROGRESS):
            self._background.register(sock)
        else:
            self._hang_up()

    def _answered(self):
        state = self._sock.connect_state()
        if state < 0:
            self._hang_up()
        elif state > 0:
            self._up = True
            self._sent = 0
            self._messages.again()
            self._background.after(-1)
            self._send()

    def _hear(self):
        """News: the peer has read, or has gone. What it says is not listened to."""
        sock = self._sock
        try:
            while sock.recv(512):
                pass
            self._lost()
            return
        except OSError as error:
            if error.errno != errnos.EAGAIN:
                self._lost()
                return
        self._send()

    def _send(self):
        sock = self._sock
        messages = self._messages
        messages.read(self._sent - ending.unread(sock))
        try:
            while True:
                rest = messages.rest()
                if rest is None:
                    break
                count = sock.send(rest)
                messages.sent(count)
                self._sent += count
        except OSError as error:
            if error.errno != errnos.EAGAIN:
                self._lost()
                return
        if messages.half_full():
            ending.ask(sock)
            self._background.after(_RETRY_US)  # it may answer before it has read

    def _lost(self):
        self._messages.read(self._sent - ending.unread(self._sock))
        self._hang_up()
        self._background.after(_RETRY_US)

    def _hang_up(self):
        self._sock.close()
        self._sock = None
        self._up = False


def start(port):
    """Send the log to that port of the host from now on, and no longer to another one."""
    global _service
    if _service is None:
        machine.atend(lambda: _service.finish())
    else:
        _service.close()
    _service = Logs(port)


def stop():
    """Send the log to nobody any more; does nothing if it is sent to nobody."""
    if _service is not None:
        _service.close()
