# SPDX-License-Identifier: MIT
"""Programs that do anything with sockets: what each call gives goes into the transcript.

A call may raise OSError, and what documents name for wrong arguments; a call that waits ends by
what comes meanwhile, by its time-out, or by Ctrl-C (`Road.rest`).
"""

import errnos
import vsock
from fuzz_looks import Looks
from fuzz_mail import Mail
from fuzz_peers import PATTERN, digest
from sockets import general
from sockets import numbers as num
from sockets import options as opt
from sockets.data import socket
from sockets.ready import Ready
from vsock import words as w

_MOST = 18  # sockets at a time
_PORTS = (1234, 1235, 1236, 5000, 5001)
_CIDS = (2, 2, 2, 3, 33, 33, 1, 1, 34, 0, 0xFFFFFFFF)
_FLAGS = (0, 0, 0, 0, num.MSG_PEEK, num.MSG_WAITALL, num.MSG_TRUNC, num.MSG_DONTWAIT, num.MSG_OOB)
_LARGE = (w.INLINE + 1, 20000, w.MAX_DATA)  # bytes
_TIMES = (0, 0, 0, 0.01, 3.5, None)
_LEVEL = num.AF_VSOCK
_OPTIONS = (
    (_LEVEL, opt.SO_VM_SOCKETS_BUFFER_SIZE),
    (_LEVEL, opt.SO_VM_SOCKETS_BUFFER_SIZE),
    (_LEVEL, opt.SO_VM_SOCKETS_BUFFER_MAX_SIZE),
    (_LEVEL, opt.SO_VM_SOCKETS_BUFFER_MIN_SIZE),
    (_LEVEL, opt.SO_VM_SOCKETS_LATE_SEND),
    (_LEVEL, opt.SO_VM_SOCKETS_LATE_SEND_TIMEOUT),
    (general.SOL_SOCKET, general.SO_RCVLOWAT),
    (general.SOL_SOCKET, general.SO_ERROR),
    (general.SOL_SOCKET, general.SO_LINGER),
    (general.SOL_SOCKET, general.SO_RCVBUF),
    (general.SOL_SOCKET, general.SO_REUSEADDR),
    (general.SOL_SOCKET, 99),
)
_VALUES = (0, 1, 128, 3000, 4096, 65536, 262144, 1 << 20, 1 << 40, 0xFFFFFFFF, -1)
_EXPECTED = (ValueError, OverflowError, TypeError)  # what wrong arguments are told
_KINDS = (1, 1, 1, 5)
_ENDS = (errnos.EPIPE, errnos.ECONNRESET, errnos.ENOTCONN, errnos.EIO)  # then one closes, mostly


class Programs:
    """The guest's programs on some stacks."""

    def __init__(self, source, say, stacks, waits):
        """`waits`: there may be calls that wait."""
        self._source = source
        self._say = say
        self._stacks = stacks
        self._waits = waits
        self.socks = []
        self._views = []
        self._looks = Looks(source, stacks)
        self.mail = Mail(self, source, stacks)
        self._ready = [Ready(each) for each in stacks]
        self._noise = 0
        self._last = None  # the socket of the last call
        calls = [(5, self._recv), (3, self._recv_into), (6, self._send), (4, self._accept)]
        calls += [(2, self._connect), (1, self._listen), (1, self._shutdown), (2, self._close)]
        calls += [(1, self._splice), (1, self._view), (1, self._set), (1, self._get)]
        calls += [(2, self._poll), (2, self._next), (1, self._state), (1, self._names)]
        calls += [(1, self._stream), (1, self._pass_on), (1, self._sendall)]
        calls += [(1, self._stalled), (2, self._look), (2, self._send_large)]
        calls += self.mail.calls()
        self._calls = [call for times, call in calls for _ in range(times)]
        for kind, port in ((1, 1234), (5, 1235), (1, 1236)):
            self._listen_at(kind, port, w.CID_ANY)
        self._last.setsockopt(_LEVEL, opt.SO_VM_SOCKETS_BUFFER_SIZE, 4096)

    def step(self):
        """One call."""
        call = self._source.pick(self._calls)
        if not self.socks:
            call = self._connect if self._source.chance(128) else self._listen
        elif self._source.chance(80) and self._pending() is not None:
            call = self._accept
        self.attempt(call)

    def _pending(self):
        """A listener with connections for accept, or None."""
        for sock in self.socks:
            if sock.is_listening() and sock.endpoint.pending:
                return sock
        return None

    def attempt(self, call, expected=_EXPECTED):
        """Call; what it gives, or raises, goes into the transcript.

        OSError may come from anywhere, Ctrl-C from what waits; `expected` may come as well.
        """
        try:
            result = call()
        except OSError as error:
            result = "errno %r" % error.args[0]
            if error.args[0] in _ENDS and self._last in self.socks:
                if self._source.chance(140):
                    self.socks.remove(self._last)
                    self._last.close()
        except KeyboardInterrupt:
            result = "Ctrl-C"
        except expected as error:
            result = type(error).__name__
        if isinstance(result, socket):
            result = "a socket"  # whose number is each engine's own
        self._say("%s %s" % (call.__name__, result))

    def _sock(self):
        """Any socket, rather one that is connected."""
        source = self._source
        sock = self.socks[source.below(len(self.socks))]
        if sock.connection is None and source.chance(220):
            sock = self.socks[source.below(len(self.socks))]
        self._last = sock
        return sock

    def add(self, sock):
        """A program has made this one."""
        source = self._source
        sock.settimeout(source.pick(_TIMES) if self._waits else 0)
        self.keep(sock)

    def keep(self, sock):
        """A program has this socket from now on, and maybe another one no more."""
        if len(self.socks) >= _MOST:
            self.socks.pop(self._source.below(_MOST)).close()
        self.socks.append(sock)
        sock.fuzz_number = self._noise = self._noise + 1

    def watch(self, sock):
        """Its Ready hears of news of a socket."""
        self._ready[self._stacks.index(sock._stack)].register(sock)

    # -- beginnings and ends

    def _listen(self):
        source = self._source
        cid = source.pick((w.CID_ANY, w.CID_ANY, w.CID_ANY, 33, 1))
        self._listen_at(source.pick(_KINDS), source.pick(_PORTS), cid)

    def _listen_at(self, kind, port, cid):
        source = self._source
        sock = socket(type=kind, stack=source.pick(self._stacks))
        self.add(sock)
        sock.bind((cid, port))
        if source.chance(60):
            sock.setsockopt(_LEVEL, opt.SO_VM_SOCKETS_LATE_SEND, 1)
        self._last = sock
        sock.listen(source.below(8))
        if source.chance(200):
            self.watch(sock)

    def _connect(self):
        source = self._source
        sock = socket(type=source.pick(_KINDS), stack=source.pick(self._stacks))
        self.add(sock)
        if source.chance(100):
            sock.bind((w.CID_ANY, 6000 + source.below(8)))
        cid = source.pick(_CIDS)
        ports = (1234, 1235) if cid in (1, 33) and source.chance(200) else _PORTS
        error = sock.connect_ex((cid, source.pick(ports)))
        if sock.endpoint is not None and source.chance(200):
            self.watch(sock)
        return error

    def _accept(self):
        return self.take(self._pending() or self._sock())

    def take(self, sock):
        """accept() on a socket: whom it has connected."""
        made, peer = sock.accept()
        self.add(made)
        if self._source.chance(200):
            self.watch(made)
        return "%d %d" % peer

    def _shutdown(self):
        self._sock().shutdown(self._source.below(4))

    def _close(self):
        if self._source.chance(128):
            return None
        sock = self.socks.pop(self._source.below(len(self.socks)))
        sock.close()
        return sock.fuzz_number

    # -- bytes

    def _recv(self):
        sock = self._sock()
        return digest(sock.recv(self._source.size(), self._source.pick(_FLAGS)))

    def _recv_into(self):
        source = self._source
        sock = self._sock()
        buffer = bytearray(source.size())
        n = sock.recv_into(buffer, source.pick((0, 0, 1, 100)), source.pick(_FLAGS))
        return "%d %s" % (n, digest(buffer))

    def data(self):
        """Something to send."""
        source = self._source
        self._noise += 1
        at = self._noise & 0xFF
        n = source.size()
        if source.chance(24):
            return bytearray(PATTERN * 3) if source.chance(128) else PATTERN * 3
        data = PATTERN[at : at + n]
        return bytearray(data) if source.chance(80) else data

    def _send(self):
        sock = self._sock()
        return sock.send(self.data(), self._source.pick(_FLAGS))

    def _send_large(self):
        """More than is copied at once, rather to a peer that has no room for it."""
        connected = [sock for sock in self.socks if sock.connection is not None]
        stuck = [sock for sock in connected if sock.connection.room() == 0]
        some = stuck or connected or self.socks
        self._last = some[self._source.below(len(some))]
        data = bytearray(PATTERN[: self._source.pick(_LARGE)])
        return self._last.send(data)

    def _sendall(self):
        return self._sock().sendall(self.data())

    def _splice(self):
        return self._sock().splice(self._sock())

    def _view(self):
        view = self._sock().recv_view()
        if view is None:
            return None
        text = digest(bytes(view.data))
        if self._source.chance(128):
            view.release()
        else:
            self._views.append(view)
        return text

    def _pass_on(self):
        if not self._views:
            return None
        view = self._views.pop(0)
        try:
            return view.forward(self._sock())
        finally:
            view.release()

    def _stream(self):
        source = self._source
        sock = self._sock()
        kind = source.below(4)
        if kind == 0:
            return digest(sock.read(source.size()))
        if kind == 1:
            return digest(sock.readline(source.size()))
        if kind == 2:
            return sock.write(self.data())
        return sock.readinto(bytearray(source.size()))

    # -- what else there is to ask

    def _set(self):
        level, name = self._source.pick(_OPTIONS)
        self._sock().setsockopt(level, name, self._source.pick(_VALUES))

    def _get(self):
        level, name = self._source.pick(_OPTIONS)
        return self._sock().getsockopt(level, name, self._source.pick((0, 0, 4, 8)))

    def _poll(self):
        return self._sock().ioctl(3, self._source.byte() | num.POLLRDHUP)

    def _next(self):
        found = []
        for ready in self._ready:
            sock = ready.next()
            while sock is not None:
                found.append(sock.fuzz_number)
                sock = ready.next()
        return sorted(found)  # listeners stand in a dictionary, which has no order

    def _state(self):
        sock = self._sock()
        if not self._source.chance(128):
            return "%s %s" % (sock.take_error(), sock.is_listening())
        if sock.is_listening():
            return None
        return sock.connect_state()

    def _stalled(self):
        """Who serves strangers looks who has not moved, and may end those."""
        vsock.set_aside()
        said = []
        for stack in self._stacks:
            said.append((stack.deaf(), stack.look_for_stalled(), stack.budget.below(2)))
            if self._source.chance(128):
                stack.end_stalled(1 + self._source.below(2))
        return said

    def _look(self):
        return self._looks.step()

    def _names(self):
        sock = self._sock()
        # Before there is a repr, which gives it a number: CPython formats one by one.
        ours, peers = sock.getsockname(), sock.getpeername()
        return "%r %r %r" % (sock, ours, peers)

    # -- the device

    def reopen(self, index):
        """vsock.reopen() or, at times, vsock.close()."""
        if self._source.chance(40):
            vsock.close(index)
        else:
            vsock.reopen(index)

    def close_all(self):
        """Every program ends."""
        self.attempt(self._looks.close)
        for view in self._views:
            view.release()
        self._views.clear()
        for sock in self.socks:
            sock.close()
        self.socks.clear()
