# SPDX-License-Identifier: MIT
"""Much of one kind at once, which chance alone hardly brings: it fills tables and windows."""

import struct

from fuzz_peers import ALLOC, LOCAL, MAIL, OPEN, PATTERN, PORT, SENT, THEIR_ALLOC, THEIR_FWD, TYPE
from sockets.data import socket
from sockets.numbers import AF_VSOCK
from sockets.options import SO_VM_SOCKETS_LATE_SEND, SO_VM_SOCKETS_LATE_SEND_TIMEOUT
from vsock import words as w
from vsock.wait import READING, SENDING

_PORT = 7000  # where storms of requests go
_MOST = 90  # packets of a storm
_ROUNDS = 24  # of a pump


class Storms:
    """Storms over a road (fuzz_road.py)."""

    def __init__(self, road, source, programs, waits):
        self._road = road
        self._source = source
        self._programs = programs
        self._waits = waits
        self._kinds = (self._requests, self._collisions, self._messages, self._pump, self._pump)
        self._kinds += (self._late, self._large, self._large, self._large)
        self._kinds += (self._large, self._home, self._letters, self._looks, self._looks)

    def step(self):
        """One storm, on one of the devices."""
        which = self._source.below(len(self._road.fars))
        self._source.pick(self._kinds)(which)

    def _give(self, which, headers, n=0):
        """Packets with those words, each with `n` bytes, as fast as buffers are there."""
        far = self._road.fars[which]
        given = 0
        for words in headers:
            far.refresh()
            if not far.posted:
                self._road.settle_some(which)
                if not far.posted:
                    break
            far.write(0, struct.pack("<11I", *words), PATTERN[:n], w.HEADER_LEN + n)
            far.show()
            given += 1
        self._road.inputs += given
        self._road.settle_some(which)

    def _open(self, which):
        """A listener that takes all that there is room for."""
        sock = socket(stack=self._road.stacks[which])
        sock.settimeout(0)
        self._programs.keep(sock)
        sock.bind((w.CID_ANY, _PORT))
        sock.listen(4096)

    def _requests(self, which, ports=None):
        try:
            self._open(which)
        except OSError:
            pass  # it is there since an earlier storm
        cid = self._road.stacks[which].cid
        first = self._source.below(60000)
        kind = w.TYPE_STREAM | w.OP_REQUEST << w.OP_SHIFT
        ports = ports or range(first, first + _MOST)
        self._give(which, [[2, 0, cid, 0, port, _PORT, 0, kind, 0, 65536, 0] for port in ports])

    def _collisions(self, which):
        """Requests that all belong into one bucket of the table."""
        mask = self._road.stacks[which].table._mask
        wanted = self._source.below(16)
        ports = []
        port = self._source.below(60000)
        while len(ports) < 20:
            if spread(_PORT, port, 2) & mask == wanted:
                ports.append(port)
            port += 1
        self._requests(which, ports)

    def _letters(self, which):
        """More datagrams than a socket may have unread, some of them large."""
        source = self._source
        port = source.pick(MAIL)
        n = source.pick((0, 1, 1, 40, 3000, 20000))
        words = self._road.peers[which].letter(2, MAIL[0], port, n)
        self._programs.attempt(lambda: self._programs.mail.open(self._road.stacks[which], port))
        self._give(which, [words] * (3 * _MOST), n)
        self._road.check_mail(self._road.stacks[which])

    def _talks(self, which, kind):
        """A conversation of that type with a socket that reads it, or None."""
        for each in self._road.peers[which].all:
            if each[OPEN] and each[TYPE] == kind:
                for sock in self._programs.socks:
                    conn = sock.connection
                    if conn is not None and sock._stack is self._road.stacks[which]:
                        block = conn.block
                        if block[w.SRC_PORT] == each[LOCAL] and block[w.DST_PORT] == each[PORT]:
                            return each, sock
        return None

    def _messages(self, which):
        """Tiny messages that nobody reads."""
        found = self._talks(which, w.TYPE_SEQPACKET)
        if found is None:
            return
        each, _ = found
        n = self._source.pick((1, 1, 10, 3000))
        words = self._road.peers[which].header(each, w.OP_RW)
        words[w.LEN] = n
        words[w.FLAGS] = w.SEQ_EOM
        each[SENT] = (each[SENT] + n * _MOST) & 0xFFFFFFFF
        self._give(which, [words] * _MOST, n)

    def _pump(self, which):
        """A program reads, or echoes, all that its peer may send."""
        kind = w.TYPE_SEQPACKET if self._source.chance(60) else w.TYPE_STREAM
        found = self._talks(which, kind)
        if found is None:
            return
        each, sock = found
        echoes = self._source.chance(100)
        greedy = self._source.chance(128)
        peers = self._road.peers[which]
        for _ in range(_ROUNDS):
            used = (each[SENT] - each[THEIR_FWD]) & 0xFFFFFFFF
            n = min(65536, each[THEIR_ALLOC] - used)
            if n <= 0:
                self._give(which, [peers.header(each, w.OP_CREDIT_REQUEST)] * 2)
                n = 1
            words = peers.header(each, w.OP_RW)
            words[w.LEN] = n
            words[w.FLAGS] = w.SEQ_EOM
            each[SENT] = (each[SENT] + n) & 0xFFFFFFFF
            self._give(which, [words], n)
            if each not in peers.all or sock.connection is None:
                return
            if echoes:
                self._programs.attempt(lambda: sock.splice(sock))
                self._road.settle_some(which)
            else:
                n = 65536 if greedy else self._source.size()
                self._programs.attempt(lambda n=n: len(sock.recv(n)))

    def _late(self, which):
        """A program goes on sending to a peer that has shut both directions, and takes nothing."""
        found = self._talks(which, w.TYPE_STREAM)
        if found is None:
            return
        each, sock = found
        patience = self._source.pick((0, 1, 60))
        self._set(sock, SO_VM_SOCKETS_LATE_SEND, 1)
        self._set(sock, SO_VM_SOCKETS_LATE_SEND_TIMEOUT, patience)
        peers = self._road.peers[which]
        words = peers.header(each, w.OP_SHUTDOWN)
        words[w.FLAGS] = w.SHUTDOWN_BOTH
        self._give(which, [words])
        for _ in range(self._source.below(5)):
            self._programs.attempt(lambda: sock.send(bytes(3000)))
            self._road.settle_some(which)
            if self._source.chance(100):
                self._give(which, [peers.header(each, w.OP_CREDIT_UPDATE)])
            self._road.time()

    def _set(self, sock, name, value):
        self._programs.attempt(lambda: sock.setsockopt(AF_VSOCK, name, value))

    def _large(self, which):
        """A program sends more than its peer has room for."""
        found = self._talks(which, w.TYPE_STREAM)
        if found is None:
            return
        each, sock = found
        each[ALLOC] = self._source.pick((1, 4096, 5000, 65536))
        self._give(which, [self._road.peers[which].header(each, w.OP_CREDIT_UPDATE)])
        sock.settimeout(self._source.pick((None, 0.01, 3.5)) if self._waits else 0)
        data = (PATTERN * 2)[: self._source.pick((5000, 20000, 65000, 120000))]
        self._programs.attempt(lambda: sock.send(bytearray(data)))
        self._programs.attempt(lambda: sock.sendall(data))

    def _looks(self, which):
        """A program looks for packets again and again before it sleeps; some of that pays."""
        source = self._source
        waiter = self._road.stacks[which].waiter
        found = self._talks(which, w.TYPE_STREAM)
        for _ in range(2 + source.below(30)):
            if source.chance(128):
                self._road.bring(which)
            kind = source.pick((READING, READING, SENDING))
            if source.chance(128) or not self._waits:
                self._programs.attempt(lambda kind=kind: waiter.spin(kind))
            elif source.chance(128) or found is None:
                left = source.pick((0, 50, 400, 5000))
                self._programs.attempt(lambda left=left, kind=kind: waiter.wait(left, None, kind))
            else:
                found[1].settimeout(None)
                self._programs.attempt(lambda: found[1].recv_into(bytearray(50)))
            if source.chance(60):
                self._road.time()

    def _home(self, which):
        """A program talks to another one of this guest."""
        stack = self._road.stacks[which]
        ends = [socket(stack=stack) for _ in range(2)]
        for sock in ends:
            sock.settimeout(0)
            self._programs.keep(sock)
        self._programs.attempt(lambda: ends[0].bind((w.CID_LOCAL, _PORT + 1)))
        self._programs.attempt(lambda: ends[0].listen(4))
        self._programs.attempt(lambda: ends[1].connect((w.CID_LOCAL, _PORT + 1)))
        self._programs.attempt(lambda: self._programs.take(ends[0]))
        data = PATTERN[: self._source.size()]
        self._programs.attempt(lambda: ends[1].send(data))
        self._programs.attempt(lambda: self._programs.socks[-1].splice(self._programs.socks[-1]))
        if self._waits:
            self._programs.attempt(lambda: ends[1].settimeout(0.01))
            self._programs.attempt(lambda: ends[1].send(bytearray(PATTERN * 5)))


def spread(local_port, peer_port, peer_cid):
    """vsock/table.py's hash: a host knows it, too."""
    h = peer_port * 0x9E3779B1 + local_port * 0x85EBCA77 + peer_cid * 0xC2B2AE3D
    h = (h ^ (h >> 15)) & 0x3FFFFFFF
    return (h * 0x2C1B3C6D >> 17) & 0xFFFF
