# SPDX-License-Identifier: MIT
"""The guardian: a process that starts programs for another one and ends them when that one ends.

However it ends: killed, its terminal closed, its parent gone. The parent-death signal alone would
not do: it comes when the thread that started a program ends, and leaves files behind. Standard
library only, one thread, in a session of its own, where no terminal's signals reach it.

A run's guardian also has an eye on the process that started the run, and sends SIGHUP to the owner
when that ends, as a closed terminal does.

Requests come over a SOCK_SEQPACKET socket, one message each, marshalled (both ends are the same
Python); its end is the owner's end, as is a sign of the owner's pidfd.

    ("start", argv, directory, environment, numbers) with descriptors: a SOCK_SEQPACKET socket that
        reports, what takes standard output, and error unless 2 is among `numbers`, then those that
        get `numbers` in the program
    ("keep", path) and ("drop", path): what is to be removed at the end, and what no longer

A program's report socket says ("pid", n) or ("error", errno), then ("ended", code as subprocess
has it); a signal's number sent there reaches the program.
"""

import fcntl
import marshal
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from typing import NoReturn

MESSAGE = 1 << 18  # bytes at most
DESCRIPTORS = 64
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class _Child:
    """A program that runs."""

    def __init__(self, pid: int, report: socket.socket):
        self.pid = pid
        self.ended = os.pidfd_open(pid)
        self._report = report
        _tell(self._report, "pid", pid)

    def fileno(self) -> int:
        return self._report.fileno()

    def obey(self) -> bool:
        """Pass a signal on; False if no more will come."""
        try:
            message = self._report.recv(MESSAGE)
        except ConnectionResetError:
            message = b""  # who asked has let go of it without having read what we told
        if message:
            signal.pidfd_send_signal(self.ended, marshal.loads(message))
        return bool(message)

    def bury(self) -> None:
        """Tell of its end, which has come or will at once."""
        _, status = os.waitpid(self.pid, 0)
        _tell(self._report, "ended", os.waitstatus_to_exitcode(status))
        self._report.close()
        os.close(self.ended)


class _Guardian:
    def __init__(self, control: socket.socket, owner: int, parent: int):
        self._control = control
        self._owner = owner
        self._parent = parent
        self._children: dict[int, _Child] = {}  # by the pidfd and by the socket's number
        self._paths: dict[str, None] = {}  # in the order in which they came
        self._poll = select.poll()
        self._death = _parent_death_signal()

    def guard(self) -> None:
        """Do what is asked until the owner has ended."""
        for number in (self._control.fileno(), self._owner, self._parent):
            if number >= 0:
                self._poll.register(number, select.POLLIN)
        while True:
            for number, _ in self._poll.poll():
                if number == self._control.fileno():
                    if not self._request():
                        return
                elif number == self._owner:
                    return
                elif number == self._parent:
                    self._poll.unregister(number)
                    signal.pidfd_send_signal(self._owner, signal.SIGHUP)
                elif number in self._children:  # and not buried in this round
                    self._news(number)

    def _request(self) -> bool:
        message, numbers, _, _ = socket.recv_fds(self._control, MESSAGE, DESCRIPTORS)
        if not message:
            return False
        what, *arguments = marshal.loads(message)
        if what == "start":
            argv, directory, environment, places = arguments
            self._start(argv, directory, environment, places, numbers)
        elif what == "keep":
            self._paths[arguments[0]] = None
        elif what == "drop":
            self._paths.pop(arguments[0], None)
        return True

    def _start(
        self,
        argv: list[str],
        directory: str,
        environment: dict[str, str],
        numbers: list[int],
        descriptors: list[int],
    ) -> None:
        report = socket.socket(fileno=descriptors[0])
        said, says = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(directory)
                _become(descriptors[1:], [*(1,), *numbers], says)
                self._death()
                os.execvpe(argv[0], argv, {**os.environ, **environment})
            except OSError as error:
                os.write(_FAILED, b"%d" % (error.errno or 0))
            finally:
                os._exit(127)
        os.close(says)
        for number in descriptors[1:]:
            os.close(number)
        failed = os.read(said, 16)  # returns at its exec, or when that has failed
        os.close(said)
        if failed:
            os.waitpid(pid, 0)
            _tell(report, "error", int(failed))
            report.close()
            return
        child = _Child(pid, report)
        for number in (child.ended, child.fileno()):
            self._children[number] = child
            self._poll.register(number, select.POLLIN)

    def _news(self, number: int) -> None:
        child = self._children[number]
        if number == child.ended:
            for each in (child.ended, child.fileno()):
                if self._children.pop(each, None):
                    self._poll.unregister(each)
            child.bury()
        elif not child.obey():
            self._poll.unregister(number)
            del self._children[number]

    def end(self) -> None:
        """Nothing is left afterwards."""
        children = set(self._children.values())
        for child in children:
            signal.pidfd_send_signal(child.ended, signal.SIGKILL)
        for child in children:
            child.bury()
        for path in reversed(self._paths):
            remove(path)


def _tell(report: socket.socket, *what: str | int) -> None:
    """Report something of a program to whoever has asked for it."""
    try:
        report.send(marshal.dumps([*what]), socket.MSG_DONTWAIT)
    except OSError:
        pass  # nobody wants to know any more


_FAILED = 3  # a program's descriptor for the errno of its exec


def _become(descriptors: list[int], numbers: list[int], says: int) -> None:
    """Give the descriptors their numbers in this process, which is about to be a program."""
    above = max(numbers) + 1
    moved = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, above) for number in (says, *descriptors)]
    os.dup2(moved[0], _FAILED, inheritable=False)
    for number, place in zip(moved[1:], numbers, strict=True):
        os.dup2(number, place)
    if 2 not in numbers:
        os.dup2(1, 2)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)


def _parent_death_signal() -> Callable[[], object]:
    """A function that has this process killed when its parent ends: if the guardian is killed."""
    try:
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return lambda: None
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def remove(path: str) -> None:
    """Remove a file, or a directory and what is in it; what cannot be removed stays."""
    try:
        if os.path.isdir(path) and not os.path.islink(path):
            for entry in os.scandir(path):
                remove(entry.path)
            os.rmdir(path)
        else:
            os.unlink(path)
    except OSError:
        pass


def _close_others(ours: Iterable[int]) -> None:
    """Close every descriptor but these; /dev/null becomes the standard ones."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    at = 3
    for number in sorted(ours):
        os.closerange(at, number)
        at = number + 1
    os.closerange(at, os.sysconf("SC_OPEN_MAX"))


def main(control: int, owner: int, parent: int = -1) -> NoReturn:
    """Guard, with a socket and pidfds by their numbers, until the owner has ended. `parent`: that
    of the owner's parent, if its end is the owner's hangup."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # ignored ones would stay so in the programs
    ours = [fcntl.fcntl(n, fcntl.F_DUPFD_CLOEXEC, 3) for n in (control, owner, parent) if n >= 0]
    _close_others(ours)
    os.chdir("/")
    control, owner, parent = [*ours, -1][:3]
    guardian = _Guardian(socket.socket(fileno=control), owner, parent)
    try:
        guardian.guard()
    finally:
        guardian.end()
        os._exit(0)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
