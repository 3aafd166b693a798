# SPDX-License-Identifier: MIT
"""What a SOCK_DGRAM socket does, in place of connections: messages to and from any address.

As Linux's vsock does it with a transport that has datagrams; docs/datagrams.md. The messages
themselves are vsock/datagram.py's.
"""

import errnos
import vsock
from portable import addressof
from portable import nbytes as bytes_in
from vsock import words as w
from vsock.datagram import Port
from vsock.wait import deadline, left

from . import general
from . import numbers as num
from .data import may_take

_NONE = "no vsock device offers datagrams: vsock.datagrams(True) has them within this machine"
_NO_PEER = "this socket has no peer: call connect(), or sendto() with an address"
_NO_WAY = (
    "there is no vsock device that offers datagrams: this machine's own CIDs are all there is"
)
_NO_ROOM = "there is no memory for the messages of another socket: close some"


class Mailbox:
    """The datagrams of one socket; `port` is its end in the stack."""

    def __init__(self, sock, stack):
        """Raises ENODEV where there are no datagrams."""
        if not vsock.has_datagrams(stack):
            raise OSError(errnos.ENODEV, _NONE)
        stack.have_datagrams()
        self.port = Port(stack, sock.kind)
        self._sock = sock
        self._stack = stack
        self._peer = None  # (cid, port) that send() sends to: connect's, until shutdown
        self._had_peer = False
        self._ended = 0  # directions that shutdown has closed, SHUT_LOCAL_*

    def belong(self, sock):
        """It is another socket's now."""
        self._sock = sock

    # -- its names --------------------------------------------------------------------------------

    def bind(self, cid, port):
        """Take an address; the port's number. Raises EADDRINUSE, ENOBUFS without memory."""
        if not self._promise():
            raise OSError(errnos.ENOBUFS, _NO_ROOM)
        self.port.shares = self._sock.options.kept(general.SO_REUSEADDR, 0) != 0
        return self._stack.datagrams.bind(self.port, cid, port)

    def _bound(self):
        """Bind to a port of the stack's choice, unless it is bound."""
        if self.port.cid is None:
            self._sock.bind((w.CID_ANY, w.PORT_ANY))

    def _promise(self):
        """Have memory for as many bytes as SO_RCVBUF says; False: there is none."""
        return self.port.promise(self._sock.getsockopt(general.SOL_SOCKET, general.SO_RCVBUF))

    def resize(self):
        """An option was set: SO_RCVBUF may be another one."""
        if self.port.cid is not None:
            self._promise()

    def connect(self, peer):
        """From now on send() sends there, and messages from elsewhere are dropped. Nobody is asked
        whether there is such a port. EINVAL: a CID that no datagram reaches."""
        self._bound()
        self._way(peer[0])
        self._peer = peer
        self._had_peer = True
        self._stack.datagrams.only_from(self.port, self._named(peer[0]), peer[1])

    def peer(self):
        """Whom connect named. Raises ENOTCONN."""
        if self._peer is None:
            raise OSError(errnos.ENOTCONN)
        return self._peer

    def shutdown(self, how):
        """Close directions, SHUT_LOCAL_* bits; nobody else hears of it, and the peer is forgotten.

        ENOTCONN if there never was one; it is done all the same.
        """
        self._peer = None
        self._ended |= how
        self.port.notify()
        if not self._had_peer:
            raise OSError(errnos.ENOTCONN)

    def close(self):
        """The socket is closed."""
        if self.port.cid is not None:
            self._stack.datagrams.unbind(self.port)
        self.port.close()

    # -- receiving --------------------------------------------------------------------------------

    def take(self, into, want, flags):
        """Take the next message, at most `want` bytes of it to address `into`.

        (bytes copied, its length, its sender); the sender is None after SHUT_RD.
        """
        found = None
        while found is None:  # a handler may have taken it before us
            if not self._wait(flags):
                return 0, 0, None
            found = self.port.receive(into, want, flags & num.MSG_PEEK)
        return found

    def _wait(self, flags):
        """Wait for a message; False if none is waited for: after SHUT_RD, or closed meanwhile."""
        sock = self._sock
        sock._open()
        if flags & (num.MSG_OOB | num.MSG_ERRQUEUE):
            raise OSError(errnos.EOPNOTSUPP)
        port = self.port
        seconds = sock.gettimeout()
        if seconds is None:
            seconds = may_take(sock.options.receive_us, flags)
        end = deadline(seconds)
        while not port.block[w.MESSAGES]:
            if port.error:
                raise OSError(sock.take_error())
            if seconds != 0 and self._ended & w.SHUT_LOCAL_RCV:
                return False
            rest = left(end)
            if rest == 0:
                raise sock._over()
            self._stack.waiter.wait(rest)
            if sock._closed:
                return False
        return True

    def receive(self, buffer, flags):
        """recvmsg's: (bytes copied, the same or with MSG_TRUNC how long the message was, MSG_TRUNC
        if it was longer, sender)."""
        n, length, sender = self.take(addressof(buffer), bytes_in(buffer, True), flags)
        told = num.MSG_TRUNC if length > n else 0
        return n, length if flags & num.MSG_TRUNC else n, told, sender

    def recvfrom(self, size, flags):
        """(data, sender)."""
        found = None
        while found is None:
            if not self._wait(flags):
                return b"", None
            found = self.port.receive_all(size, flags & num.MSG_PEEK)
        return bytes(found[0]), found[1]

    def recvfrom_into(self, buffer, size, flags):
        """(bytes copied, or with MSG_TRUNC how long the message was; sender)."""
        n, length, sender = self.take(addressof(buffer), size, flags)
        return length if flags & num.MSG_TRUNC else n, sender

    def read(self, size):
        """The next message, cut to `size` bytes if that is not negative; None if there is none."""
        try:
            return self.recvfrom(w.MAX_DATA if size < 0 else size, 0)[0]
        except OSError as error:
            self._sock._would_block(error)
            return None

    # -- sending ----------------------------------------------------------------------------------

    def send(self, data, flags, to):
        """Send one message to the address `to`, or None: to the peer; its length.

        EMSGSIZE beyond 64 KiB; EINVAL without a peer, and for a CID that no datagram reaches.
        """
        sock = self._sock
        sock._open()
        if flags & num.MSG_OOB:
            raise OSError(errnos.EOPNOTSUPP)
        n = bytes_in(data)
        self._bound()
        if to is None:
            to = self._peer
        if to is None or to[1] == w.PORT_ANY:
            raise OSError(errnos.EINVAL, _NO_PEER)
        to = self._named(to[0]), to[1]
        out, source = self._way(to[0])
        if n > w.MAX_DATA:
            raise OSError(errnos.EMSGSIZE)
        if self._ended & w.SHUT_LOCAL_SEND:
            raise OSError(errnos.EPIPE)
        at = addressof(data)
        if not self.port.send(out, source, to, at, n, data):
            self._send_later(flags, to, at, n, data)
        return n

    def _send_later(self, flags, to, at, n, data):
        """The same once there is room."""
        sock = self._sock
        seconds = sock.gettimeout()
        if seconds is None:
            seconds = may_take(sock.options.send_us, flags)
        end = deadline(seconds)
        while True:
            rest = left(end)
            if rest == 0:
                raise sock._over()
            self._stack.waiter.wait_sent(rest)
            sock._open()
            out, source = self._way(to[0])
            if self.port.send(out, source, to, at, n, data):
                return

    def _named(self, cid):
        """A destination's CID: CID_ANY is this machine."""
        return self._stack.cid if cid == w.CID_ANY else cid

    def _way(self, cid):
        """(way out, our CID there). EINVAL: none leads there; EIO: the device broke."""
        stack = self._stack
        cid = self._named(cid)
        if stack.is_local(cid):
            return stack.loopback, cid
        device = stack.device
        if cid == w.CID_HYPERVISOR or not vsock.offers_datagrams(device):
            raise OSError(errnos.EINVAL, _NO_WAY)
        if device.broken is not None:
            raise OSError(*device.broken.args)
        source = self.port.cid
        return stack.out, stack.cid if source in (w.CID_ANY, w.CID_LOCAL) else source

    # -- polling ----------------------------------------------------------------------------------

    def ready(self):
        """POLL* bits, as Linux's vsock_poll sets them; but no room in the device is no OUT."""
        ended = self._ended
        events = num.POLLERR if self.port.error else 0
        if ended == w.SHUT_LOCAL:
            events |= num.POLLHUP
        if ended & w.SHUT_LOCAL_RCV:
            events |= num.POLL_READ | num.POLLRDHUP
        elif self.port.block[w.MESSAGES]:
            events |= num.POLL_READ
        if ended & w.SHUT_LOCAL_SEND:
            return events
        stack = self._stack
        device = stack.device
        if vsock.offers_datagrams(device) and device.broken is None and stack.out.full():
            stack.starve(self.port)
            if stack.out.full():
                return events
        return events | num.POLL_WRITE
