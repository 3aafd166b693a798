# SPDX-License-Identifier: MIT
"""The life of a socket: names, listening, connecting, ending; errors as Linux's AF_VSOCK gives.

`data.socket` derives from this and adds the moving of bytes.
"""

import errnos
from portable import const, micropython
from vsock import control, credit
from vsock import words as w
from vsock.stack import Listener
from vsock.wait import deadline, left

from . import descriptors
from . import numbers as num
from .arguments import checked_address, checked_timeout, timed_out
from .options import Options, get_option, set_option
from .polling import Polled
from .types import SOCK_NONBLOCK, SOCK_STREAM, STREAM, of

_INT_MAX = const(0x7FFFFFFF)

# What makes a socket the one that it is.
_KEPT = (
    "kind",
    "proto",
    "type",
    "options",
    "endpoint",
    "connection",
    "mailbox",
    "_stack",
    "_timeout",
    "_state",
    "_name",
    "_holds",
    "_error",
    "_ended",
    "_number",
    "_give_up",
)

# What to do about an error, behind its number.
_NO_NAME = "this socket has no address: call bind() before listen()"
_NOT_LISTENING = "this socket does not listen: call listen() before accept()"
_NOBODY_CALLS = "datagrams come without a connection: recvfrom() says from whom"
_PORT_TAKEN = "port %d is taken: close the socket that has it, or take another port"
_NOT_OURS = "CID %d is not this machine's: VMADDR_CID_ANY stands for all that are"
_NO_DEVICE = "this machine has no vsock device: CID 1, the machine itself, is all there is"
_SILENT = "CID %d does not answer: does a program listen on its port %d?"
_DEAF = (
    "the vsock device takes nothing: vhost-user-vsock-pci needs memory that QEMU shares with it, "
    "-object memory-backend-memfd,share=on"
)
_FULL = "there is no room for another connection: close some"
_HOST_IS_HERE = "this machine has no vsock device: CID 2 is the machine itself, which refuses"
_NOT_DETACHED = "no detached socket has that number: detach() gives one"
_REFUSED = "CID %d refuses: does a program listen on its port %d?"


class Endpoint(Polled):
    """A socket without its data."""

    # What most sockets never change stands here: an object's own attribute costs 1 us to make.
    family = num.AF_VSOCK
    kind = STREAM  # its SocketType
    proto = 0
    _name = None  # (cid, port) once bound
    _holds = False  # our close gives the port back
    _error = 0  # SO_ERROR while there is no connection
    _give_up = None  # a connect's deadline
    _ended = 0  # directions that shutdown() has closed, SHUT_LOCAL_*: no connect from then on
    _closed = False
    _files = 0  # makefile() objects that keep us open
    _close_later = False
    _number = None  # its descriptor, once anybody asked; it is in the table until we close
    mailbox = None  # in place of connections, if its kind has none

    @micropython.native
    def __init__(self, stack, family, kind, proto, timeout):
        if family != num.AF_VSOCK:
            family & 0  # a TypeError if it is no integer
            raise OSError(errnos.EAFNOSUPPORT)
        if kind == -1:
            kind = SOCK_STREAM
        state, end = num.IS_UNCONNECTED, None
        if kind != SOCK_STREAM or proto > 0:
            if kind & SOCK_NONBLOCK:
                timeout = 0
            self.kind = of(kind, max(0, proto))
            if proto > 0:
                self.proto = proto
            if not self.kind.connects:
                from .datagram import Mailbox

                self.mailbox = Mailbox(self, stack)
                state, end = num.IS_MAILBOX, self.mailbox.port
        self.type = self.kind.number
        self.options = Options()
        self.endpoint = end  # Connection, Listener, or a mailbox's Port
        self.connection = None  # the Connection, or None
        self._stack = stack
        self._timeout = timeout
        self._state = state

    def __getattr__(self, name):
        # Not properties: with a single one in a class, MicroPython looks for a setter in it and in
        # all of its bases whenever an attribute is stored.
        if name == "timeout":
            return self.gettimeout()
        raise AttributeError(name)

    def __repr__(self):
        """As CPython's."""
        text = "<socket.%s%s fd=%d, family=%d, type=%d, proto=%d" % (
            type(self).__name__,
            " [closed]" if self._closed else "",
            self.fileno(),
            self.family,
            self.type,
            self.proto,
        )
        if not self._closed:
            text += ", laddr=(%d, %d)" % self.getsockname()
            try:
                text += ", raddr=(%d, %d)" % self.getpeername()
            except OSError:
                pass
        return text + ">"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    # -- options and time-outs --------------------------------------------------------------------

    def settimeout(self, seconds):
        """None waits for ever, 0 never, else so many seconds."""
        self._timeout = checked_timeout(seconds)
        self._open()  # late: CPython remembers it all the same

    def gettimeout(self):
        return None if self._timeout is None else float(self._timeout)

    def setblocking(self, flag):
        self._timeout = None if flag else 0
        self._open()

    def getblocking(self):
        return self._timeout != 0

    def setsockopt(self, level, name, value, optlen=None):
        self._open()
        if value is None:
            value = bytes(optlen)
        self._check_level(level)
        set_option(self, level, name, value)
        if self.mailbox is not None:
            self.mailbox.resize()

    def getsockopt(self, level, name, buflen=0):
        self._open()
        self._check_level(level)
        return get_option(self, level, name, buflen)

    def _check_level(self, level):
        """Linux knows AF_VSOCK's own options with connections only."""
        if level == num.AF_VSOCK and self.mailbox is not None:
            raise OSError(errnos.EOPNOTSUPP)

    def is_listening(self):
        return self._state == num.IS_LISTENING

    def take_error(self):
        """SO_ERROR: the pending error, once."""
        self._look()
        if self._state in (num.IS_LISTENING, num.IS_MAILBOX):
            error, self.endpoint.error = self.endpoint.error, 0
        elif self.connection is None:
            error, self._error = self._error, 0
        else:
            error = self.connection.block[w.ERROR]
            self.connection.block[w.ERROR] = 0
        return error

    # -- names ------------------------------------------------------------------------------------

    def getsockname(self):
        self._open()
        return self._named() or (w.CID_ANY, w.PORT_ANY)

    def _named(self):
        """(cid, port), or None if it has no name yet."""
        conn = self.connection
        if self._name is None and conn is not None:
            return conn.block[w.SRC_CID], conn.block[w.SRC_PORT]  # accepted
        return self._name

    def getpeername(self):
        self._open()
        self._look()
        conn = self.connection
        if self._state == num.IS_MAILBOX:
            return self.mailbox.peer()
        if self._state != num.IS_CONNECTED or conn.block[w.SHUT] & (w.SHUT_LOCAL | w.SHUT_LOST):
            raise OSError(errnos.ENOTCONN)
        return conn.block[w.DST_CID], conn.block[w.DST_PORT]

    def bind(self, address):
        """Take a local address (cid, port); PORT_ANY takes a free port from 1024 up."""
        self._open()
        cid, port = checked_address(address)
        if self._named() is not None:
            raise OSError(errnos.EINVAL)
        if cid != w.CID_ANY and (cid == w.CID_HOST or not self._stack.is_local(cid)):
            raise OSError(errnos.EADDRNOTAVAIL, _NOT_OURS % cid)
        try:
            if self.mailbox is not None:
                self._name = (cid, self.mailbox.bind(cid, port))
            else:
                self._bind(cid, port)
        except OSError as error:
            if error.errno != errnos.EADDRINUSE:
                raise
            raise OSError(error.errno, _PORT_TAKEN % port)

    def _bind(self, cid, port):
        self._name = (cid, self._stack.bind(cid, port))
        self._holds = True

    # -- listening --------------------------------------------------------------------------------

    def listen(self, backlog=128):
        """Take connections; `backlog` + 1 may wait for accept, more are reset."""
        self._open()
        if not -_INT_MAX - 1 <= backlog + (backlog & 0) <= _INT_MAX:  # `&`: no float
            raise OverflowError("a backlog is an int of 32 bits")
        backlog = max(0, backlog)
        if self._state == num.IS_LISTENING:
            self.endpoint.backlog = backlog
            return
        if self._state != num.IS_UNCONNECTED:
            raise self._misplaced(errnos.EINVAL)
        if self._name is None:
            raise OSError(errnos.EINVAL, _NO_NAME)
        cid, port = self._name
        listener = Listener(self.kind, cid, backlog, self.options)
        self._stack.listen(listener, port)
        self.endpoint = listener
        self._state = num.IS_LISTENING

    @micropython.native
    def accept(self):
        """Wait for a connection; (socket, (peer's cid, peer's port)).

        EIO, once, if the device broke and nobody waits.
        """
        self._open()
        if self._state != num.IS_LISTENING:
            self._poll_first(num.POLL_READ)
            raise self._misplaced(errnos.EINVAL, _NOT_LISTENING)
        pending = self.endpoint.pending
        if not pending:
            self._until_pending()
        conn = pending.pop(0)
        sock = self._accepted()
        sock.endpoint = sock.connection = conn
        sock._state = num.IS_CONNECTED
        block = conn.block
        return sock, (block[w.DST_CID], block[w.DST_PORT])

    def _misplaced(self, *arguments):
        """The error of listen and accept: of those arguments, unless no such socket can."""
        if self._state == num.IS_MAILBOX:
            return OSError(errnos.EOPNOTSUPP, _NOBODY_CALLS)
        return OSError(*arguments)

    def _until_pending(self):
        """Wait until a connection waits for accept. Raises EINVAL if we are closed meanwhile."""
        end = self.endpoint
        if not end.error:
            self._until(lambda: self._state != num.IS_LISTENING or end.pending or end.error)
        if self._state != num.IS_LISTENING:
            raise OSError(errnos.EINVAL)
        if not end.pending:
            raise OSError(self.take_error())

    # -- connecting -------------------------------------------------------------------------------

    def connect(self, address):
        """Connect to (cid, port). A refusal is ECONNRESET, silence ETIMEDOUT after two seconds.

        As CPython's, one with a time-out is a non-blocking connect and a wait for its end: after
        a failure another try is EALREADY.
        """
        self._open()
        peer = checked_address(address)
        self._check_connect()
        if self._ended or self._state == num.IS_LISTENING:
            raise OSError(errnos.EINVAL)
        if self._state >= num.IS_CONNECTED:
            if self._state == num.IS_MAILBOX:
                self.mailbox.connect(peer)
                return
            raise OSError(errnos.EISCONN)
        if self._state == num.IS_CONNECTING:
            if self._timeout is not None:
                raise OSError(errnos.EALREADY)
            if self.connection is None and not self._error:  # it failed, and the program knows
                self._start_connect(*peer)
        else:
            self._start_connect(*peer)
            if self._timeout == 0:
                raise OSError(errnos.EINPROGRESS)
        self._finish_connect(peer)

    def _start_connect(self, cid, port):
        stack = self._stack
        local = stack.is_local(cid)
        if not local:
            if stack.device is None:
                raise OSError(errnos.ENODEV, _NO_DEVICE)
            if stack.device.broken is not None:
                raise OSError(*stack.device.broken.args)
            if self.kind.feature & ~stack.device.features:
                raise OSError(errnos.ESOCKTNOSUPPORT)
        if self._name is None:
            self._bind(w.CID_ANY, w.PORT_ANY)
        source = self._name[0]
        if local:
            source = w.CID_LOCAL if cid == w.CID_HOST else cid
        elif source in (w.CID_ANY, w.CID_LOCAL):
            source = stack.cid
        conn = stack.open(source, self._name[1], cid, port, self.kind, self.options.size)
        if conn is None:
            raise OSError(errnos.ENOBUFS, _FULL)
        self.options.apply(conn)
        self._error = 0
        self.endpoint = self.connection = conn
        self._state = num.IS_CONNECTING
        self._give_up = deadline(self.options.connect_us / 1000000)
        control.connect(conn.at)
        conn.flush()

    def _finish_connect(self, peer):
        """Wait for the answer to our REQUEST."""
        conn = self.connection
        mine = deadline(self._timeout)
        try:
            while conn is not None and conn.block[w.STATE] == w.CONNECTING:
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
        if self._state != num.IS_CONNECTED:
            if self._timeout is None:
                self._state = num.IS_UNCONNECTED
                if error == errnos.ETIMEDOUT:
                    self._error = 0
            else:
                self._error = 0  # told
            if error == errnos.ETIMEDOUT:
                raise TimeoutError(error, _DEAF if self._stack.deaf() else _SILENT % peer)
            if error == errnos.ECONNRESET:
                alone = peer[0] == w.CID_HOST and self._stack.alone
                raise OSError(error, _HOST_IS_HERE if alone else _REFUSED % peer)
            raise OSError(error)
        if self._timeout and credit.room(conn.at) == 0:
            self._poll_first(num.POLL_WRITE)  # a peer without a window never has it writable

    @micropython.native
    def _check_connect(self):
        """Take note of how a connect under way has ended."""
        conn = self.connection
        if self._state != num.IS_CONNECTING or conn is None:
            return
        state = conn.block[w.STATE]
        if state == w.CONNECTING:
            if left(self._give_up) == 0:
                self._fail_connect(errnos.ETIMEDOUT)
        elif conn.block[w.ERROR]:
            self._fail_connect(conn.block[w.ERROR])
        else:
            self._state = num.IS_CONNECTED

    def _look(self):
        """The same, also of an answer that still waits in the device."""
        if self._state == num.IS_CONNECTING:
            if self._stack.device is not None:
                self._stack.device.attend()
            self._check_connect()

    def connect_state(self):
        """After a non-blocking connect: 1 connected, 0 under way, -1 failed (see SO_ERROR)."""
        self._check_connect()
        if self._state == num.IS_CONNECTED:
            return 1
        return 0 if self.connection is not None else -1

    def _fail_connect(self, error):
        """Back to before the connect, but for the port: an automatic one is kept."""
        conn = self.connection
        self.connection = self.endpoint = None
        self._error = error
        if not error:
            self._state = num.IS_UNCONNECTED
        control.drop(conn.at, error)
        self._stack.remove(conn)
        conn.forget()  # it may have worked and have ended since: bytes may have come

    def connect_ex(self, address):
        """connect, returning the errno; 0 if it worked."""
        try:
            self.connect(address)
        except OSError as error:
            number = error.args[0]
            return number if isinstance(number, int) else errnos.EAGAIN  # timed_out(): CPython's
        return 0

    # -- the end ----------------------------------------------------------------------------------

    def shutdown(self, how):
        """Close directions, SHUT_RD, SHUT_WR or both; the peer is told before it returns."""
        self._open()
        self._look()
        if how & 0 or how not in (0, 1, 2):  # `&`: a TypeError if it is no integer
            raise OSError(errnos.EINVAL)
        if self._state == num.IS_MAILBOX:
            self.mailbox.shutdown(how + 1)
            return
        if self._state not in (num.IS_CONNECTED, num.IS_CONNECTING):
            raise OSError(errnos.ENOTCONN)
        conn = self.connection
        if conn is not None and conn.block[w.SHUT] & w.SHUT_LOST:
            raise OSError(errnos.ENOTCONN)
        self._ended |= how + 1
        if conn is not None:
            conn.shutdown(how + 1)  # SHUT_RD, SHUT_WR, SHUT_RDWR: SHUT_LOCAL_* bits less 1

    @micropython.native
    def close(self):
        """Close the socket; on the wire this is SHUTDOWN of both directions. Twice is allowed."""
        if self._files:
            self._close_later = True
        elif not self._closed:
            self._closed = True
            if self._number is not None:
                descriptors.take_back(self._number)
            self._release()

    @micropython.native
    def _release(self):
        end = self.endpoint
        conn = self.connection
        if self._state == num.IS_LISTENING:
            end.hear(None)
            self._stack.unlisten(end, self._name[1])
        elif conn is not None:
            conn.close()
            if self._holds and conn.key is not None:
                # The port stays taken until the peer has ended the connection too.
                conn.holder = self._name
                self._holds = False
        elif self.mailbox is not None:
            self.mailbox.close()
        if self._holds:
            self._stack.unbind(*self._name)
            self._holds = False
        self.endpoint = self.connection = None
        self._state = num.IS_UNCONNECTED

    def detach(self):
        """Close this object, but not what fileno() stands for: socket(fileno=) takes that again,
        and socket.close() closes it."""
        number = self.fileno()
        if number >= 0:
            descriptors.keep(number, self._hand_over(self._accepted()))
        return number

    def _hand_over(self, other):
        """Give all that we have to another socket, and be closed; the other."""
        if other.mailbox is not None:
            other.mailbox.close()
        for name in _KEPT:
            setattr(other, name, getattr(self, name))
        end = other.endpoint
        if end is not None and getattr(end, "socket", None) is self:
            end.socket = other
        if other.mailbox is not None:
            other.mailbox.belong(other)
        self._closed = True
        self._holds = False
        self._number = None
        self._state = num.IS_UNCONNECTED
        self.endpoint = self.connection = self.mailbox = None
        return other

    def _adopt(self, number):
        """Have what the detached socket of that number has. Raises EBADF."""
        other = descriptors.find(number)
        if other is None or not descriptors.is_kept(number):
            raise OSError(errnos.EBADF, _NOT_DETACHED)
        timeout = self._timeout
        other._hand_over(self)
        self._timeout = timeout
        descriptors.keep(number, self, False)

    def fileno(self):
        """The socket's number, by which select finds it; -1 once it is closed.

        Who has asked for it must close the socket: until then the table holds it.
        """
        if self._closed:
            return -1
        if self._number is None:
            self._number = descriptors.give(self)
        return self._number

    def is_closed(self):
        """Ours: what `fileno() < 0` says, and no number is taken."""
        return self._closed

    def __hash__(self):
        return self.fileno() if self._number is None else self._number

    def __eq__(self, other):
        """poll gives what was registered: it equals its number, which CPython's gives."""
        if isinstance(other, int):
            return self.fileno() == other >= 0
        return self is other

    def get_inheritable(self):
        """CPython's; no program inherits anything here."""
        return False

    def set_inheritable(self, inheritable):
        """Taken, and without a meaning."""

    def _lost(self):
        """The device lost our connection: its error once, ENOTCONN ever after."""
        block = self.connection.block
        error = block[w.ERROR] or errnos.ENOTCONN
        block[w.ERROR] = 0
        raise OSError(error)

    @micropython.native
    def _open(self):
        if self._closed:
            raise OSError(errnos.EBADF)
