# SPDX-License-Identifier: MIT
"""`--group NAME`: guests of several runs on one vhost-device-vsock, where they reach each other.

The daemon learns its guests' CIDs when it starts, so it gets a row of them. A process apart, the
group's keeper, has it: whoever joins connects to the keeper and stays connected, and the daemon
ends with the last of them. The keeper's address is among Linux's abstract sockets, so that nothing
is left behind, and its name is the lock: whoever can bind it starts the keeper.
"""

import hashlib
import marshal
import os
import select
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from mpfw.guest import daemon, guarded
from mpfw.guest.vsockhost import GUEST_CID, VhostUserVsock
from mpfw.run import cids

_ROW = 31  # CIDs from GUEST_CID on that every group has, for those that ask for none
_BLOCK = 16  # CIDs around the one that the first guest asks for
_FIRST_CID = 3  # those below are hosts'
_MESSAGE = 4096
_PATIENCE = 20.0  # seconds that another run may take to start the keeper
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group
_START = 10.0  # seconds that the daemon may take


class GroupError(Exception):
    """A group that cannot be joined: one sentence."""


class GroupVsock(VhostUserVsock):
    """A guest's device in a group's daemon."""

    def __init__(self, cid: int, control: str, path: str):
        super().__init__(cid)
        self._control = Path(control)
        self._path = Path(path)

    def start(self, directory: Path) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It ends with the group."""

    def log(self) -> str:
        return ""


def join(name: str, cid: int | None) -> GroupVsock:
    """A device in the group of that name, with the CID wanted or a free one. Raises GroupError."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        keeper = _connect(name, cid)
        lock: socket.socket | None = None
        for wanted in (cid,) if cid is not None else range(GUEST_CID, GUEST_CID + _ROW):
            if cid is None:
                lock = cids.lock(wanted)  # so that it differs from those of guests in no group
                if lock is None:
                    continue
            answer = _ask(keeper, wanted)
            if answer is None:
                break  # the keeper is just ending: another one
            what, *rest = answer
            if what == "device":
                vsock = GroupVsock(wanted, *rest)
                vsock.held += [keeper, *([lock] if lock else [])]
                return vsock
            if what == "error":
                raise GroupError(f"--group {name}: {rest[0]}")
            if lock is None:
                raise GroupError(_refusal(name, wanted, rest))
            lock.close()
        else:
            raise GroupError(f"--group {name}: all its {_ROW} CIDs are taken")
        keeper.close()
    raise GroupError(f"--group {name}: its keeper does not answer")


def _refusal(name: str, cid: int, cids: list[Any]) -> str:
    if cid in cids:
        return f"--group {name}: CID {cid} is another guest's: --cid with another number"
    return (
        f"--group {name}: CID {cid} is none of the group's, which were chosen when it began: "
        f"{_ranges(cids)}"
    )


def _ranges(numbers: list[int]) -> str:
    """Numbers in words, such as "3 to 15, 33 to 63"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join(" to ".join(map(str, part)) for part in parts)


def _connect(name: str, cid: int | None) -> socket.socket:
    """A connection to the group's keeper, which is started if need be. Raises GroupError."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    address = f"\0mpfw-group-{os.getuid()}-{digest}"
    while True:
        keeper = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            keeper.connect(address)
        except ConnectionRefusedError:
            if not _begin(keeper, address, _cids(cid)):
                keeper.close()
                time.sleep(0.001)  # somebody else was faster, and will listen soon
                continue
        if not _is_ours(keeper):
            raise GroupError(f"--group {name}: another user has that name's socket")
        return keeper


def _begin(keeper: socket.socket, address: str, row: list[int]) -> bool:
    """Start a keeper and connect to it; False if somebody else does just that."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        try:
            listener.bind(address)
        except OSError:
            return False
        listener.listen(64)
        keeper.connect(address)  # first: a keeper that nobody is connected to would stay
        _spawn(listener, row)
    return True


def _is_ours(other: socket.socket) -> bool:
    """Whether a process of the same user is at the other end."""
    credentials = other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, user, _ = _CREDENTIALS.unpack(credentials)
    return bool(user == os.getuid())


def _ask(keeper: socket.socket, cid: int) -> list[Any] | None:
    """The keeper's answer, None if it ends."""
    try:
        keeper.send(marshal.dumps(cid))
        answer = keeper.recv(_MESSAGE)
    except OSError:
        return None
    return marshal.loads(answer) if answer else None


def _cids(wanted: int | None) -> list[int]:
    """A group's CIDs, whose first guest wants one."""
    row = set(range(GUEST_CID, GUEST_CID + _ROW))
    if wanted is not None:
        start = wanted - wanted % _BLOCK
        row |= set(range(max(_FIRST_CID, start), min(start + _BLOCK, cids.LAST + 1)))
    return sorted(row)


def _spawn(listener: socket.socket, row: list[int]) -> None:
    """Start a keeper that listens, a program of its own that outlives this process."""
    code = "from mpfw.run import group; group.main()"
    argv = [sys.executable, "-P", "-c", code, daemon.program(), *map(str, row)]
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in (1, 2)]
    actions += [(os.POSIX_SPAWN_DUP2, listener.fileno(), 0)]
    os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)
    os.close(null)


# -- the keeper -----------------------------------------------------------------------------------


class _Keeper:
    """Has the daemon for as long as somebody is connected."""

    def __init__(self, listener: socket.socket, program: str, row: list[int]):
        self._listener = listener
        self._row = row
        self._taken: dict[int, int] = {}  # the connection's descriptor: the CID it has, or 0
        self._members: dict[int, socket.socket] = {}
        self._served: dict[int, tuple[int, int]] = {}  # CID: the control socket that it had last
        self._directory = guarded.make_directory()
        self._failure = self._start(program)

    def _start(self, program: str) -> str:
        """Start the daemon; why that failed."""
        words = [program]
        for cid in self._row:
            control, path = self._places(cid)
            words += ["--vm", f"guest-cid={cid},socket={control},uds-path={path}"]
        log = self._directory / "daemon.log"
        with open(log, "wb") as file:
            process = guarded.the_guardian().start(words, file.fileno())
        places = [Path(place) for cid in self._row for place in self._places(cid)]
        deadline = time.monotonic() + _START
        while places := [place for place in places if not place.exists()]:
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="backslashreplace").strip().splitlines()
                return f"vhost-device-vsock did not start: {'; '.join(said)}"
            time.sleep(0.001)  # nothing else tells that it listens
        return ""

    def _places(self, cid: int) -> tuple[str, str]:
        """A guest's sockets: the device's and the host programs'."""
        return f"{self._directory}/vhost-user-{cid}", f"{self._directory}/vsock-{cid}"

    def keep(self) -> None:
        """Return when the last has left."""
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        while True:
            for number, _ in poll.poll():
                if number == self._listener.fileno():
                    member, _ = self._listener.accept()
                    if _is_ours(member):
                        poll.register(member, select.POLLIN)
                        self._members[member.fileno()] = member
                elif not self._hear(number):
                    poll.unregister(number)
                    self._members.pop(number).close()
                    self._taken.pop(number, None)
                    if not self._members:
                        self._listener.close()  # whoever comes now starts another keeper
                        return

    def _hear(self, number: int) -> bool:
        """Answer a member; whether it is still there."""
        member = self._members[number]
        try:
            message = member.recv(_MESSAGE)
            if message:
                member.send(marshal.dumps(self._answer(number, marshal.loads(message))))
        except OSError:
            return False
        return bool(message)

    def _answer(self, number: int, cid: int) -> list[Any]:
        if self._failure:
            return ["error", self._failure]
        if cid not in self._row or cid in self._taken.values():
            return ["refused", *self._row]
        control, path = self._places(cid)
        self._taken[number] = cid
        self._served[cid] = _fresh(control, self._served.get(cid))
        return ["device", control, path]


def _fresh(control: str, last: tuple[int, int] | None) -> tuple[int, int]:
    """Have the daemon begin anew with a device; which control socket it has then.

    vhost-device-vsock 0.3.0 makes a new socket for each guest, and another device of the CID with
    it. One that got a sibling's packet while it had no guest is deaf from then on.
    """
    if last is not None:
        _other(control, last)  # the guest before is gone, but perhaps not yet for the daemon
    now = _which(control)
    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(control)
    return _other(control, now)


def _which(path: str) -> tuple[int, int]:
    """Tells a socket from others of its name."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0, 0
    return status.st_ino, status.st_mtime_ns


def _other(path: str, last: tuple[int, int]) -> tuple[int, int]:
    """Wait until another socket has the name; which."""
    deadline = time.monotonic() + _START
    while (now := _which(path)) in (last, (0, 0)) and time.monotonic() < deadline:
        time.sleep(0.001)
    return now


def main() -> None:
    """The keeper: it listens on descriptor 0, its arguments are the daemon's program and CIDs."""
    program, *row = sys.argv[1:]
    listener = socket.socket(fileno=os.dup(0))
    os.dup2(1, 0)
    os.chdir("/")
    _Keeper(listener, program, list(map(int, row))).keep()
