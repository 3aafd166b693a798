# SPDX-License-Identifier: MIT
"""Streams, a server and the loop's calls over a socket that the program has made, as CPython's.

CPython has no other way to AF_VSOCK: `open_connection(sock=...)`, `start_server(..., sock=...)`.
MicroPython's own, by host and port, go on working: a host is a CID here.
"""

import asyncio.core as core  # `from .` would ask __getattr__
import asyncio.stream as stream
import errno
import socket


class IncompleteReadError(EOFError):
    """The end came before all that was asked for: `partial` came, of `expected` bytes or None."""

    def __init__(self, partial, expected):
        super().__init__(
            "%d bytes read on a total of %s expected bytes" % (len(partial), expected)
        )
        self.partial = partial
        self.expected = expected


class Stream(stream.Stream):
    """A reader and a writer in one."""

    _end = False  # a read has found the end

    def __aiter__(self):
        return self

    async def __anext__(self):
        line = await self.readline()
        if not line:
            raise StopAsyncIteration
        return line

    async def readexactly(self, n):
        """`n` bytes. Raises IncompleteReadError."""
        if n < 0:
            raise ValueError("readexactly size can not be less than zero")
        got = bytearray()
        while len(got) < n:
            part = await self.read(n - len(got))
            if not part:
                self._end = True
                raise IncompleteReadError(bytes(got), n)
            got += part
        return bytes(got)

    async def readuntil(self, separator=b"\n"):
        """Up to and with `separator`. Raises IncompleteReadError."""
        if not separator:
            raise ValueError("Separator should be at least one-byte string")
        got = bytearray()
        while not got.endswith(separator):
            part = await self.read(1)
            if not part:
                self._end = True
                raise IncompleteReadError(bytes(got), None)
            got += part
        return bytes(got)

    def at_eof(self):
        """Whether a read has found the end."""
        return self._end

    def get_extra_info(self, name, default=None):
        """ "socket", "sockname" or "peername"."""
        if name == "socket":
            return self.s
        if name == "sockname":
            return self.s.getsockname()
        return self.e.get(name, default)

    def writelines(self, lines):
        """write() of each."""
        for line in lines:
            self.write(line)

    def write_eof(self):
        """Nothing more will be written: the peer reads the end, and may go on sending."""
        self.s.shutdown(socket.SHUT_WR)

    def can_write_eof(self):
        """CPython's."""
        return True

    def close(self):
        """Close, at once if nothing waits to be sent, else in wait_closed()."""
        if not self.out_buf:
            self.s.close()

    def is_closing(self):
        """Whether close() has been called and was able to."""
        return self.s.fileno() < 0

    async def wait_closed(self):
        """Send what waits, and close."""
        try:
            if self.out_buf:
                await self.drain()
        finally:
            self.s.close()


StreamReader = StreamWriter = stream.Stream = Stream  # what upstream's functions make, too


class Server(stream.Server):
    """A server over a listening socket."""

    async def serve_forever(self):
        """Until it is closed or cancelled."""
        await self.task


# async, as upstream's are: a generator
def open_connection(host=None, port=None, *, sock=None, **options):
    """(reader, writer) of a connected socket, or of a connection to a CID and a port."""
    if sock is None:
        return (yield from stream.open_connection(host, port, **options))
    sock.setblocking(False)
    made = Stream(sock, {"peername": sock.getpeername()})
    yield core._io_queue.queue_write(sock)
    return made, made


async def start_server(cb, host=None, port=None, backlog=5, ssl=None, *, sock=None):
    """Serve a bound socket, or a CID and a port: `cb(reader, writer)` for each connection."""
    if sock is None:
        return await stream.start_server(cb, host, port, backlog, ssl)
    sock.setblocking(False)
    sock.listen(backlog)
    server = Server()
    server.task = core.create_task(server._serve(sock, cb, ssl))
    await core.sleep_ms(0)  # it has to have begun before anybody closes it
    return server


async def _ready(queue, sock, call, *arguments):
    """Call until it would not block."""
    while True:
        try:
            return call(*arguments)
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise
        await _turn(queue, sock)


def _turn(queue, sock):
    yield queue(sock)


async def sock_recv(sock, size):
    """loop.sock_recv, of a non-blocking socket."""
    return await _ready(core._io_queue.queue_read, sock, sock.recv, size)


async def sock_recv_into(sock, buffer):
    """loop.sock_recv_into."""
    return await _ready(core._io_queue.queue_read, sock, sock.recv_into, buffer)


async def sock_accept(sock):
    """loop.sock_accept: (a non-blocking socket, its address)."""
    made, address = await _ready(core._io_queue.queue_read, sock, sock.accept)
    made.setblocking(False)
    return made, address


async def sock_sendall(sock, data):
    """loop.sock_sendall."""
    left = memoryview(data)
    while left:
        left = left[await _ready(core._io_queue.queue_write, sock, sock.send, left) :]


async def sock_connect(sock, address):
    """loop.sock_connect. Raises what became of it."""
    try:
        return sock.connect(address)
    except OSError as error:
        if error.errno != errno.EINPROGRESS:
            raise
    await _turn(core._io_queue.queue_write, sock)
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, "Connect call failed %s" % (address,))


core.Loop.sock_recv = staticmethod(sock_recv)
core.Loop.sock_recv_into = staticmethod(sock_recv_into)
core.Loop.sock_accept = staticmethod(sock_accept)
core.Loop.sock_sendall = staticmethod(sock_sendall)
core.Loop.sock_connect = staticmethod(sock_connect)
