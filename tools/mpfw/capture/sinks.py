# SPDX-License-Identifier: MIT
"""Where the blocks of a capture go: a file, files of a certain size each, or a pipe.

Blocks are written whole or not at all, so that what is there can be read at any time. A pipe's
reader that is slow holds up nobody: what it does not take in time is dropped.
"""

import os
import stat
import sys
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path

STDOUT = "-"
_STDERR = 2
_WAITING = 8 << 20  # bytes that wait for a pipe's reader at most
_PATIENCE = 5.0  # seconds that it has in the end
_OPEN = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC

Parts = Sequence[bytes | memoryview]


class CaptureError(Exception):
    """A capture that cannot begin or go on: one sentence."""


class Sink:
    """Takes blocks; `head` is what each file begins with, `tail` what it ends with."""

    head = b""

    def put(self, parts: Parts) -> bool:
        """Write the parts of one block; False if it was dropped. Raises CaptureError."""
        raise NotImplementedError

    def close(self, tail: bytes) -> None:
        """Write what is left, and `tail`. Raises CaptureError."""
        raise NotImplementedError


class FileSink(Sink):
    """A file; with `limit` bytes in it the next one begins: NAME-1.pcapng, NAME-2.pcapng.

    Of those the last `keep` stay, all if that is 0.
    """

    def __init__(self, path: Path, limit: int = 0, keep: int = 0, number: int = -1):
        """`number`: a descriptor of the file, if it is open already."""
        self._path = path
        self._limit, self._keep = limit, keep
        self._count = 0
        self._written: deque[Path] = deque()
        self._file = number
        self._size = self._base = 0  # bytes written, and where in the file they begin
        if number < 0:
            self._open(path)
        else:
            self._base = os.lseek(number, 0, os.SEEK_CUR)

    def put(self, parts: Parts) -> bool:
        size = sum(map(len, parts))
        if self._limit and self._size > len(self.head) and self._size + size > self._limit:
            self._shut()
            self._count += 1
            name = f"{self._path.stem}-{self._count}{self._path.suffix}"
            self._open(self._path.with_name(name))
        if not self._size:
            self._write([self.head], len(self.head))
        self._write(parts, size)
        return True

    def close(self, tail: bytes) -> None:
        if self._file < 0:
            return
        try:
            self.put([tail])
        finally:
            self._shut()

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self, path: Path) -> None:
        try:
            self._file = os.open(path, _OPEN, 0o666)
            self._size = 0
            self._written.append(path)
            if self._keep and len(self._written) > self._keep:
                self._written.popleft().unlink(missing_ok=True)
        except OSError as error:
            raise CaptureError(f"{path}: {error.strerror}") from None

    def _write(self, parts: Parts, size: int) -> None:
        try:
            done = os.writev(self._file, parts)
            if done < size:  # a disk that is full takes what it has room for, and then nothing
                rest = memoryview(b"".join(parts))[done:]
                while rest:
                    rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._take_back()
            where = f"{self._written[-1] if self._written else 'standard output'}"
            raise CaptureError(f"{where}: {error.strerror}") from None
        self._size += size

    def _take_back(self) -> None:
        """Of a block that is there in part only nothing stays."""
        try:
            os.ftruncate(self._file, self._base + self._size)
        except OSError:
            pass  # what is wrong with the file is said already
        self._shut()


class PipeSink(Sink):
    """A pipe, a terminal's program, a socket: a thread of its own waits for the reader."""

    def __init__(self, number: int, what: str):
        """`number`: its descriptor, `what` it is called."""
        self._number, self._what = number, what
        self._changed = threading.Condition()
        self._blocks: deque[bytes] = deque()
        self._waiting = 0  # bytes in them
        self._begun = self._over = False
        self._error = ""
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def put(self, parts: Parts) -> bool:
        with self._changed:
            if self._error:
                raise CaptureError(self._error)
            if not self._begun:
                self._begun = True
                self._append(self.head)
            size = sum(map(len, parts))
            if self._waiting + size > _WAITING:
                return False
            self._append(b"".join(parts))
            return True

    def close(self, tail: bytes) -> None:
        if self._over:
            return
        try:
            self.put([tail])
        finally:
            with self._changed:
                self._over = True
                self._changed.notify()
            self._thread.join(_PATIENCE)

    def _append(self, block: bytes) -> None:
        self._blocks.append(block)
        self._waiting += len(block)
        self._changed.notify()

    def _run(self) -> None:
        try:
            while block := self._next():
                rest = memoryview(block)
                while rest:
                    rest = rest[os.write(self._number, rest) :]
        except BrokenPipeError:
            self._error = f"{self._what}: its reader has gone"
        except OSError as error:
            self._error = f"{self._what}: {error.strerror}"
        finally:
            if self._number > _STDERR:
                os.close(self._number)

    def _next(self) -> bytes:
        """What is to be written; nothing: that was all."""
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._over)
            data = b"".join(self._blocks)
            self._blocks.clear()
            self._waiting = 0
            return data


def open_sink(path: str, limit: int = 0, keep: int = 0) -> Sink:
    """The sink for a file's name, or "-" for standard output. Raises CaptureError."""
    if path == STDOUT:
        number = sys.stdout.fileno()
        if os.isatty(number):
            what = "standard output is a terminal: give a file's name, or pipe it into tshark -i -"
            raise CaptureError(what)
        regular = stat.S_ISREG(os.fstat(number).st_mode)
        what = "standard output"
        return FileSink(Path(path), number=number) if regular else PipeSink(number, what)
    try:
        if Path(path).is_fifo():
            return PipeSink(os.open(path, os.O_WRONLY | os.O_CLOEXEC), path)
    except OSError as error:
        raise CaptureError(f"{path}: {error.strerror}") from None
    return FileSink(Path(path), limit, keep)
