# SPDX-License-Identifier: MIT
"""Programs that send and take datagrams."""

from fuzz_peers import MAIL, PATTERN, PEERS, digest
from sockets import general
from sockets import numbers as num
from sockets.data import socket
from vsock import words as w

_CIDS = (2, 2, 2, 3, 33, 33, 1, 1, 34, 0, w.CID_ANY)
_PORTS = MAIL + MAIL + (20000, 5, w.PORT_ANY)
_OURS = (w.CID_ANY, w.CID_ANY, w.CID_ANY, 33, 1)
_FLAGS = (0, 0, 0, 0, num.MSG_PEEK, num.MSG_TRUNC, num.MSG_DONTWAIT, num.MSG_OOB)
_ROOMS = (1, 2304, 5000, 65536, 1 << 20)  # SO_RCVBUF
_LEVEL = general.SOL_SOCKET
_SHUTS = (0, 1, 2)
_MOST = 4  # of these sockets: the others have much to do
_MUCH = (2049, 5000, w.MAX_DATA, w.MAX_DATA + 1)


class Mail:
    """Calls of sockets without connections, beside those of fuzz_programs.Programs."""

    def __init__(self, programs, source, stacks):
        self._programs = programs
        self._source = source
        self._stacks = stacks

    def calls(self):
        """(how often against the others, call) of each."""
        found = [(1, self._open), (3, self._send_to), (3, self._receive_from)]
        return found + [(1, self._aim), (1, self._send_much)]

    def open(self, stack, port):
        """A socket with that address, or with none for PORT_ANY."""
        source = self._source
        boxes = self._boxes()
        if len(boxes) >= _MOST:
            self._programs.socks.remove(boxes[0])
            boxes[0].close()
        sock = socket(type=2, stack=stack)
        self._programs.add(sock)
        if source.chance(100):
            sock.setsockopt(_LEVEL, general.SO_REUSEADDR, 1)
        if source.chance(60):
            sock.setsockopt(_LEVEL, general.SO_RCVBUF, source.pick(_ROOMS))
        if port != w.PORT_ANY:
            sock.bind((source.pick(_OURS), port))
        if source.chance(200):
            self._programs.watch(sock)
        return sock

    def _open(self):
        source = self._source
        port = w.PORT_ANY if source.chance(40) else source.pick(MAIL)
        self.open(source.pick(self._stacks), port)

    def _boxes(self):
        return [sock for sock in self._programs.socks if sock.mailbox is not None]

    def _box(self):
        """Any socket of datagrams; if there is none, a new one."""
        boxes = self._boxes()
        if boxes:
            return boxes[self._source.below(len(boxes))]
        return self.open(self._source.pick(self._stacks), self._source.pick(MAIL))

    def _to(self):
        return self._source.pick(_CIDS), self._source.pick(_PORTS)

    def _send_to(self):
        source = self._source
        sock, data, to = self._box(), self._programs.data(), self._to()
        if source.chance(100):
            to = (2, 700)  # one that there is
        if source.chance(40):
            half = len(data) // 2
            return sock.sendmsg([data[:half], data[half:]], (), source.pick(_FLAGS), to)
        return sock.sendto(data, source.pick(_FLAGS), to)

    def _send_much(self):
        data = bytearray(PATTERN[: self._source.pick(_MUCH)])
        return self._box().sendto(data, (2, MAIL[0]))

    def _receive_from(self):
        source = self._source
        sock, flags, n = self._box(), source.pick(_FLAGS), source.size()
        kind = source.below(4)
        if kind == 0:
            buffer = bytearray(n)
            return "%r %s" % (sock.recvfrom_into(buffer, 0, flags), digest(buffer))
        if kind == 1:
            data, _, told, sender = sock.recvmsg(n, 0, flags)
            return "%s %d %r" % (digest(data), told, sender)
        if kind == 2:
            buffers = [bytearray(n // 2), bytearray(n - n // 2)]
            found = sock.recvmsg_into(buffers, 0, flags)
            return "%r %s %s" % (found, digest(buffers[0]), digest(buffers[1]))
        data, sender = sock.recvfrom(n, flags)
        return "%s %r" % (digest(data), sender)

    def _aim(self):
        """From now on it sends there and hears nobody else; or it stops."""
        sock = self._box()
        if self._source.chance(60):
            sock.shutdown(self._source.pick(_SHUTS))
        else:
            sock.connect((self._source.pick(PEERS), self._source.pick(MAIL)))
        return sock.endpoint.full()
