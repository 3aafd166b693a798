# SPDX-License-Identifier: MIT
"""The life of a socket: names, listening, connecting, ending; errors as Linux's AF_VSOCK gives.

`socket.socket` derives from this and adds the moving of bytes.
"""

import io

import machine
import micropython

from . import connection as life
from . import packet as wire
from .errnos import (
    EADDRNOTAVAIL,
    EAFNOSUPPORT,
    EAGAIN,
    EALREADY,
    EBADF,
    EINPROGRESS,
    EINVAL,
    EISCONN,
    ENETUNREACH,
    ENODEV,
    ENOTCONN,
    ESOCKTNOSUPPORT,
    ETIMEDOUT,
)
from .layout import const
from .options import AF_VSOCK, Options, get_option, set_option
from .stack import Listener
from .wait import deadline, left

SOCK_STREAM = const(1)
SOCK_DGRAM = const(2)
SOCK_SEQPACKET = const(5)
SOCK_NONBLOCK = const(0x800)
SOCK_CLOEXEC = const(0x80000)

_ANY = const(0xFFFFFFFF)  # VMADDR_CID_ANY and VMADDR_PORT_ANY

POLLIN = const(0x001)
POLLOUT = const(0x004)
POLLERR = const(0x008)
POLLHUP = const(0x010)
POLLNVAL = const(0x020)
POLLRDHUP = const(0x2000)

# What a socket is. CONNECTING stays after a failed non-blocking connect, as on Linux.
_UNCONNECTED = const(0)
_LISTENING = const(1)
_CONNECTING = const(2)
_CONNECTED = const(3)

_IOCTL_FLUSH = const(1)
_IOCTL_POLL = const(3)
_IOCTL_CLOSE = const(4)


class timeout(OSError):
    """The socket's time-out passed; `errno` is ETIMEDOUT. In CPython this is TimeoutError."""


def timed_out():
    return timeout(ETIMEDOUT, "timed out")


class Endpoint(io.IOBase):
    """A socket without its data."""

    # What most sockets never change stands here: an object's own attribute costs 1 us to make.
    family = AF_VSOCK
    proto = 0
    _name = None  # (cid, port) once bound
    _holds = False  # our close gives the port back
    _error = 0  # SO_ERROR while there is no connection
    _closed = False
    _files = 0  # makefile() objects that keep us open
    _close_later = False

    @micropython.native
    def __init__(self, stack, family, kind, timeout):
        if family != AF_VSOCK:
            raise OSError(EAFNOSUPPORT)
        if kind != SOCK_STREAM:
            if kind & SOCK_NONBLOCK:
                timeout = 0
            kind = _known(kind)
        self.type = kind
        self.options = Options()
        self.endpoint = None  # Connection or Listener
        self.connection = None  # the Connection, or None
        self._stack = stack
        self._timeout = timeout
        self._state = _UNCONNECTED

    def __getattr__(self, name):
        # Not properties: with a single one in a class, MicroPython looks for a setter in it and in
        # all of its bases whenever an attribute is stored.
        if name == "timeout":
            return self.gettimeout()
        if name == "_wire_type":
            return wire.TYPE_STREAM if self.type == SOCK_STREAM else wire.TYPE_SEQPACKET
        raise AttributeError(name)

    def __repr__(self):
        return "<socket type=%d %r>" % (self.type, self.endpoint)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    # -- options and time-outs --------------------------------------------------------------------

    def settimeout(self, seconds):
        """None waits for ever, 0 never, else so many seconds."""
        if seconds is not None and seconds < 0:
            raise ValueError("Timeout value out of range")
        self._timeout = seconds

    def gettimeout(self):
        return None if self._timeout is None else float(self._timeout)

    def setblocking(self, flag):
        self._timeout = None if flag else 0

    def getblocking(self):
        return self._timeout != 0

    def setsockopt(self, level, name, value, optlen=None):
        self._open()
        if value is None:
            value = bytes(optlen)
        set_option(self, level, name, value)

    def getsockopt(self, level, name, buflen=0):
        self._open()
        return get_option(self, level, name, buflen)

    def is_listening(self):
        return self._state == _LISTENING

    def take_error(self):
        """SO_ERROR: the pending error, once."""
        self._check_connect()
        if self.connection is None:
            error, self._error = self._error, 0
        else:
            error = self.connection.block[life.ERROR]
            self.connection.block[life.ERROR] = 0
        return error

    # -- names ------------------------------------------------------------------------------------

    def getsockname(self):
        self._open()
        return self._named() or (_ANY, _ANY)

    def _named(self):
        """(cid, port), or None if it has no name yet."""
        conn = self.connection
        if self._name is None and conn is not None:
            return conn.block[0], conn.block[4]  # accepted
        return self._name

    def getpeername(self):
        self._open()
        conn = self.connection
        if self._state != _CONNECTED or conn.block[life.SHUT] & 3:
            raise OSError(ENOTCONN)
        return conn.block[2], conn.block[5]

    def bind(self, address):
        """Take a local address (cid, port); PORT_ANY takes a free port from 1024 up."""
        self._open()
        cid, port = _address(address)
        if self._named() is not None:
            raise OSError(EINVAL)
        if cid != _ANY and not self._stack.is_local(cid):
            raise OSError(EADDRNOTAVAIL)
        self._bind(cid, port)

    def _bind(self, cid, port):
        self._name = (cid, self._stack.bind(cid, port))
        self._holds = True

    # -- listening --------------------------------------------------------------------------------

    def listen(self, backlog=128):
        """Take connections; `backlog` + 1 may wait for accept, more are reset."""
        self._open()
        backlog = max(0, backlog)
        if self._state == _LISTENING:
            self.endpoint.backlog = backlog
            return
        if self._state != _UNCONNECTED or self._name is None:
            raise OSError(EINVAL)
        cid, port = self._name
        listener = Listener(self._wire_type, cid, backlog, self.options)
        self._stack.listen(listener, port)
        self.endpoint = listener
        self._state = _LISTENING

    @micropython.native
    def accept(self):
        """Wait for a connection; (socket, (peer's cid, peer's port))."""
        self._open()
        if self._state != _LISTENING:
            raise OSError(EINVAL)
        pending = self.endpoint.pending
        if not pending:
            self._until_pending()
        conn = pending.pop(0)
        sock = self._accepted()
        sock.endpoint = sock.connection = conn
        sock._state = _CONNECTED
        block = conn.block
        return sock, (block[2], block[5])

    def _until_pending(self):
        """Wait until a connection waits for accept. Raises EINVAL if we are closed meanwhile."""
        self._until(lambda: self._state != _LISTENING or self.endpoint.pending)
        if self._state != _LISTENING:
            raise OSError(EINVAL)

    # -- connecting -------------------------------------------------------------------------------

    def connect(self, address):
        """Connect to (cid, port). A refusal is ECONNRESET, silence ETIMEDOUT after two seconds."""
        self._open()
        peer = _address(address)
        self._check_connect()
        if self._state == _CONNECTED:
            raise OSError(EISCONN)
        if self._state == _LISTENING:
            raise OSError(EINVAL)
        if self._state == _CONNECTING:
            if self._timeout == 0:
                raise OSError(EALREADY)
        else:
            self._start_connect(*peer)
            if self._timeout == 0:
                raise OSError(EINPROGRESS)
        self._finish_connect()

    def _start_connect(self, cid, port):
        stack = self._stack
        if cid == _ANY or cid == wire.CID_HYPERVISOR or port == _ANY:
            raise OSError(ENETUNREACH if port != _ANY and cid != _ANY else EINVAL)
        local = stack.is_local(cid)
        if not local:
            if stack.device is None:
                raise OSError(ENODEV)
            if stack.device.broken is not None:
                raise stack.device.broken
            if self._wire_type == wire.TYPE_SEQPACKET and not stack.device.seqpacket:
                raise OSError(ESOCKTNOSUPPORT)
        if self._name is None:
            self._bind(_ANY, _ANY)
        source = self._name[0]
        if local:
            source = cid
        elif source in (_ANY, wire.CID_LOCAL):
            source = stack.cid
        conn = stack.open(source, self._name[1], cid, port, self._wire_type, self.options.size)
        self.options.apply(conn)
        self._error = 0
        self.endpoint = self.connection = conn
        self._state = _CONNECTING
        self._give_up = deadline(self.options.connect_seconds)
        life.connect(conn.at)
        conn.flush()

    def _finish_connect(self):
        """Wait for the answer to our REQUEST."""
        conn = self.connection
        mine = deadline(self._timeout)
        try:
            while conn.block[life.STATE] == life.CONNECTING:
                rest = left(self._give_up)
                own = left(mine)
                if own == 0:
                    raise timed_out()
                if rest == 0:
                    break
                self._stack.waiter.wait(rest if own < 0 else min(rest, own))
        except KeyboardInterrupt:
            self._fail_connect(0)
            raise
        self._check_connect()
        error = self._error
        if self._state != _CONNECTED:
            self._error = 0
            self._state = _UNCONNECTED
            if error == ETIMEDOUT:
                raise timed_out()
            raise OSError(error)

    @micropython.native
    def _check_connect(self):
        """Take note of how a connect under way has ended."""
        conn = self.connection
        if self._state != _CONNECTING or conn is None:
            return
        state = conn.block[life.STATE]
        if state == life.CONNECTING:
            if left(self._give_up) == 0:
                self._fail_connect(ETIMEDOUT)
        elif conn.block[life.ERROR]:
            self._fail_connect(conn.block[life.ERROR])
        else:
            self._state = _CONNECTED

    def connect_state(self):
        """After a non-blocking connect: 1 connected, 0 under way, -1 failed (see SO_ERROR)."""
        self._check_connect()
        if self._state == _CONNECTED:
            return 1
        return 0 if self.connection is not None else -1

    def _fail_connect(self, error):
        """Back to before the connect, but for the port: an automatic one is kept."""
        conn = self.connection
        self.connection = self.endpoint = None
        self._error = error
        if not error:
            self._state = _UNCONNECTED
        life.drop(conn.at, error)
        self._stack.remove(conn)

    def connect_ex(self, address):
        """connect, returning the errno; 0 if it worked."""
        try:
            self.connect(address)
        except timeout:
            return EAGAIN  # as CPython's
        except OSError as error:
            return error.errno
        return 0

    # -- the end ----------------------------------------------------------------------------------

    def shutdown(self, how):
        """Close directions, SHUT_RD, SHUT_WR or both; the peer is told before it returns."""
        self._open()
        self._check_connect()
        if how not in (0, 1, 2):
            raise OSError(EINVAL)
        if self._state != _CONNECTED:
            raise OSError(ENOTCONN)
        self.connection.shutdown(how + 1)

    @micropython.native
    def close(self):
        """Close the socket; on the wire this is SHUTDOWN of both directions. Twice is allowed."""
        if self._files:
            self._close_later = True
        elif not self._closed:
            self._closed = True
            self._release()

    @micropython.native
    def _release(self):
        end = self.endpoint
        conn = self.connection
        if self._state == _LISTENING:
            end.watch = None
            self._stack.unlisten(end, self._name[1])
        elif conn is not None:
            conn.close()
            if self._holds and conn.key is not None:
                # The port stays taken until the peer has ended the connection too.
                conn.holder = self._name
                self._holds = False
        if self._holds:
            self._stack.unbind(*self._name)
            self._holds = False
        self.endpoint = self.connection = None
        self._state = _UNCONNECTED

    def detach(self):
        """CPython's: there are no file descriptors here, so this only closes."""
        self.close()
        return -1

    def fileno(self):
        """A number as CPython's has it; it names nothing."""
        return -1 if self._closed else id(self) >> 4 & 0x7FFFFFFF

    @micropython.native
    def _open(self):
        if self._closed:
            raise OSError(EBADF)

    # -- waiting and polling ----------------------------------------------------------------------

    def _until(self, condition):
        """Wait until `condition()`; EAGAIN if the socket never waits, timeout if it is over."""
        if self._timeout == 0:
            raise OSError(EAGAIN)
        end = deadline(self._timeout)
        while not condition():
            rest = left(end)
            if rest == 0:
                raise timed_out()
            self._stack.waiter.wait(rest)

    @micropython.native
    def ioctl(self, request, argument):
        """MicroPython's stream protocol: what select.poll and asyncio ask."""
        if request == _IOCTL_POLL:
            stack = self._stack
            if stack.device is not None:
                stack.device.attend()
            if stack.lingering:
                stack.waiter.tend()
            if self._state == _LISTENING:
                return argument & POLLIN if self.endpoint.pending else 0
            ready = POLLNVAL if self._closed else self._ready()
            return ready & (argument | POLLERR | POLLHUP | POLLNVAL)
        if request == _IOCTL_CLOSE:
            self.close()
            return 0
        return 0 if request == _IOCTL_FLUSH else -EINVAL

    def _ready(self):
        """POLL* bits, as Linux's vsock_poll sets them."""
        self._check_connect()
        conn = self.connection
        if conn is None:
            return POLLOUT | (POLLERR if self._error else 0)
        state = conn.block[life.STATE]
        if state == life.CONNECTING:
            machine.alarm(left(self._give_up))  # the poll that asks us ends then, to ask again
            return 0
        shut = conn.block[life.SHUT]
        events = POLLERR if conn.block[life.ERROR] else 0
        if shut & (life.SHUT_LOCAL_RCV | life.SHUT_PEER_SEND):
            events |= POLLIN | POLLRDHUP
        elif life.readable(conn.at):
            events |= POLLIN
        else:
            conn.tell()
        local_end = life.SHUT_LOCAL_SEND
        if shut & 3 == 3 or (shut & local_end and shut & life.SHUT_PEER_SEND):
            events |= POLLHUP
        if not shut & local_end and (
            shut & life.SHUT_PEER_RCV or state == life.CLOSED or conn.room() > 0
        ):
            events |= POLLOUT
        elif not shut & local_end and conn.out.free() <= 8:
            self._stack.device.sending_done()
        return events


def _known(kind):
    """A socket type without its flags. Raises the errors that Linux has for unknown ones."""
    kind &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC)
    if kind == SOCK_DGRAM:
        raise OSError(ENODEV)  # virtio has no datagrams, and Linux says so this way
    if kind not in (SOCK_STREAM, SOCK_SEQPACKET):
        raise OSError(ESOCKTNOSUPPORT)
    return kind


def _address(address):
    cid, port = address
    if not (0 <= cid <= _ANY and 0 <= port <= _ANY):
        raise OverflowError("cid and port take 32 bits")
    return cid, port
