# SPDX-License-Identifier: MIT
"""The log as syslog messages to a vsock port of the host: `apps.logs.start(port)`.

A message is RFC 5424's, with its length before it (RFC 5425, 4.3), as LinuxKit's vsyslog sends
them; and it ends with a newline, so that it is also a line. Messages wait while nobody listens or
reads, up to 64 KiB; later ones are dropped, and a message tells how many. What a peer has not read
when it hangs up is sent to the next one.
"""

import socket
import time

import errnos
import machine
from portable import const
from sockets import ending

_RING = const(16384)  # bytes of lines between a look and the next
_MOST = const(65536)  # bytes of messages that wait
_RETRY_US = const(1000000)
_LAST_SECONDS = const(1)  # that the peer has to read the last messages before power-off
_FACILITY = const(3 << 3)  # daemons
_NOTICE = const(5)  # for a level that is none of
_SEVERITY = {b"ERROR": 3, b"WARNING": 4, b"INFO": 6, b"DEBUG": 7}

_service = None


class Messages:
    """What waits: whole messages, the first of which the peer has not read."""

    def __init__(self):
        self._waiting = []
        self._size = 0
        self._dropped = 0
        self._next = 0  # of _waiting, the one that goes out
        self._done = 0  # of that, bytes that have gone out
        self._read = 0  # bytes that the peer has read before _waiting[0], of those sent to it

    def add(self, message):
        """One more, or one that is dropped."""
        if self._dropped and not self._tell():
            self._dropped += 1
        elif not self._fits(message):
            self._dropped += 1

    def drop(self, count):
        """So many never came here."""
        self._dropped += count

    def rest(self):
        """What is to be sent next; None if there is nothing."""
        if self._dropped:
            self._tell()
        if self._next == len(self._waiting):
            return None
        return memoryview(self._waiting[self._next])[self._done :]

    def sent(self, count):
        """So many bytes of it have been sent."""
        self._done += count
        if self._done == len(self._waiting[self._next]):
            self._next += 1
            self._done = 0

    def read(self, total):
        """The peer has read so many bytes of what was sent to it."""
        while self._next and self._read + len(self._waiting[0]) <= total:
            size = len(self._waiting.pop(0))
            self._read += size
            self._size -= size
            self._next -= 1

    def again(self):
        """To the next peer, from the first that was not read."""
        self._next = self._done = self._read = 0

    def half_full(self):
        """True if it is time to ask the peer what it has read."""
        return self._size > _MOST // 2

    def _fits(self, message):
        if self._size + len(message) > _MOST:
            return False
        self._waiting.append(message)
        self._size += len(message)
        return True

    def _tell(self):
        text = b"%d lines of the log were dropped" % self._dropped
        if not self._fits(syslog(time.time_ns(), b"WARNING", b"logs", text)):
            return False
        self._dropped = 0
        return True


def syslog(ns, level, where, what):
    """A message of RFC 5424 with its length before it. `ns` is its time since 1970."""
    micros = ns // 1000
    year, month, day, hour, minute, second = time.gmtime(micros // 1000000)[:6]
    stamp = "%04d-%02d-%02dT%02d:%02d:%02d" % (year, month, day, hour, minute, second)
    priority = _FACILITY | _SEVERITY.get(level, _NOTICE)
    head = "<%d>1 %s.%06dZ guest-%d " % (priority, stamp, micros % 1000000, socket.get_local_cid())
    message = head.encode() + where + b" - - - " + what + b"\n"
    return b"%d " % len(message) + message


class Logs:
    """Carries the log to CID 2, `port`, while other programs run."""

    def __init__(self, port):
        self.port = port
        self._messages = Messages()
        self._sock = None
        self._up = False
        self._sent = 0  # bytes on this connection
        self._start = time.time_ns() - time.ticks_us() * 1000  # of the log's clock
        self._background = socket.background(self._serve)
        self._wire = machine.Vector()
        self._wire.irq(self._take)
        machine.journal.irq(self._wire, bytearray(_RING))
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
        self._messages.drop(machine.journal.lost())
        for line in lines.split(b"\n")[:-1]:
            stamp, _, rest = line.partition(b"] ")
            level, _, rest = rest.partition(b" ")
            where, _, what = rest.partition(b": ")
            seconds, _, micros = stamp[1:].partition(b".")
            ns = self._start + (int(seconds) * 1000000 + int(micros)) * 1000
            self._messages.add(syslog(ns, level, where, what))
        if self._up:
            self._send()

    def _serve(self, sock):
        if sock is None:
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
