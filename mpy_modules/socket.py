# SPDX-License-Identifier: MIT
"""`import socket`: CPython's module, for AF_VSOCK on this firmware's own vsock driver.

Nothing touches the hardware before the first socket is made. What is not here (AF_INET, DNS,
ancillary data) the machine does not have. docs/errno.md lists calls, situations and errno.
"""

import builtins

import micropython
import vsock
from machine import nbytes as bytes_in
from micropython import const
from uctypes import addressof
from vsock import connection as life
from vsock import endpoint
from vsock.endpoint import Endpoint, timed_out
from vsock.errnos import EAGAIN, EISCONN, EMSGSIZE, ENOTCONN, EOPNOTSUPP, EPIPE
from vsock.file import SocketFile
from vsock.ready import Ready
from vsock.view import View
from vsock.wait import deadline, left

AF_UNSPEC = 0
AF_INET = 2  # only so that a program can ask and be refused: EAFNOSUPPORT
AF_VSOCK = 40
SOCK_STREAM = 1
SOCK_DGRAM = 2
SOCK_SEQPACKET = 5
SOCK_NONBLOCK = 0x800
SOCK_CLOEXEC = 0x80000

SOL_SOCKET = 1
SO_REUSEADDR = 2
SO_TYPE = 3
SO_ERROR = 4
SO_SNDBUF = 7
SO_RCVBUF = 8
SO_KEEPALIVE = 9
SO_LINGER = 13
SO_RCVLOWAT = 18
SO_RCVTIMEO = 20
SO_SNDTIMEO = 21
SO_ACCEPTCONN = 30
SO_PROTOCOL = 38
SO_DOMAIN = 39
SOMAXCONN = 4096

MSG_OOB = 0x01
MSG_PEEK = 0x02
MSG_TRUNC = 0x20
MSG_DONTWAIT = 0x40
MSG_EOR = 0x80
MSG_WAITALL = 0x100
MSG_NOSIGNAL = 0x4000

SHUT_RD = 0
SHUT_WR = 1
SHUT_RDWR = 2

VMADDR_CID_ANY = 0xFFFFFFFF
VMADDR_CID_HYPERVISOR = 0
VMADDR_CID_LOCAL = 1
VMADDR_CID_HOST = 2
VMADDR_PORT_ANY = 0xFFFFFFFF
VM_SOCKETS_INVALID_VERSION = 0xFFFFFFFF
SO_VM_SOCKETS_BUFFER_SIZE = 0
SO_VM_SOCKETS_BUFFER_MIN_SIZE = 1
SO_VM_SOCKETS_BUFFER_MAX_SIZE = 2
SO_VM_SOCKETS_CONNECT_TIMEOUT = 6
SO_VM_SOCKETS_LATE_SEND = 0x4D50  # ours: vsock.options says what for

has_ipv6 = False
timeout = endpoint.timeout
error = OSError
builtins.TimeoutError = timeout  # the name that CPython has for it; MicroPython has none

_MSG_OOB = const(0x01)
_MSG_PEEK = const(0x02)
_MSG_TRUNC = const(0x20)
_MSG_DONTWAIT = const(0x40)
_MSG_EOR = const(0x80)
_MSG_WAITALL = const(0x100)
_CONNECTED = const(3)  # vsock.endpoint's state
_STREAM = const(1)
_EOM = const(1)
_EOR = const(2)
_LENT = const(25)  # vsock.connection's word: how many buffers the device has not given back
_FIRST_CHUNK = const(65536)

_default_timeout = None


class socket(Endpoint):
    """A vsock socket. `stack` names another vsock device than the first: vsock.get(1)."""

    def __init__(self, family=AF_VSOCK, type=SOCK_STREAM, proto=0, fileno=None, stack=None):
        super().__init__(stack or vsock.get(), family, type, _default_timeout)

    def _accepted(self):
        sock = socket(self.family, self.type, stack=self._stack)
        sock.options.inherit(self.options)
        return sock

    # -- receiving --------------------------------------------------------------------------------

    @micropython.native
    def recv_into(self, buffer, nbytes=0, flags=0):
        """Receive up to `nbytes` (0: all that fit) into `buffer`; 0 at the peer's end."""
        conn = self.connection
        if conn is not None and not flags:
            n = conn.receive_now(buffer, nbytes, self._timeout != 0)
            if n:
                return n
        if nbytes < 0:
            raise ValueError("negative buffersize in recv_into")
        n = bytes_in(buffer, True)
        if nbytes and nbytes < n:
            n = nbytes
        return self._receive(addressof(buffer), n, flags)

    @micropython.native
    def recv(self, bufsize, flags=0):
        """Receive up to `bufsize` bytes; b"" at the peer's end."""
        if bufsize < 0:
            raise ValueError("negative buffersize in recv")
        conn = self.connection
        if conn is None or self._state != _CONNECTED:
            conn = self._receiver()
        if self.type == _STREAM and not flags & _MSG_WAITALL:
            # Not a buffer of `bufsize` bytes, but of as many as there are.
            queued = life.queued(conn.at)
            target = min(self.options.lowat, bufsize)
            if queued < target:
                queued = self._receive_wait(conn, flags, target)
            bufsize = min(bufsize, queued)
        buffer = bytearray(bufsize)
        n = 0 if flags else conn.receive_now(buffer, 0, False)
        if bufsize and not n:
            n = self._receive(addressof(buffer), bufsize, flags)
        return bytes(buffer) if n >= bufsize else bytes(memoryview(buffer)[:n])

    def recvfrom(self, bufsize, flags=0):
        return self.recv(bufsize, flags), None

    def recvfrom_into(self, buffer, nbytes=0, flags=0):
        return self.recv_into(buffer, nbytes, flags), None

    def recv_view(self, flags=0):
        """Borrow received bytes where the device put them: a View, or None at the peer's end.

        Use it in a `with` statement or call its `release()`; closing the socket does that too.
        """
        conn = self._receiver()
        if not life.queued(conn.at) and not self._receive_wait(conn, flags, 1):
            return None
        return View(conn)

    @micropython.native
    def _receiver(self):
        """The connection to receive from. Raises ENOTCONN."""
        self._open()
        conn = self.connection
        if self._state != _CONNECTED:
            self._check_connect()
            if self._state != _CONNECTED:
                raise OSError(ENOTCONN)
            conn = self.connection
        return conn

    @micropython.native
    def _receive(self, into, want, flags):
        conn = self._receiver()
        if flags & _MSG_OOB:
            raise OSError(EOPNOTSUPP)
        if self.type != _STREAM:
            return self._receive_message(conn, into, want, flags)
        if not want:
            return 0
        target = want if flags & _MSG_WAITALL else min(self.options.lowat, want)
        done = 0
        while True:
            if not self._receive_wait(conn, flags, target - done):
                return done
            done += conn.receive(into + done, want - done, flags & _MSG_PEEK)
            if done >= target or flags & _MSG_PEEK:
                return done

    @micropython.native
    def _receive_message(self, conn, into, want, flags):
        if not self._receive_wait(conn, flags, 1):
            return 0
        n, length, _ = conn.receive_message(into, want, flags & _MSG_PEEK)
        return length if flags & _MSG_TRUNC else n

    @micropython.native
    def _receive_wait(self, conn, flags, target):
        """Wait until bytes can be taken; how many are queued, 0 at the end of the stream."""
        end = None
        timed = False
        block = conn.block
        at = conn.at
        while True:
            queued = life.queued(at)
            if queued:
                if self.type != _STREAM:
                    if block[life.MESSAGES]:
                        return queued
                elif queued >= target:
                    return queued
            if block[life.STATE] == life.CLOSED or block[life.SHUT] & 9:  # own RCV, peer's SEND
                if block[life.ERROR] and not queued:
                    raise OSError(block[life.ERROR])
                return queued if self.type == _STREAM else 0
            if self._timeout == 0 or flags & _MSG_DONTWAIT:
                if queued and self.type == _STREAM and flags & _MSG_WAITALL:
                    return queued
                conn.tell()
                raise OSError(EAGAIN)
            if self._timeout is None:
                self._stack.waiter.wait(-1, conn)
            else:
                if not timed:
                    end = deadline(self._timeout)
                    timed = True
                rest = left(end)
                if rest == 0:
                    raise timed_out()
                self._stack.waiter.wait(rest, conn)
            if self._closed:
                return 0

    # -- sending ----------------------------------------------------------------------------------

    @micropython.native
    def send(self, data, flags=0):
        """Send all of `data` (blocking) or what fits now; returns how much, as Linux does.

        `data` is the caller's again when send returns. It is fastest as bytes: the device reads
        those where they lie.
        """
        if not flags and self._state == _CONNECTED:
            n = self.connection.send_now(data)
            if n:
                return n
        return self._send(data, flags, False)

    @micropython.native
    def sendall(self, data, flags=0):
        """Send all of `data`; if that fails, also by a time-out, some of it may have gone out."""
        if flags or self._state != _CONNECTED or not self.connection.send_now(data):
            self._send(data, flags, True)

    def sendto(self, data, *arguments):
        self._sender()
        raise OSError(EISCONN if self.type == _STREAM else EOPNOTSUPP)

    @micropython.native
    def _sender(self):
        self._open()
        if self._state != _CONNECTED:
            self._check_connect()
            if self._state != _CONNECTED:
                raise OSError(ENOTCONN)
        return self.connection

    @micropython.native
    def _send(self, data, flags, everything):
        conn = self.connection
        if self._state != _CONNECTED:
            conn = self._sender()
        n = bytes_in(data)
        start = addressof(data)
        mark = 0
        if flags & _MSG_OOB:
            raise OSError(EOPNOTSUPP)
        if self.type != _STREAM:
            mark = _EOM | (_EOR if flags & _MSG_EOR else 0)
            self._check_message(conn, n)
        done = 0
        end = None
        timed = False
        staged = False
        patience = 2  # first spin, then wait a moment, then ask the peer; again after progress
        while True:
            if staged:
                sent = conn.send_staged()
            else:
                sent = conn.send(start + done, n - done, data, mark)
            if sent < 0 or (n == 0 and conn.room() == -EPIPE):
                raise OSError(EPIPE)
            done += sent
            if done >= n:
                break
            if self._timeout == 0 or flags & _MSG_DONTWAIT:
                if done and not everything:
                    break
                raise OSError(EAGAIN)
            if sent:
                patience = 2
            if patience == 2:
                patience = 1
                if not staged and mark == 0 and type(data) is not bytes:
                    staged = conn.stage(start + done, n - done)
                if self._stack.waiter.spin():
                    continue
            if patience == 1 and conn.room() == 0:
                # The peer may have room and not have said so; ask once, not in a loop.
                patience = 0
                if not self._credit_soon(conn):
                    conn.ask_credit()
                continue
            if self._timeout is not None:
                if not timed:
                    end = deadline(self._timeout)
                    timed = True
                rest = left(end)
                if rest == 0:
                    if done and not everything:
                        break
                    raise timed_out()
                self._wait_room(conn, rest)
            else:
                self._wait_room(conn, -1)
        if conn.block[_LENT]:
            self._wait_returned(conn)
        return done

    def _credit_soon(self, conn):
        """Wait a moment for credit; True if it came."""
        self._stack.waiter.wait(1000)
        return conn.room() != 0

    @micropython.native
    def _wait_room(self, conn, rest):
        """Wait for credit, or for slots in the transmit ring."""
        if conn.out.free() <= 8:
            self._stack.waiter.wait_sent(rest)
        elif conn.room() == 0:
            self._stack.waiter.wait(rest)

    def _wait_returned(self, conn):
        """Wait until the device has given our buffer back; it owes us that at once."""
        waiter = self._stack.waiter
        while conn.block[_LENT] and self._stack.device.broken is None:
            waiter.wait_sent(1000000)

    def _check_message(self, conn, n):
        """Seqpacket: a message goes as a whole or not at all."""
        block = conn.block
        room = conn.room()
        if room == -EPIPE:
            raise OSError(EPIPE)
        if n > min(block[life.SEND_LIMIT], block[life.PEER_ALLOC]):
            raise OSError(EMSGSIZE)
        if n > room and self._timeout == 0:
            raise OSError(EAGAIN)

    @micropython.native
    def splice(self, to):
        """Send what has been received on through the socket `to`, without a copy and waiting.

        `to` may be the socket itself. Returns how many bytes; 0 if there was nothing or no room
        (wait for news on both); -1 once the peer's last byte is through or `to` takes no more.
        """
        conn = self.connection
        other = to.connection
        if conn is None or other is None:
            raise OSError(ENOTCONN)
        return conn.splice(other)

    # -- MicroPython's stream methods: asyncio, print(file=), json.dump --------------------------

    def read(self, size=-1):
        """Up to `size` bytes, everything until the end by default; None if it would block."""
        parts = []
        while size:
            try:
                part = self.recv(_FIRST_CHUNK if size < 0 else size)
            except OSError as failure:
                if failure.errno != EAGAIN:
                    raise
                if not parts:
                    return None
                break
            if not part:
                break
            parts.append(part)
            if size > 0:
                size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer, nbytes=0):
        """recv_into; None if it would block."""
        try:
            return self.recv_into(buffer, nbytes)
        except OSError as failure:
            if failure.errno != EAGAIN:
                raise
            return None

    def readline(self, size=-1):
        """Up to and with the next newline; what there is if it would block, None if nothing."""
        line = bytearray()
        while size < 0 or len(line) < size:
            try:
                ahead = self.recv(256, _MSG_PEEK)
            except OSError as failure:
                if failure.errno != EAGAIN:
                    raise
                if not line:
                    return None
                break
            if not ahead:
                break
            stop = ahead.find(b"\n") + 1
            line += self.recv(stop or len(ahead))
            if stop:
                break
        return bytes(line)

    def write(self, data):
        """send; None if it would block."""
        try:
            return self._send(data, 0, False)
        except OSError as failure:
            if failure.errno != EAGAIN:
                raise
            return None

    def makefile(self, mode="r", buffering=None, *, encoding=None, errors=None, newline=None):
        """A file object over this socket; "r" and "w" in text, with "b" in bytes."""
        self._open()
        return SocketFile(self, mode, encoding)


SocketType = socket


def poller(stack=None):
    """A vsock.ready.Ready: the next of many sockets with news; idle ones cost nothing."""
    return Ready(stack or vsock.get())


def setdefaulttimeout(seconds):
    global _default_timeout
    _default_timeout = seconds


def getdefaulttimeout():
    return _default_timeout


def get_local_cid():
    """The guest's CID; VMADDR_CID_LOCAL without a device."""
    return vsock.get().cid


def getaddrinfo(host, port, family=0, type=0, proto=0, flags=0):
    """[(family, type, proto, "", (cid, port))]; `host` is a CID, a name, or None for any."""
    names = {None: VMADDR_CID_ANY, "": VMADDR_CID_ANY, "0.0.0.0": VMADDR_CID_ANY}
    names.update({"host": VMADDR_CID_HOST, "local": VMADDR_CID_LOCAL, "localhost": 1})
    cid = names[host] if host in names else int(host)
    return [(AF_VSOCK, type or SOCK_STREAM, 0, "", (cid, int(port)))]


def create_connection(address, timeout=-1, source_address=None):
    """A connected stream socket."""
    sock = socket()
    try:
        if timeout != -1:
            sock.settimeout(timeout)
        if source_address:
            sock.bind(source_address)
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return sock


def create_server(address, *, family=AF_VSOCK, backlog=None, reuse_port=False):
    """A listening stream socket."""
    sock = socket(family)
    try:
        sock.bind(address)
        sock.listen(128 if backlog is None else backlog)
    except OSError:
        sock.close()
        raise
    return sock
