# SPDX-License-Identifier: MIT
"""The host's side of a guest's vsock device, whichever carries it.

`dial` and `listen` hide the device: the kernel's AF_VSOCK, or the vhost-device-vsock daemon, whose
host programs use Unix sockets. Each gives ordinary connected sockets.
"""

import errno
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from mpfw.guest import daemon, guarded
from mpfw.guest.machine import escape

GUEST_CID = 33
KERNEL_DEVICE = Path("/dev/vhost-vsock")
_LISTENS = 1.0  # seconds within which who has bound a socket listens


class VsockHost:
    """A vsock device of one guest, seen from the host. start() comes before everything else."""

    kind = ""
    shares_memory = False

    def __init__(self, cid: int = GUEST_CID, device_options: str = ""):
        """`device_options` is appended to QEMU's -device value, such as ",bus=port1"."""
        self.cid = cid
        self.device_options = device_options
        self.held: list[socket.socket] = []  # what QEMU is to hold for as long as it lives

    @property
    def devices(self) -> tuple[str, ...]:
        """Values for QEMU's -device."""
        raise NotImplementedError

    @property
    def options(self) -> tuple[str, ...]:
        """QEMU options that the devices need."""
        return ()

    def start(self, directory: Path) -> None:
        """Make the host's side ready; `directory` is for its files and sockets."""

    def stop(self) -> None:
        """End what start() began."""

    def log(self) -> str:
        """What the host's side printed."""
        return ""

    def dial(self, port: int, timeout: float = 10) -> socket.socket:
        """A connection to the guest's `port`. Wait for the guest's READY before: a
        vhost-device-vsock 0.3.0 that is dialled while the driver sets up its queues may die.

        Tries again while nobody accepts, for `timeout` seconds; then raises ConnectionError.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self.dial_once(port, max(0.1, deadline - time.monotonic()))
            except (ConnectionError, TimeoutError) as error:
                if time.monotonic() >= deadline:
                    raise ConnectionError(f"guest port {port}: {error}") from error
            time.sleep(0.02)

    def dial_once(self, port: int, timeout: float = 10) -> socket.socket:
        """A connection to the guest's `port`, in one attempt. Raises OSError."""
        raise NotImplementedError

    def listen(self, port: int, backlog: int = 128) -> socket.socket:
        """A listening socket that accepts the guest's connections to CID 2, `port`."""
        raise NotImplementedError

    def socat_dial(self, port: int) -> tuple[str, bytes]:
        """How socat reaches the guest: its address, and what to type first."""
        raise NotImplementedError

    def socat_listen(self, port: int) -> str:
        """The socat address that waits for the guest's connection to CID 2, `port`."""
        raise NotImplementedError


class KernelVsock(VsockHost):
    """vhost-vsock-pci: the kernel's device; host programs use AF_VSOCK."""

    kind = "vhost-vsock"

    @property
    def devices(self) -> tuple[str, ...]:
        return (f"vhost-vsock-pci,guest-cid={self.cid}{self.device_options}",)

    def dial_once(self, port: int, timeout: float = 10) -> socket.socket:
        connection = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect((self.cid, port))
        except BaseException:
            connection.close()
            raise
        return connection

    def listen(self, port: int, backlog: int = 128) -> socket.socket:
        return _listener(socket.AF_VSOCK, (socket.VMADDR_CID_ANY, port), backlog)

    def socat_dial(self, port: int) -> tuple[str, bytes]:
        return f"VSOCK-CONNECT:{self.cid}:{port}", b""

    def socat_listen(self, port: int) -> str:
        return f"VSOCK-LISTEN:{port},reuseaddr"


class VhostUserVsock(VsockHost):
    """vhost-user-vsock-pci with a vhost-device-vsock daemon of its own.

    The daemon's Unix-socket protocol: a host program connects to its socket and sends
    "CONNECT <port>\\n", the answer is "OK <number>\\n"; the guest's connections to CID 2 arrive
    at the socket whose name ends in "_<port>".
    """

    kind = "vhost-user"
    name = "vhost-device-vsock"  # what a message calls it
    endings: tuple[str, ...] = ("",)  # of the names of its sockets for programs, behind the path
    shares_memory = True

    def __init__(
        self,
        cid: int = GUEST_CID,
        device_options: str = "",
        tx_buffer_size: int | None = None,
        uds_path: Path | None = None,
        program: Path | None = None,
    ):
        """`uds_path`: where the daemon's socket is to be, if not in the guest's directory.
        `program`: a daemon with vhost-device-vsock's options, if not mpfw.guest.daemon's."""
        super().__init__(cid, device_options)
        self.program = program
        self.tx_buffer_size = tx_buffer_size
        self.uds_path = uds_path
        self._daemon: guarded.Guarded | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        return (f"vhost-user-vsock-pci,chardev=vsock{self.cid}{self.device_options}",)

    @property
    def options(self) -> tuple[str, ...]:
        return ("-chardev", f"socket,id=vsock{self.cid},path={escape(self._control)}")

    @property
    def path(self) -> Path:
        """The socket that host programs connect to."""
        return self._path

    def command(self, directory: Path) -> list[str]:
        """The daemon's command line, with its sockets in `directory`; it is to run where
        `uds_path` says, whose name it has without the directory: that may be long."""
        self._control = directory / f"vhost-user-{self.cid}"
        self._path = self.uds_path or directory / f"vsock-{self.cid}"
        name = self._path.name if self.uds_path else self._path
        vm = f"guest-cid={self.cid},socket={self._control},uds-path={name}"
        if self.tx_buffer_size:
            vm += f",tx-buffer-size={self.tx_buffer_size}"
        return [*self._program(), "--vm", vm]

    def _program(self) -> list[str]:
        return [str(self.program or daemon.program())]

    def start(self, directory: Path) -> None:
        command = self.command(directory)
        self._log = directory / f"vsock-{self.cid}.log"
        guardian = guarded.the_guardian()
        if self.uds_path is not None:
            for path in self._sockets():
                guardian.keep(path)
        level = {"RUST_LOG": os.environ.get("RUST_LOG", "warn")}
        with open(self._log, "wb") as log:
            self._daemon = guardian.start(
                command, log.fileno(), None, level, os.fspath(self._path.parent)
            )
        deadline = time.monotonic() + 10
        while not (self._control.exists() and self._path.exists()):
            if self._daemon.poll() is not None or time.monotonic() > deadline:
                raise ConnectionError(f"{self.name} did not start\n{self.log()}")
            time.sleep(0.001)  # nothing else tells that it listens

    def cpu_seconds(self) -> float:
        """Processor time that the daemon has used."""
        assert self._daemon is not None
        return guarded.cpu_seconds(Path(f"/proc/{self._daemon.pid}/stat").read_text())

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait()
            self._daemon = None
            if self.uds_path is not None:
                for path in self._sockets():
                    path.unlink(missing_ok=True)
                    guarded.the_guardian().drop(path)

    def _sockets(self) -> list[Path]:
        """The sockets for programs."""
        return [Path(f"{self._path}{ending}") for ending in self.endings]

    def log(self) -> str:
        return self._log.read_text(errors="backslashreplace") if self._log.exists() else ""

    def dial_once(self, port: int, timeout: float = 10) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(timeout)
        try:
            connection.connect(str(self._path))
            connection.sendall(b"CONNECT %d\n" % port)
            answer = b""
            while not answer.endswith(b"\n"):
                byte = connection.recv(1)  # not one byte more: what follows is the guest's
                if not byte:
                    raise ConnectionResetError(
                        errno.ECONNRESET, f"guest port {port} does not accept"
                    )
                answer += byte
            if not answer.startswith(b"OK "):
                raise ConnectionResetError(errno.ECONNRESET, f"the daemon answered {answer!r}")
        except BaseException:
            connection.close()
            raise
        return connection

    def listen(self, port: int, backlog: int = 128) -> socket.socket:
        path = Path(f"{self._path}_{port}")
        if path.exists() and not _is_served(path):
            path.unlink()  # an earlier listener's, closed since
        return _listener(socket.AF_UNIX, str(path), backlog)

    def socat_dial(self, port: int) -> tuple[str, bytes]:
        return f"UNIX-CONNECT:{self._path}", b"CONNECT %d\n" % port

    def socat_listen(self, port: int) -> str:
        return f"UNIX-LISTEN:{self._path}_{port},unlink-early"


class DeviceVsock(VhostUserVsock):
    """vhost-user-vsock-pci with an `mpfw device` of its own, which has the daemon's options and
    its Unix-socket protocol."""

    kind = "device"
    name = "mpfw device"
    endings: tuple[str, ...] = ("", ".seqpacket")

    def _program(self) -> list[str]:
        if self.program is not None:
            return super()._program()
        return [sys.executable, "-m", "mpfw", "device"]


class DatagramVsock(DeviceVsock):
    """The same, offering datagrams, by a device of QEMU's that passes such an offer on."""

    endings = (*DeviceVsock.endings, ".dgram")

    def __init__(self, carrier: str, **options: Any):
        """`carrier`: a device that carriers.choose has found; `options` are VhostUserVsock's."""
        super().__init__(**options)
        self.carrier = carrier
        self._descriptor = 0  # of a connection to the device, in QEMU

    @property
    def devices(self) -> tuple[str, ...]:
        from mpfw.guest import carriers

        if self.carrier == carriers.TEST_DEVICE:
            value = f"{self.carrier},chardev=vsock{self.cid},virtio-id=19,num_vqs=3,config_size=8"
        elif self.carrier == carriers.VFIO_USER_PCI:
            import json

            where = {"type": "unix", "path": str(self._control)}
            # The guest goes on when the device has seen its write, as with one of QEMU's own.
            options = {"driver": self.carrier, "x-no-posted-writes": True, "socket": where}
            value = json.dumps(options)
        else:
            value = f"{self.carrier},fd={self._descriptor}"
        return (value,)

    @property
    def options(self) -> tuple[str, ...]:
        from mpfw.guest import carriers

        return super().options if self.carrier == carriers.TEST_DEVICE else ()

    def command(self, directory: Path) -> list[str]:
        from mpfw.guest import carriers

        *command, vm = super().command(directory)
        return [*command, f"{vm},datagrams=true,carrier={carriers.CARRIERS[self.carrier]}"]

    def start(self, directory: Path) -> None:
        super().start(directory)
        self.connect()

    def connect(self) -> None:
        """Make the connection to the device, if QEMU takes one rather than a path."""
        from mpfw.guest import carriers
        from mpfw.guest.guest import Guest

        if self.carrier == carriers.PROXY:
            connection = _dialled(str(self._control))
            self._descriptor = Guest.first_channel + len(self.held)
            self.held.append(connection)


KINDS: dict[str, type[VsockHost]] = {
    host.kind: host for host in (KernelVsock, VhostUserVsock, DeviceVsock)
}


def kernel_device_usable() -> bool:
    """Whether /dev/vhost-vsock is there and may be opened."""
    try:
        os.close(os.open(KERNEL_DEVICE, os.O_RDWR))
    except OSError:
        return False
    return True


def pick_kind(kind: str = "auto") -> str:
    """The kind named, checked; "auto" is the kernel's where it can be had."""
    if kind == "auto":
        return KernelVsock.kind if kernel_device_usable() else VhostUserVsock.kind
    if kind not in KINDS:
        raise ValueError(f"no vsock device {kind!r}: auto, {', '.join(KINDS)}")
    return kind


def pick(kind: str = "auto", **options: Any) -> VsockHost:
    """The host's side of a vsock device of the kind named."""
    return KINDS[pick_kind(kind)](**options)


def _listener(family: int, address: str | tuple[int, int], backlog: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.bind(address)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def _dialled(path: str) -> socket.socket:
    """A connection to a Unix socket that somebody makes: its path is there a moment before they
    listen. Raises ConnectionRefusedError if they do not."""
    deadline = time.monotonic() + _LISTENS
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            return connection
        except ConnectionRefusedError:
            connection.close()
            if time.monotonic() > deadline:
                raise
        time.sleep(0.001)


def _is_served(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        return probe.connect_ex(str(path)) == 0
