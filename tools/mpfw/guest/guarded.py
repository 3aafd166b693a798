# SPDX-License-Identifier: MIT
"""Processes and directories that end with this process, however it ends: the guardian's client.

There is one guardian for a process (mpfw.guest.guardian), which comes up when it is first needed.
Any thread may ask it for something.
"""

import atexit
import errno
import marshal
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mpfw.guest import guardian

# A Unix socket's path has at most 107 bytes; a guest's are "/mpfw-", 16 digits and one of these.
_LONGEST_NAME = len("/mpfw-0123456789abcdef/vsock-4294967295_4294967295")
_LONGEST_PATH = 107
_FOREVER = float("inf")


class GuardianError(Exception):
    """The guardian has ended, or cannot do what is asked: one sentence."""


def cpu_seconds(stat: str) -> float:
    """Processor time that a process has used; `stat` is the text of its /proc/PID/stat."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Guarded:
    """A program that the guardian has started; what subprocess.Popen has of it."""

    def __init__(self, argv: Sequence[str], report: socket.socket):
        self.args = argv
        self._report = report
        self._lock = threading.Lock()
        self._pid: int | None = None
        self._error: OSError | None = None
        self._code: int | None = None

    def fileno(self) -> int:
        """Readable when there is news: ask poll() then."""
        return self._report.fileno()

    @property
    def pid(self) -> int:
        """Its number. Raises OSError if it could not be started."""
        while self._pid is None and self._code is None:
            self._listen()
        if self._error is not None:
            raise self._error
        assert self._pid is not None
        return self._pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs. OSError: it never did."""
        while self._code is None and self._listen(0):
            pass
        if self._error is not None:
            raise self._error
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once it has ended; subprocess.TimeoutExpired after `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = _FOREVER if deadline is None else deadline - time.monotonic()
            if not self._listen(max(0.0, left)) and left <= 0:
                from subprocess import TimeoutExpired

                raise TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal; nothing happens if it has ended."""
        try:
            self._report.send(marshal.dumps(int(number)))
        except OSError:
            pass

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.send_signal(15)

    def kill(self) -> None:
        """Send it SIGKILL."""
        self.send_signal(9)

    def _listen(self, timeout: float = _FOREVER) -> bool:
        """Take one report if one comes in time; whether one has."""
        ready = select.poll()
        ready.register(self._report, select.POLLIN)
        if not ready.poll(None if timeout == _FOREVER else timeout * 1000):
            return False
        with self._lock:
            try:
                message = self._report.recv(guardian.MESSAGE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True  # another thread took it
            except OSError:
                message = b""
            what, value = marshal.loads(message) if message else ("ended", -9)
            if what == "pid":
                self._pid = value
            elif what == "error":
                self._error = OSError(value, os.strerror(value), self.args[0])
                self._code = 127
            elif self._code is None:
                self._code = value  # -9: the guardian is gone, and what it started with it
            return True


class Guardian:
    """The guardian of this process."""

    def __init__(self, fork: bool = False):
        """`fork`: the cheap way, for a process that has neither threads nor anything loaded; the
        end of whoever started that process is its hangup then."""
        self.owner = os.getpid()
        self._paths: dict[str, None] = {}  # what it is to remove
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pidfd = os.pidfd_open(self.owner)
        with theirs:
            self._pid = _fork(theirs, pidfd) if fork else _spawn(theirs, pidfd)
        os.close(pidfd)

    def start(
        self,
        argv: Sequence[str],
        log: int,
        numbers: Mapping[int, int] | None = None,
        environment: Mapping[str, str] | None = None,
        directory: str | None = None,
    ) -> Guarded:
        """Start a program without waiting for it. Its standard output and error go to `log`.

        `numbers`: descriptor there -> descriptor here. `environment` adds to this process's.
        """
        report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        there = dict(numbers or {})
        request = (
            "start",
            [os.fspath(word) for word in argv],
            os.fspath(directory or os.getcwd()),
            dict(environment or {}),
            list(there),
        )
        with theirs:
            self._send(request, [theirs.fileno(), log, *there.values()])
        return Guarded(argv, report)

    def keep(self, path: str | Path) -> None:
        """Have a file, or a directory and all in it, removed when this process ends."""
        self._paths[os.fspath(path)] = None
        self._send(("keep", os.fspath(path)))

    def drop(self, path: str | Path) -> None:
        """Take that back."""
        self._paths.pop(os.fspath(path), None)
        self._send(("drop", os.fspath(path)))

    def _send(self, request: tuple[Any, ...], descriptors: Sequence[int] = ()) -> None:
        message = marshal.dumps(request)
        try:
            socket.send_fds(self._control, [message], descriptors)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                why = f"a command line of {len(message)} bytes is too long"
            else:
                why = "the guardian process has ended, and all guests with it"
            raise GuardianError(why) from None

    def close(self) -> None:
        """End everything; returns when nothing is left."""
        self._control.close()
        try:
            _, status = os.waitpid(self._pid, 0)
        except ChildProcessError:
            return  # somebody has waited for all children
        if status:  # it was killed
            for path in reversed(self._paths):
                guardian.remove(path)


_LOCK = threading.Lock()
_current: Guardian | None = None


def the_guardian(fork: bool = False) -> Guardian:
    """This process's guardian, started if need be (`fork` as in Guardian)."""
    global _current
    with _LOCK:
        if _current is None or _current.owner != os.getpid():
            _current = Guardian(fork)
        return _current


@atexit.register
def end_all() -> None:
    """End everything that this process's guardian has; returns when nothing is left."""
    global _current
    with _LOCK:
        ours, _current = _current, None
    if ours is not None and ours.owner == os.getpid():
        ours.close()


def make_directory() -> Path:
    """A new directory, of this user's only, where names of Unix sockets are short enough."""
    path = f"{_base()}/mpfw-{os.urandom(8).hex()}"
    the_guardian().keep(path)  # before it is there: no moment when nobody knows of it
    os.mkdir(path, 0o700)
    return Path(path)


def remove_directory(path: Path) -> None:
    """Remove such a directory now."""
    guardian.remove(os.fspath(path))
    the_guardian().drop(path)


def _base() -> str:
    """Where directories are made: $TMPDIR, unless its name is too long for sockets below it."""
    for base in (os.environ.get("TMPDIR"), os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):
        # A comma would end the path in vhost-device-vsock's options.
        short = base and len(os.fsencode(base)) + _LONGEST_NAME <= _LONGEST_PATH
        if base and short and "," not in base and os.access(base, os.W_OK | os.X_OK):
            return os.path.abspath(base)
    raise GuardianError("no directory for sockets: /tmp cannot be written to, set TMPDIR")


def _spawn(control: socket.socket, pidfd: int) -> int:
    """Start the guardian as a program of its own; its process number."""
    argv = [sys.executable, "-I", "-S", guardian.__file__, "0", "1"]
    actions = [
        (os.POSIX_SPAWN_DUP2, control.fileno(), 0),
        (os.POSIX_SPAWN_DUP2, pidfd, 1),
    ]
    return os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions, setsid=True)


def _fork(control: socket.socket, pidfd: int) -> int:
    """Start the guardian as a copy of this process; its process number."""
    try:
        parent = os.pidfd_open(os.getppid())
    except OSError:
        parent = -1  # it is outside: a container's first process has none
    pid = os.fork()
    if pid == 0:
        os.setsid()
        guardian.main(control.fileno(), pidfd, parent)
    if parent >= 0:
        os.close(parent)
    return pid
