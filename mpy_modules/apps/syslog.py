# SPDX-License-Identifier: MIT
"""Syslog messages, and those that wait to be read.

A message is RFC 5424's, with its length before it (RFC 5425, 4.3), as LinuxKit's vsyslog sends
them; and it ends with a newline, so that it is also a line. Knows no socket.
"""

import time

from portable import const

MOST = const(65536)  # bytes of messages that wait
_NAME_MOST = const(48)  # bytes of an APP-NAME (RFC 5424, 6)
_FACILITY = const(3 << 3)  # daemons
_NOTICE = const(5)  # the severity of a level that is none of
_SEVERITY = {b"ERROR": 3, b"WARNING": 4, b"INFO": 6, b"DEBUG": 7}


class Messages:
    """What waits: whole messages, the first of which the peer has not read."""

    def __init__(self, host):
        """`host` is what the guest calls itself."""
        self._host = host
        self._waiting = []
        self._size = 0
        self._dropped = 0
        self._last = 0  # when the last line was logged, dropped or not
        self._where = b"-"  # that it said so
        self._next = 0  # of _waiting, the one that goes out
        self._done = 0  # of that, bytes that have gone out
        self._read = 0  # bytes that the peer has read before _waiting[0], of those sent to it

    def add(self, line, start):
        """A line of the log, `[seconds.micros] LEVEL where: what`; without room it is counted.

        The log's clock began at `start`, in microseconds since 1970. A line of another form goes
        on with what the one before said.
        """
        level, where, what = b"INFO", self._where, line
        try:
            stamp, rest = line.split(b"] ", 1)
            seconds, micros = stamp[1:].split(b".")
            self._last = start + int(seconds) * 1000000 + int(micros)
            level, rest = rest.split(b" ", 1)
            where, what = rest.split(b": ", 1)
            where = self._where = where.replace(b" ", b"_")[:_NAME_MOST] or b"-"
        except ValueError:
            pass
        if self._dropped and not self._tell():
            self._dropped += 1
        elif not self._fits(syslog(self._last, level, self._host, where, what)):
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
        return self._size > MOST // 2

    def _fits(self, message):
        if self._size + len(message) > MOST:
            return False
        self._waiting.append(message)
        self._size += len(message)
        return True

    def _tell(self):
        text = b"%d lines of the log were dropped" % self._dropped
        if not self._fits(syslog(self._last, b"WARNING", self._host, b"logs", text)):
            return False
        self._dropped = 0
        return True


def syslog(micros, level, host, where, what):
    """A message of RFC 5424 with its length before it. `micros` is its time since 1970."""
    year, month, day, hour, minute, second = time.gmtime(micros // 1000000)[:6]
    stamp = "%04d-%02d-%02dT%02d:%02d:%02d" % (year, month, day, hour, minute, second)
    priority = _FACILITY | _SEVERITY.get(level, _NOTICE)
    head = "<%d>1 %s.%06dZ %s " % (priority, stamp, micros % 1000000, host)
    message = head.encode() + where + b" - - - " + what + b"\n"
    return b"%d " % len(message) + message
