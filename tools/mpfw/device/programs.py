# SPDX-License-Identifier: MIT
"""How programs of the host reach a guest, and how the guest reaches them.

`UnixPrograms` is the hybrid socket that Firecracker documents: who connects says the line
"CONNECT <port>" and hears "OK <number>"; the guest's calls to CID 2 go to the socket whose name
ends in _<port>.
`VsockPrograms` forwards to the host's own AF_VSOCK. Both listen through the loop.
"""

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mpfw.device import loop as loops
from mpfw.device.firmware import vsock as w
from mpfw.device.loop import Loop

LONGEST = 107  # bytes of a Unix socket's path (unix(7): 108 with the NUL)
MESSAGES = ".seqpacket"  # behind the path: where programs call with messages
_LINE = 64  # bytes that "CONNECT 4294967295\n" surely has room in
_BACKLOG = 1024
_LISTENS = loops.IN | loops.RDHUP | loops.EDGE
_KINDS = {w.TYPE_STREAM: socket.SOCK_STREAM, w.TYPE_SEQPACKET: socket.SOCK_SEQPACKET}

# A program's socket, the guest's port, the packet type, whether more is in it already.
Call = Callable[[Any, int, int, bool], bool]


class PathError(Exception):
    """A socket cannot be made: one sentence."""


class Listener:
    """A socket at a path, or in the abstract name space ("@name"), that goes with its owner."""

    def __init__(self, path: str, kind: int, mode: int):
        """Raises PathError."""
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, kind)
        try:
            self._bind(path, kind, mode)
        except PathError:
            self.socket.close()
            raise
        except OSError as error:
            self.socket.close()
            raise PathError(f"no socket at {path}: {os.strerror(error.errno or 0)}") from None

    def _bind(self, path: str, kind: int, mode: int) -> None:
        address = unix_address(path)
        self.socket.setblocking(False)
        self._inode = 0
        if path.startswith("@"):
            try:
                self.socket.bind(address)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PathError(f"{path} is in use: another program listens there") from None
                raise
        else:
            _make_room(path, kind)
            os.fchmod(self.socket.fileno(), mode)  # datagrams need no `listen` to arrive
            self.socket.bind(address)
        if kind != socket.SOCK_DGRAM:
            self.socket.listen(_BACKLOG)  # at once: who sees the path dials
        if not path.startswith("@"):
            os.chmod(path, mode)  # also what the umask took away
            self._inode = os.stat(path).st_ino

    def close(self) -> None:
        """Listen no more; the path goes if it is still this socket's."""
        self.socket.close()
        try:
            if self._inode and os.stat(self.path).st_ino == self._inode:
                os.unlink(self.path)
        except OSError:
            pass


class Acceptor:
    """Accepts what comes to a listening socket and hands each connection on."""

    def __init__(self, loop: Loop, listener: socket.socket, take: Callable[[socket.socket], None]):
        self._listener = listener
        self._family, self._kind = listener.family, listener.type
        self._take = take
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._loop = loop
        loop.add(listener.fileno(), loops.IN, self._accept)

    def close(self) -> None:
        self._loop.remove(self._listener.fileno())
        os.close(self._spare)

    def _accept(self, _events: int) -> None:
        listener = self._listener
        try:
            # Not accept(), which looks family and type up as members of an Enum each time.
            descriptor, _address = listener._accept()  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._turn_away()
            return
        connection = socket.socket(self._family, self._kind, 0, descriptor)
        connection.setblocking(False)
        self._take(connection)

    def _turn_away(self) -> None:
        """There are no descriptors left: the caller is to know at once."""
        os.close(self._spare)
        try:
            self._listener.accept()[0].close()
        except OSError:
            pass
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)


class UnixPrograms:
    """The hybrid socket at `path`, and one for messages beside it."""

    def __init__(self, path: str, mode: int = 0o600):
        self.path = path
        self._mode = mode
        self._listeners: list[Listener] = []
        self._acceptors: list[Acceptor] = []

    def open(self, loop: Loop, call: Call) -> None:
        """Listen; `call` is told who wants what. Raises PathError."""
        ways = ((self.path, w.TYPE_STREAM), (self.path + MESSAGES, w.TYPE_SEQPACKET))
        for path, packet_type in ways:
            if packet_type != w.TYPE_STREAM and len(os.fsencode(path)) > LONGEST:
                continue  # streams are worth having alone
            listener = Listener(path, _KINDS[packet_type], self._mode)
            self._listeners.append(listener)

            def greet(connection: socket.socket, packet_type: int = packet_type) -> None:
                _Caller(loop, connection, packet_type, call)

            self._acceptors.append(Acceptor(loop, listener.socket, greet))

    def dial(self, port: int, packet_type: int) -> socket.socket | None:
        """A connection to the program that listens for the guest's calls to `port`, or None."""
        return _connect(socket.AF_UNIX, packet_type, f"{self.path}_{port}")

    def close(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for listener in self._listeners:
            listener.close()


class VsockPrograms:
    """The host's AF_VSOCK: the guest's calls go to CID `cid`; calls to `ports` go to the guest."""

    def __init__(self, cid: int, ports: tuple[int, ...] = ()):
        self._cid = cid
        self._ports = ports
        self._sockets: list[socket.socket] = []
        self._acceptors: list[Acceptor] = []

    def open(self, loop: Loop, call: Call) -> None:
        """Listen; `call` is told who wants what. Raises PathError."""
        for port in self._ports:
            try:
                listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
                self._sockets.append(listener)
                listener.setblocking(False)
                listener.bind((socket.VMADDR_CID_ANY, port))
                listener.listen(_BACKLOG)
            except OSError as error:
                why = os.strerror(error.errno or 0)
                raise PathError(f"no listening at vsock port {port}: {why}") from None

            def take(connection: socket.socket, port: int = port) -> None:
                loop.add(connection.fileno(), _LISTENS, lambda _: None)
                if not call(connection, port, w.TYPE_STREAM, True):
                    loop.close(connection)

            self._acceptors.append(Acceptor(loop, listener, take))

    def dial(self, port: int, packet_type: int) -> socket.socket | None:
        """A connection to the program at `port`, or None."""
        return _connect(socket.AF_VSOCK, packet_type, (self._cid, port))

    def close(self) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for listener in self._sockets:
            listener.close()


class _Caller:
    """A program that has connected and has not yet said which port it wants."""

    def __init__(self, loop: Loop, connection: socket.socket, packet_type: int, call: Call):
        self._loop = loop
        self._socket = connection
        self._type = packet_type
        self._call = call
        self._listen(0)  # most have said it already

    def _wait(self) -> None:
        descriptor = self._socket.fileno()
        if not self._loop.knows(descriptor):
            self._loop.add(descriptor, _LISTENS, self._listen)

    def _listen(self, _events: int) -> None:
        try:
            line = self._socket.recv(_LINE, socket.MSG_PEEK)  # what follows it is the guest's
        except BlockingIOError:
            self._wait()
            return
        except OSError:
            line = b""
        end = line.find(b"\n") + 1
        if line and not end and len(line) < _LINE and self._type == w.TYPE_STREAM:
            self._wait()  # for the rest of it
            return
        port = asked_for(line[:end] if end else line + b"\n")
        if port is not None:
            self._socket.recv(end or _LINE)
            # ... or there may be messages.
            more = len(line) > end or self._type == w.TYPE_SEQPACKET
            if self._call(self._socket, port, self._type, more):
                return
        self._loop.close(self._socket)


def asked_for(line: bytes) -> int | None:
    """The port of "CONNECT <port>\\n", None if that is no such line."""
    words = line.split()
    if len(words) != 2 or words[0].upper() != b"CONNECT" or not words[1].isdigit():
        return None
    port = int(words[1])
    return port if port < w.PORT_ANY else None


def unix_address(path: str) -> str | bytes:
    """What a Unix socket's `bind` and `connect` take for a path or "@name". Raises PathError."""
    n = len(os.fsencode(path))
    if n > LONGEST:
        raise PathError(f"{path} has {n} bytes: the path of a socket has {LONGEST} at most")
    return b"\0" + os.fsencode(path[1:]) if path.startswith("@") else path


def _connect(family: int, packet_type: int, address: Any) -> socket.socket | None:
    connection = socket.socket(family, _KINDS[packet_type])
    connection.setblocking(False)
    try:
        connection.connect(unix_address(address) if family == socket.AF_UNIX else address)
    except BlockingIOError as error:
        # A Unix socket says so when too many wait there already; AF_VSOCK, that it takes time.
        if error.errno == errno.EINPROGRESS:
            return connection
        connection.close()
        return None
    except (OSError, PathError):
        connection.close()
        return None
    return connection


def connecting(connection: socket.socket) -> bool:
    """Whether the other side has not answered yet: a Unix socket's always has."""
    if connection.family == socket.AF_UNIX:
        return False
    try:
        connection.getpeername()
    except OSError:
        return True
    return False


def _make_room(path: str, kind: int) -> None:
    """Remove a socket that nobody listens at any more. Raises PathError for anything else."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        if not Path(path).absolute().parent.is_dir():
            raise PathError(f"no socket at {path}: there is no such directory") from None
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise PathError(f"{path} is there already and is no socket: remove it or name another one")
    with socket.socket(socket.AF_UNIX, kind) as probe:
        probe.settimeout(1)
        answer = probe.connect_ex(unix_address(path))
    if answer not in (errno.ECONNREFUSED, errno.ENOENT):
        raise PathError(f"{path} is in use: another program listens there")
    os.unlink(path)
