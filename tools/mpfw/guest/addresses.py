# SPDX-License-Identifier: MIT
"""Addresses of `mpfw forward` and `mpfw repl`: TCP, Unix sockets, vsock, and hybrid vsock sockets.

Each can be dialled and listened at. Standard library alone, so that it also runs where only Python
is. Sockets are non-blocking, for asyncio.
"""

import asyncio
import errno
import os
import re
import socket
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BACKLOG = 4096
DIAL_SECONDS = 10  # how long a guest may take to accept
TCP = (socket.AF_INET, socket.AF_INET6)
LOCALHOST = "127.0.0.1"
_KERNEL_DEVICE = Path("/dev/vhost-vsock")
_LISTENS = "00010000"  # among the flags of /proc/net/unix

FORMS = """\
  tcp:PORT, tcp:HOST:PORT   TCP; without HOST on 127.0.0.1, tcp:[::1]:PORT is IPv6;
                            to listen, port 0 is any that is free
  unix:PATH                 a Unix socket
  vsock:CID:PORT            a guest's port; to listen: that guest's calls to the host's port
  vsock:PORT                to listen: the calls of any guest
  uds:PATH:PORT             the same of the guest whose hybrid socket is PATH (the uds-path of
                            vhost-device-vsock, Firecracker, Cloud Hypervisor)"""


class AddressError(Exception):
    """What is wrong with an address, or what became of it: one sentence."""


class Address(ABC):
    """Where connections come from or go to. str() is the address as it is written."""

    @abstractmethod
    async def dial(self) -> socket.socket:
        """A connection. Raises AddressError."""

    @abstractmethod
    def listen(self) -> socket.socket:
        """A listening socket. Raises AddressError."""

    def admits(self, peer: object) -> bool:
        """Whether an accepted connection from `peer`, as accept() names it, is meant."""
        return True

    def bound(self, listener: socket.socket) -> str:
        """The address at which `listener` listens: with the number of a port that was 0."""
        return str(self)

    def close(self, listener: socket.socket) -> None:
        """Stop listening and leave nothing behind."""
        listener.close()


class Tcp(Address):
    """tcp:HOST:PORT"""

    def __init__(self, host: str, port: int):
        self.host = host
        self.port = port

    def __str__(self) -> str:
        return (
            f"tcp:[{self.host}]:{self.port}"
            if ":" in self.host
            else f"tcp:{self.host}:{self.port}"
        )

    async def dial(self) -> socket.socket:
        failure: OSError | None = None
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                for family, place in await asyncio.to_thread(self._places):
                    try:
                        return await _connected(family, place)
                    except OSError as error:
                        failure = failure or error
        except TimeoutError:
            raise AddressError(f"{self} does not answer") from None
        assert failure is not None  # there was a place
        raise AddressError(_nobody(self, failure))

    def listen(self) -> socket.socket:
        family, place = self._places()[0]
        return _listener(self, family, place, reuse=True)

    def _places(self) -> list[tuple[int, object]]:
        """What the host's name stands for, IPv4 first."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise AddressError(f"{self}: there is no such host ({error.strerror})") from None
        return sorted(((one[0], one[4]) for one in found), key=lambda one: one[0])

    def bound(self, listener: socket.socket) -> str:
        return str(Tcp(self.host, listener.getsockname()[1]))


class Unix(Address):
    """unix:PATH"""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return f"unix:{self.path}"

    async def dial(self) -> socket.socket:
        try:
            return await _unix_connected(self.path)
        except OSError as error:
            raise AddressError(_nobody(self, error)) from None

    def listen(self) -> socket.socket:
        return _unix_listener(self, self.path)

    def close(self, listener: socket.socket) -> None:
        super().close(listener)
        self.path.unlink(missing_ok=True)


class Vsock(Address):
    """vsock:CID:PORT, by the kernel's AF_VSOCK."""

    def __init__(self, cid: int | None, port: int):
        self.cid = cid
        self.port = port

    def __str__(self) -> str:
        return f"vsock:{self.port}" if self.cid is None else f"vsock:{self.cid}:{self.port}"

    async def dial(self) -> socket.socket:
        assert self.cid is not None  # `parse` sees to it
        if self.cid > socket.VMADDR_CID_HOST and not _KERNEL_DEVICE.exists():
            raise AddressError(_no_guest(self))
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                return await _connected(socket.AF_VSOCK, (self.cid, self.port))
        except TimeoutError:
            raise AddressError(f"{self}: the guest does not answer") from None
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise AddressError(_no_guest(self)) from None
            raise AddressError(_nobody(self, error)) from None

    def listen(self) -> socket.socket:
        if not _KERNEL_DEVICE.exists():
            raise AddressError(_no_guest(self))  # nobody could call
        return _listener(self, socket.AF_VSOCK, (socket.VMADDR_CID_ANY, self.port))

    def admits(self, peer: object) -> bool:
        return self.cid is None or (isinstance(peer, tuple) and peer[0] == self.cid)


class Hybrid(Address):
    """uds:PATH:PORT: a Unix socket that stands for a guest's vsock device.

    To reach the guest one connects to PATH, sends "CONNECT <port>\\n" and is answered
    "OK <number>\\n"; the guest's calls to the host arrive at PATH_<port>.
    """

    def __init__(self, path: Path, port: int, name: str = ""):
        """`name` is what the user calls it, if not by its path."""
        self.path = path
        self.port = port
        self._name = name

    def __str__(self) -> str:
        return self._name or f"uds:{self.path}:{self.port}"

    async def dial(self) -> socket.socket:
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                connection = await _unix_connected(self.path)
                try:
                    await self._ask(connection)
                except BaseException:
                    connection.close()
                    raise
                return connection
        except TimeoutError:
            raise AddressError(f"{self}: the guest does not answer") from None
        except BrokenPipeError:
            what = "the guest does not use its vsock device yet"
            raise AddressError(f"{self}: {what}: its program makes no socket") from None
        except OSError as error:
            what = f"no guest has its vsock device at {self.path}"
            raise AddressError(f"{self}: {what} ({error.strerror})") from None

    async def _ask(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(connection, b"CONNECT %d\n" % self.port)
        answer = b""
        while not answer.endswith(b"\n"):
            try:
                byte = await loop.sock_recv(connection, 1)  # no more: what follows is the guest's
            except ConnectionError:
                byte = b""
            if not byte:
                raise AddressError(f"nobody in the guest listens on {self}")
            answer += byte
        if not answer.startswith(b"OK "):
            raise AddressError(f"{self.path} is no vsock device's socket: it says {answer!r}")

    def listen(self) -> socket.socket:
        return _unix_listener(self, self._called)

    @property
    def _called(self) -> Path:
        return Path(f"{self.path}_{self.port}")

    def close(self, listener: socket.socket) -> None:
        super().close(listener)
        self._called.unlink(missing_ok=True)


class Guest(Address):
    """vsock:CID:PORT of a guest that `mpfw` runs, whichever device carries it: a hybrid socket in
    the guest's directory, or else the kernel's AF_VSOCK. Looked for anew with every connection."""

    def __init__(self, cid: int | None, port: int):
        self.cid = cid
        self.port = port

    def __str__(self) -> str:
        return str(Vsock(self.cid, self.port))

    def _found(self) -> Address:
        paths = hybrid_sockets(self.cid)
        if not paths:
            return Vsock(self.cid, self.port)
        if len(paths) > 1:
            choice = " or ".join(f"uds:{path}:{self.port}" for path in paths)
            raise AddressError(f"{self}: several guests run, say which: {choice}")
        return Hybrid(paths[0], self.port, str(self))

    async def dial(self) -> socket.socket:
        return await self._found().dial()

    def listen(self) -> socket.socket:
        self._place = self._found()
        return self._place.listen()

    def admits(self, peer: object) -> bool:
        return self._place.admits(peer)

    def bound(self, listener: socket.socket) -> str:
        return self._place.bound(listener)

    def close(self, listener: socket.socket) -> None:
        self._place.close(listener)


def parse(text: str, listening: bool = False) -> Address:
    """The address that `text` is; `listening` where connections come from. Raises AddressError."""
    kind, _, rest = text.partition(":")
    if kind == "tcp":
        return _parse_tcp(text, rest, listening)
    if kind == "unix" and rest:
        return Unix(Path(rest))
    if kind == "vsock":
        cid, _, port = rest.rpartition(":")
        if not cid and not listening:
            raise AddressError(f"{text}: which guest? vsock:CID:PORT says it")
        return Guest(_number(text, cid, "CID") if cid else None, _number(text, port, "port"))
    if kind == "uds":
        path, _, port = rest.rpartition(":")
        if path:
            return Hybrid(Path(path), _number(text, port, "port"))
    forms = "tcp:PORT, tcp:HOST:PORT, unix:PATH, vsock:CID:PORT or uds:PATH:PORT"
    raise AddressError(f"{text!r} is no address: {forms}")


def _parse_tcp(text: str, rest: str, listening: bool) -> Tcp:
    found = re.fullmatch(r"(?:\[(?P<six>[^\]]+)\]:|(?P<host>[^:]*):)?(?P<port>\d+)", rest)
    if found is None:
        raise AddressError(
            f"{text!r} is no TCP address: tcp:PORT, tcp:HOST:PORT or tcp:[IPV6]:PORT"
        )
    port = int(found["port"])
    if not (0 if listening else 1) <= port < 1 << 16:
        raise AddressError(f"{text!r}: a TCP port is a number from 1 to 65535")
    return Tcp(found["six"] or found["host"] or LOCALHOST, port)


def _number(text: str, digits: str, what: str) -> int:
    """A CID or a vsock port: 32 bits, without the value that stands for any."""
    if not re.fullmatch(r"[0-9]{1,10}", digits) or int(digits) >= 0xFFFFFFFF:
        raise AddressError(
            f"{text!r}: a vsock {what} is a number below 4294967295, not {digits!r}"
        )
    return int(digits)


def hybrid_sockets(cid: int | None = None) -> list[Path]:
    """The hybrid sockets of the guests that `mpfw` runs for this user; with a CID, of those alone.

    The kernel's list tells which are alive: dialling could harm a device that is just starting.
    """
    fields = (line.split(maxsplit=7) for line in Path("/proc/net/unix").read_text().splitlines())
    listening = {line[7] for line in fields if len(line) == 8 and line[3] == _LISTENS}
    pattern = f"mpfw-*/vsock-{'*' if cid is None else cid}"
    return [
        path
        for path in sorted(Path(tempfile.gettempdir()).glob(pattern))
        if str(path) in listening and path.stat().st_uid == os.getuid()
    ]


# -- sockets --------------------------------------------------------------------------------------


async def _connected(family: int, place: object) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(connection, place)  # type: ignore[arg-type]
    except BaseException:
        connection.close()
        raise
    at_once(connection)
    return connection


def at_once(connection: socket.socket) -> None:
    """Have small pieces go out when they are sent, which TCP does not do by itself."""
    if connection.family in TCP:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def _unix_connected(path: Path) -> socket.socket:
    """Not by the loop's sock_connect: EAGAIN of a Unix socket means a full backlog, not later."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.setblocking(False)
    try:
        with _short(path) as place:
            while True:
                try:
                    connection.connect(place)
                    return connection
                except BlockingIOError:
                    await asyncio.sleep(0.01)
    except BaseException:
        connection.close()
        raise


def _listener(address: Address, family: int, place: object, reuse: bool = False) -> socket.socket:
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise AddressError(
            f"{address}: this machine has no such sockets ({error.strerror})"
        ) from None
    try:
        if reuse:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)  # type: ignore[arg-type]
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise AddressError(_cannot_listen(address, error)) from None
    return listener


def _unix_listener(address: Address, path: Path) -> socket.socket:
    """Listens at `path`, in place of a listener that is gone."""
    with _short(path) as place:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                if probe.connect_ex(place) == errno.ECONNREFUSED:
                    path.unlink()
        return _listener(address, socket.AF_UNIX, place)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name by which a Unix socket's path of any length fits into an address (108 bytes)."""
    if len(os.fsencode(path)) < 108:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


# -- sentences ------------------------------------------------------------------------------------


def _nobody(address: Address, error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError | ConnectionResetError | FileNotFoundError):
        return f"nobody listens on {address}"
    return f"{address} cannot be reached: {_why(error)}"


def _no_guest(address: Vsock) -> str:
    which = "no guest" if address.cid is None else f"no guest with CID {address.cid}"
    return f"{address}: {which} runs here; one with a hybrid socket of its own is uds:PATH:PORT"


def _cannot_listen(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{address} is in use: choose another, or end the program that listens there"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{address}: this machine does not have that address"
    return f"nobody can listen on {address}: {_why(error)}"


def _why(error: OSError) -> str:
    return error.strerror or str(error)
