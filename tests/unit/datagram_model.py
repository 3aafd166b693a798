# SPDX-License-Identifier: MIT
"""What sockets of datagrams must do, in plain Python: see test_datagrams.py.

As Linux's vsock_dgram_* and, where a message goes, as the series of 2026 has it. Sockets here
never wait. An outcome is [value, None] or [None, errno], as guest/bench_datagrams.py tells it.
"""

import errno
import random
from dataclasses import dataclass, field
from typing import Any

import vsock_bench

w = vsock_bench.module("vsock.words")
num = vsock_bench.module("sockets.numbers")
general = vsock_bench.module("sockets.general")

CID, HOST, LOCAL, ANY = 33, w.CID_HOST, w.CID_LOCAL, w.CID_ANY
MOST, BUFFER = 256, 212992  # messages and bytes that queue
RD, WR = 1, 2
Outcome = list[Any]


@dataclass(eq=False)
class Socket:
    """One socket."""

    cid: int | None = None
    port: int = 0
    peer: tuple[int, int] | None = None
    only: tuple[int, int] | None = None
    had_peer: bool = False
    ended: int = 0
    size: int = BUFFER
    reuse: bool = False
    shares: bool = False
    queue: list[tuple[bytes, tuple[int, int]]] = field(default_factory=list)
    full: int = 0
    closed: bool = False


class Guest:
    """All sockets of a guest; `sent` is what went to the device, `dropped` what was, by reason."""

    def __init__(self, offered: bool):
        """`offered`: the device has datagrams."""
        self.offered = offered
        self.sockets: dict[str, Socket] = {}
        self.sent: list[tuple[list[int], bytes]] = []
        self.dropped = [0] * w.DROPS  # of the device's packets
        self.holders: list[Socket] = []  # bound ones, in the order in which they are asked

    # -- packets

    def arrives(self, source, to, data, way) -> int:
        """A message comes by the loopback or the device; why it was dropped, or 0."""
        why = w.DROP_UNBOUND
        for sock in self.holders:
            if sock.port != to[1] or sock.cid not in (to[0], ANY):
                continue
            queued = sum(len(each) for each, _ in sock.queue)
            if sock.only is not None and sock.only != source:
                why = w.DROP_FILTERED
                continue
            if len(sock.queue) == MOST or queued + len(data) > sock.size:
                sock.full += 1
                why = w.DROP_FULL
                break
            sock.queue.append((data, source))
            return 0
        if way == "device":
            self.dropped[why] += 1
        return why

    def _reaches(self, cid) -> bool:
        return cid in (LOCAL, CID) or (self.offered and cid != w.CID_HYPERVISOR)

    def _send(self, sock, flags, data, to) -> Outcome:
        if flags & num.MSG_OOB:
            return [None, errno.EOPNOTSUPP]
        to = to or sock.peer
        if to is None or to[1] == ANY:
            return [None, errno.EINVAL]
        cid, port = CID if to[0] == ANY else to[0], to[1]
        if not self._reaches(cid):
            return [None, errno.EINVAL]
        if len(data) > w.MAX_DATA:
            return [None, errno.EMSGSIZE]
        if sock.ended & WR:
            return [None, errno.EPIPE]
        if cid in (LOCAL, CID):
            self.arrives((cid, sock.port), (cid, port), data, "loopback")
        else:
            source = CID if sock.cid in (ANY, LOCAL) else sock.cid
            kind = w.TYPE_DGRAM | w.OP_RW << w.OP_SHIFT
            header = [source, 0, cid, 0, sock.port, port, len(data), kind, 0, 0, 0]
            self.sent.append((header, data))
        return [len(data), None]

    # -- calls

    def call(self, name, method, arguments) -> Outcome:
        """What a call comes to; it has happened then. `binds` says whether it binds first."""
        sock = self.sockets[name]
        if sock.closed:
            return self._closed(method, arguments)
        return getattr(self, "_" + method)(sock, *arguments)

    @staticmethod
    def _closed(method, arguments) -> Outcome:
        if method == "ioctl":
            return [num.POLLNVAL, None]
        if method in ("recv", "recv_into") and not arguments[0]:
            return [b"" if method == "recv" else 0, None]  # nobody is asked, as in CPython
        return [None, None if method == "close" else errno.EBADF]

    def binds(self, name, method, arguments) -> bool:
        """Whether a call takes a port of the stack's choice first."""
        sock = self.sockets[name]
        sends = method in ("send", "sendto") and num.MSG_OOB not in arguments[1:2]
        return not sock.closed and sock.cid is None and (sends or method == "connect")

    def _bind(self, sock, address) -> Outcome:
        cid, port = address
        if sock.cid is not None:
            return [None, errno.EINVAL]
        if cid not in (ANY, LOCAL, CID):
            return [None, errno.EADDRNOTAVAIL]
        for other in self.holders:
            same = other.port == port and (other.cid == cid or ANY in (cid, other.cid))
            if same and not (sock.reuse and other.shares):
                return [None, errno.EADDRINUSE]
        self.bound(sock, cid, port)
        return [None, None]

    def bound(self, sock, cid, port) -> None:
        """A socket has an address now."""
        sock.cid, sock.port, sock.shares = cid, port, sock.reuse
        self.holders.append(sock)

    def _sendto(self, sock, data, *rest) -> Outcome:
        return self._send(sock, rest[0] if len(rest) > 1 else 0, data, tuple(rest[-1]))

    def _send_(self, sock, data, flags=0) -> Outcome:
        return self._send(sock, flags, data, None)

    def _connect(self, sock, address) -> Outcome:
        cid = CID if address[0] == ANY else address[0]
        if not self._reaches(cid):
            return [None, errno.EINVAL]
        sock.peer, sock.only, sock.had_peer = tuple(address), (cid, address[1]), True
        self.holders.remove(sock)
        self.holders.insert(0, sock)
        return [None, None]

    def _getpeername(self, sock) -> Outcome:
        return [list(sock.peer), None] if sock.peer else [None, errno.ENOTCONN]

    def _getsockname(self, sock) -> Outcome:
        return [[ANY, ANY] if sock.cid is None else [sock.cid, sock.port], None]

    def _shutdown(self, sock, how) -> Outcome:
        sock.ended |= how + 1
        sock.peer = None
        return [None, None if sock.had_peer else errno.ENOTCONN]

    def _close(self, sock) -> Outcome:
        sock.closed = True
        if sock in self.holders:
            self.holders.remove(sock)
        return [None, None]

    def _listen(self, sock, *_) -> Outcome:
        return [None, errno.EOPNOTSUPP]

    _accept = _listen

    def _setsockopt(self, sock, level, name, value) -> Outcome:
        if level != general.SOL_SOCKET:
            return [None, errno.EOPNOTSUPP]
        if name == general.SO_REUSEADDR:
            sock.reuse = bool(value)
            return [None, None]
        sock.size = max(2 * min(value, BUFFER), 2304)
        return [None, None]

    def _ioctl(self, sock, request, mask) -> Outcome:
        events = num.POLLHUP if sock.ended == RD | WR else 0
        if sock.ended & RD:
            events |= num.POLL_READ | num.POLLRDHUP
        if sock.queue:
            events |= num.POLL_READ
        if not sock.ended & WR:
            events |= num.POLL_WRITE
        return [events, None]

    def _take(self, sock, flags):
        if flags & (num.MSG_OOB | num.MSG_ERRQUEUE):
            return errno.EOPNOTSUPP
        if not sock.queue:
            return errno.EAGAIN
        return sock.queue[0] if flags & num.MSG_PEEK else sock.queue.pop(0)

    def _recvfrom(self, sock, size, flags=0) -> Outcome:
        found = self._take(sock, flags)
        if isinstance(found, int):
            return [None, found]
        return [[found[0][:size], list(found[1])], None]

    def _recv(self, sock, size, flags=0) -> Outcome:
        if not size:
            return [b"", None]
        value, error = self._recvfrom(sock, size, flags)
        return [value[0] if value else None, error]

    def _recv_into(self, sock, buffer, size, flags) -> Outcome:
        if not buffer:
            return [0, None]
        found = self._take(sock, flags)
        if isinstance(found, int):
            return [None, found]
        n = min(len(found[0]), size or len(buffer))
        return [len(found[0]) if flags & num.MSG_TRUNC else n, None]

    def _recvmsg(self, sock, size, ancillary, flags) -> Outcome:
        found = self._take(sock, flags)
        if isinstance(found, int):
            return [None, found]
        told = num.MSG_TRUNC if len(found[0]) > size else 0
        return [[found[0][:size], [], told, list(found[1])], None]


# -- what a case is made of -----------------------------------------------------------------------

NAMES, PORTS = "abcd", [700, 700, 701, 1024]
CIDS = [LOCAL, LOCAL, CID, ANY]
SIZES = [0, 0, 1, 5, 2048, 2049, 4096, 4097, 9000, w.MAX_DATA]
CALLS = [
    *["sendto"] * 12,
    *["send"] * 4,
    *["recvfrom"] * 8,
    *["recvmsg"] * 3,
    *["recv", "recv_into"] * 2,
    *["bind"] * 5,
    *["connect"] * 3,
    *["ioctl", "getsockname", "getpeername"],
    *["shutdown", "close", "listen", "accept"],
    *["setsockopt"] * 3,
]


def address(chance: random.Random) -> list[int]:
    """Somewhere, mostly where somebody may be."""
    odd = [HOST, w.CID_HYPERVISOR, 77]
    cid = chance.choice(odd if chance.random() < 0.2 else CIDS)
    return [cid, ANY if chance.random() < 0.02 else chance.choice(PORTS)]


def flags(chance: random.Random) -> int:
    """Flags of a call that receives."""
    usual = [0] * 6 + [num.MSG_PEEK, num.MSG_TRUNC, num.MSG_DONTWAIT, num.MSG_WAITALL]
    return chance.choice([*usual, num.MSG_PEEK | num.MSG_TRUNC, num.MSG_OOB, num.MSG_ERRQUEUE])


def step(chance: random.Random) -> tuple[str, str, list]:
    """A call: socket, method, arguments."""
    method = chance.choice(CALLS)
    size = chance.choice([0, 1, 3, 5000, w.MAX_DATA])
    data = chance.randbytes(chance.choice([*SIZES, 70_000] if chance.random() < 0.1 else SIZES))
    arguments: dict[str, list] = {
        "sendto": [data, *[num.MSG_OOB] * (chance.random() < 0.03), address(chance)],
        "send": [data, num.MSG_OOB if chance.random() < 0.05 else 0],
        "recvfrom": [size, flags(chance)],
        "recvmsg": [size, 0, flags(chance)],
        "recv": [size, flags(chance)],
        "recv_into": [bytes(size), 0, flags(chance)],
        "bind": [address(chance)],
        "connect": [address(chance)],
        "ioctl": [3, 0x23FF],
        "shutdown": [chance.randint(0, 2)],
        "setsockopt": chance.choice([[40, 0, 1], [1, 2, 1], [1, 2, 1], [1, 8, size * 2]]),
    }
    return chance.choice(NAMES), method, arguments.get(method, [])


# A packet of the device's that is no datagram: fields of its header, and what it is dropped as.
LIES: list[tuple[dict[int, int], int]] = [
    ({w.TYPE_OP: w.TYPE_DGRAM | op << w.OP_SHIFT}, w.DROP_DATAGRAM)
    for op in (1, 2, 3, 4, 6, 7, 8, 0xFFFF)
] + [
    ({w.TYPE_OP: w.TYPE_DGRAM}, w.DROP_INVALID),
    ({w.FLAGS: 1}, w.DROP_DATAGRAM),
    ({w.FLAGS: 0x80000000}, w.DROP_DATAGRAM),
    ({w.LEN: 0xFFFFFFFF}, w.DROP_LONG),
    ({w.LEN: w.MAX_DATA + 1}, w.DROP_LONG),
    ({w.DST_CID: 34}, w.DROP_STRAY),
    ({w.DST_CID: LOCAL}, w.DROP_STRAY),
    ({w.DST_CID_HIGH: 1}, w.DROP_STRAY),
    ({w.SRC_CID_HIGH: 1}, w.DROP_SENDER),
    ({w.SRC_CID: LOCAL}, w.DROP_SENDER),
    ({w.SRC_CID: CID}, w.DROP_SENDER),
    ({w.SRC_CID: w.CID_HYPERVISOR}, w.DROP_SENDER),
    ({w.SRC_CID: ANY}, w.DROP_SENDER),
]
