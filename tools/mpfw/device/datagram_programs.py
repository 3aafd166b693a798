# SPDX-License-Identifier: MIT
"""How a guest's datagrams reach programs of the host, and how theirs reach the guest.

Programs use SOCK_DGRAM Unix sockets. The guest's is at the path with .dgram behind it, a program
that has the host's port N at that with _N behind it. The guest's port stands in a line of its own
before each message, either way.
"""

import os
import socket
from collections import OrderedDict, deque
from collections.abc import Callable

from mpfw.device import loop as loops
from mpfw.device.firmware import vsock as w
from mpfw.device.loop import Loop
from mpfw.device.mailbox import FULL, NOBODY, Mailbox
from mpfw.device.programs import Listener, PathError, unix_address

DATAGRAMS = ".dgram"  # behind the path: where the guest's messages come from and go to
# Why a program's message is dropped, besides mailbox's reasons.
NO_LINE = "it does not begin with the guest's port and a line feed"
NO_NAME = "the program's socket is bound to no path: nobody could answer"
LONG = "it has more than 65536 bytes"

_LINE = 11  # bytes of the longest port with its line feed
_BATCH = 64  # messages before others have a turn
_MOST_WAYS = 256  # programs' sockets that are kept connected
_MOST_WAITING = 256  # messages that wait for one program
_MOST_BYTES = 1 << 20
_MOST_NAMES = 1024  # senders whose names are no port's
_FIRST_PORT, _LAST_PORT = 1 << 30, (1 << 31) - 1  # such a sender's ports


class _Way:
    """To one program: a socket of its own, so that one who does not read holds up nobody else."""

    def __init__(self, loop: Loop, address: bytes, lost: Callable[[], None]):
        """`lost`: called for a message that waited and could not go. Raises OSError."""
        self._loop = loop
        self._lost = lost
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise

    def send(self, parts: list[bytes | memoryview]) -> bool:
        """Send one message, now or when the program has read others; False: too many wait.

        Raises OSError: the program is gone.
        """
        if not self._waiting:
            try:
                self.socket.sendmsg(parts)
                return True
            except BlockingIOError:
                self._loop.add(self.socket.fileno(), loops.OUT, self._flush)
        message = b"".join(parts)
        if len(self._waiting) == _MOST_WAITING or self._bytes + len(message) > _MOST_BYTES:
            return False
        self._waiting.append(message)
        self._bytes += len(message)
        return True

    def _flush(self, _events: int) -> None:
        while self._waiting:
            try:
                self.socket.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                self._give_up()
                return
            self._bytes -= len(self._waiting.popleft())
        self._loop.remove(self.socket.fileno())

    def _give_up(self) -> None:
        self._loop.remove(self.socket.fileno())
        for _ in self._waiting:
            self._lost()
        self._waiting.clear()
        self._bytes = 0

    def close(self) -> None:
        """What waits is lost."""
        self._give_up()
        self._loop.close(self.socket)


class UnixDatagrams:
    """The sockets of one guest; a mailbox.Programs."""

    def __init__(self, path: str, mode: int, mailbox: Mailbox):
        """`path`: the one of --uds-path."""
        self.path = path + DATAGRAMS
        self._mode = mode
        self._mailbox = mailbox
        self._ways: OrderedDict[int, _Way] = OrderedDict()  # by port, the last used one last
        self._ports: OrderedDict[bytes, int] = OrderedDict()  # of senders, by their names
        self._names: dict[int, bytes] = {}  # of those whose port we chose
        self._next_port = _FIRST_PORT
        self._paused = False  # programs wait until the guest has read
        self._listener: Listener | None = None
        mailbox.programs = self
        mailbox.on_room = self._go_on

    def open(self, loop: Loop) -> None:
        """Take messages. Raises PathError."""
        self._loop = loop
        self._listener = Listener(self.path, socket.SOCK_DGRAM, self._mode)
        loop.add(self._listener.socket.fileno(), loops.IN, self._read)

    def close(self) -> None:
        if self._listener is not None:
            self._loop.remove(self._listener.socket.fileno())
            self._listener.close()
        for way in self._ways.values():
            way.close()
        self._ways.clear()

    # -- to programs ------------------------------------------------------------------------------

    def deliver(self, source: int, port: int, views: list[memoryview]) -> str:
        """As mailbox.Programs has it."""
        parts: list[bytes | memoryview] = [b"%d\n" % source, *views]
        for _ in range(2):  # a program that was started anew has another socket at the same path
            try:
                return "" if self._way(port).send(parts) else FULL
            except (ConnectionRefusedError, ConnectionResetError, FileNotFoundError):
                self._part(port)
            except (OSError, PathError) as error:
                self._part(port)
                why = os.strerror(error.errno or 0) if isinstance(error, OSError) else error
                return f"the program's socket does not take it: {why}"
        return NOBODY

    def _way(self, port: int) -> _Way:
        """Raises OSError, PathError."""
        way = self._ways.get(port)
        if way is None:
            if len(self._ways) == _MOST_WAYS:
                self._part(next(iter(self._ways)))
            address = self._names.get(port) or _bytes(unix_address(f"{self.path}_{port}"))
            way = _Way(self._loop, address, lambda: self._mailbox.drop(NOBODY))
            self._ways[port] = way
        self._ways.move_to_end(port)
        return way

    def _part(self, port: int) -> None:
        way = self._ways.pop(port, None)
        if way is not None:
            way.close()

    # -- from programs ----------------------------------------------------------------------------

    def _read(self, _events: int) -> None:
        assert self._listener is not None
        for _ in range(_BATCH):
            if not self._mailbox.has_room:
                self._paused = True
                self._loop.remove(self._listener.socket.fileno())
                return
            try:
                data, _, flags, sender = self._listener.socket.recvmsg(w.MAX_DATA + _LINE)
            except OSError:
                return
            why = self._take(data, bool(flags & socket.MSG_TRUNC), sender)
            if why:
                self._mailbox.drop(why)

    def _take(self, data: bytes, cut: bool, sender: str | bytes | None) -> str:
        """A program's message; why it is dropped, or ""."""
        line, feed, _ = data[:_LINE].partition(b"\n")
        if not feed or not line.isdigit() or int(line) >= w.PORT_ANY:
            return NO_LINE
        n = len(line) + 1
        if cut or len(data) - n > w.MAX_DATA:
            return LONG
        if not sender:
            return NO_NAME
        return self._mailbox.write(self._port(_bytes(sender)), int(line), data[n:])

    def _port(self, name: bytes) -> int:
        """The host's port of a program: its path says it, or it has the next that is free."""
        port = self._ports.get(name)
        if port is None:
            if len(self._ports) == _MOST_NAMES:
                gone = self._ports.popitem(last=False)[1]
                if self._names.pop(gone, None) is not None:
                    self._part(gone)
            port = self._named(name)
            if port is None:
                port = self._next_port
                self._next_port = port + 1 if port < _LAST_PORT else _FIRST_PORT
                self._names[port] = name
            self._ports[name] = port
        self._ports.move_to_end(name)
        return port

    def _named(self, name: bytes) -> int | None:
        own = _bytes(unix_address(self.path))
        head, _, number = name.rpartition(b"_")
        if not number.isdigit() or len(number) >= _LINE or int(number) >= w.PORT_ANY:
            return None
        same = head == own or (
            not name.startswith(b"\0") and os.path.realpath(head) == os.path.realpath(own)
        )
        return int(number) if same else None

    def _go_on(self) -> None:
        if self._paused and self._listener is not None:
            self._paused = False
            self._loop.add(self._listener.socket.fileno(), loops.IN, self._read)


def _bytes(address: str | bytes) -> bytes:
    return os.fsencode(address)
