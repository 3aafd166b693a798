# SPDX-License-Identifier: MIT
"""What socket.makefile() returns: a file object over a socket, in bytes or in text, as CPython's.

Reads are not buffered: nothing is taken from the socket that was not asked for. Nor are writes.
"""

import io

from portable import const

from . import numbers as num
from . import text

_CHUNK = const(8192)  # bytes that peek and read1 look at


class SocketFile(io.IOBase):
    """A file in bytes. With `waits` read(n) and readinto go on until there is enough."""

    def __init__(self, sock, reads, writes, waits=True):
        self.mode = ("r" if reads else "") + ("w" if writes else "") + "b"
        self._sock = sock
        self._reads = reads
        self._writes = writes
        self._waits = waits
        self._late = False  # a read has timed out: what it had got is lost
        sock._files += 1

    def __enter__(self):
        self._open()
        return self

    def __exit__(self, *exception):
        self.close()

    def __iter__(self):
        return self

    def __next__(self):
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def __getattr__(self, name):
        # Not properties: see endpoint.py.
        if name == "closed":
            return self._sock is None
        if name == "name":
            return self._open().fileno()
        raise AttributeError(name)

    def readable(self):
        self._open()
        return self._reads

    def writable(self):
        self._open()
        return self._writes

    def seekable(self):
        self._open()
        return False

    def isatty(self):
        self._open()
        return False

    def seek(self, offset, whence=0):
        """A socket cannot: OSError, as is `tell`."""
        raise OSError("underlying stream is not seekable")

    def tell(self):
        raise OSError("underlying stream is not seekable")

    def fileno(self):
        return self._open().fileno()

    def _open(self):
        if self._sock is None:
            raise ValueError("I/O operation on closed file.")
        return self._sock

    # -- reading ----------------------------------------------------------------------------------

    def _take(self, name, *arguments):
        """What a call of the socket reads. Raises OSError once one has timed out."""
        sock = self._open()
        if not self._reads:
            raise OSError("not readable")
        if self._late:
            raise OSError("cannot read from timed out object")
        try:
            return getattr(sock, name)(*arguments)
        except TimeoutError:
            self._late = True
            raise

    def read(self, size=-1):
        """`size` bytes, fewer only at the end; all of them until then. None if it would block."""
        if size is None or size < 0:
            return self._take("read", -1)
        if self._waits or not size:
            data = self._take("read", size)
            return b"" if data is None and not size else data
        return self._take("read_once", size)

    def read1(self, size=-1):
        """What one call of recv gives."""
        return self._take("read_once", _CHUNK if size < 0 else size)

    def peek(self, size=0):
        """What waits, or the next to come, without taking it."""
        return self._take("recv", _CHUNK, num.MSG_PEEK)

    def readinto(self, buffer):
        """Fill a buffer; how many bytes, fewer only at the end. None if it would block."""
        if not self._waits:
            return self._take("readinto", buffer)
        view = memoryview(buffer)
        done = 0
        while done < len(view):
            n = self._take("readinto", view[done:])
            if n is None and not done:
                return None
            if not n:
                break
            done += n
        return done

    def readline(self, size=-1):
        return self._take("readline", -1 if size is None else size)

    def readlines(self, hint=-1):
        """All lines; no more once those have `hint` bytes or characters."""
        lines = []
        done = 0
        for line in self:
            lines.append(line)
            done += len(line)
            if hint is not None and 0 < hint <= done:
                break
        return lines

    # -- writing ----------------------------------------------------------------------------------

    def write(self, data):
        """Send all of it, or without `waits` what goes; how many bytes."""
        sock = self._open()
        if not self._writes:
            raise OSError("not writable")
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        if not self._waits:
            return sock.write(data)
        sock.sendall(data)
        return len(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        """Nothing waits here."""
        self._open()

    def close(self):
        """Close; the socket too, if it was waiting for this."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock._files -= 1
            if sock._close_later and not sock._files:
                sock.close()


class TextFile(SocketFile):
    """A file in text. `newline` is CPython's: None reads every kind of line's end as a newline."""

    def __init__(self, sock, reads, writes, mode, encoding, errors, newline):
        if newline not in (None, "", "\n", "\r", "\r\n"):
            raise ValueError("illegal newline value: %r" % newline)
        encoding = encoding or "utf-8"
        text.check(encoding)
        super().__init__(sock, reads, writes)
        self.mode = mode
        self.encoding = encoding
        self.errors = errors or "strict"
        self._newline = newline
        self._ahead = ""  # read and translated, and not asked for yet

    def _translated(self, data):
        found = text.decoded(data, self.encoding, self.errors)
        if self._newline is None and "\r" in found:
            found = found.replace("\r\n", "\n").replace("\r", "\n")
        return found

    def _more(self, data):
        """A text of `data` and of what must follow: it ends with a whole character or newline."""
        while data and (
            text.incomplete(data, self.encoding) or self._newline is None and data.endswith(b"\r")
        ):
            more = self._take("read_once", 1)
            if not more:
                break
            data += more
        return self._translated(data)

    def read(self, size=-1):
        """`size` characters, fewer only at the end; all of them until then."""
        if size is None or size < 0:
            found = self._ahead + self._translated(super().read() or b"")
            self._ahead = ""
            return found
        while len(self._ahead) < size:
            data = super().read(size - len(self._ahead))
            if not data:
                break
            self._ahead += self._more(data)
        found, self._ahead = self._ahead[:size], self._ahead[size:]
        return found

    def readline(self, size=-1):
        """The next line, `size` characters of it at most."""
        size = -1 if size is None else size
        if "\n" not in self._ahead:
            self._ahead += self._translated(super().readline() or b"")
        end = self._ahead.find("\n") + 1 or len(self._ahead)
        if 0 <= size < end:
            end = size
        line, self._ahead = self._ahead[:end], self._ahead[end:]
        return line

    def write(self, data):
        """Send a text; how many characters."""
        if isinstance(data, bytearray):
            return super().write(data)  # print(file=) and json.dump give UTF-8
        if not isinstance(data, str):
            raise TypeError("write() argument must be str, not %s" % type(data).__name__)
        given = data
        if self._newline in ("\r", "\r\n"):
            given = data.replace("\n", self._newline)
        super().write(text.encoded(given, self.encoding))
        return len(data)


def make(sock, mode, buffering, encoding, errors, newline):
    """The file that makefile() returns. Raises ValueError for other modes than r, w, b."""
    for letter in mode:
        if letter not in "rwb":
            raise ValueError("invalid mode %r (only r, w, b allowed)" % mode)
    writes = "w" in mode
    reads = "r" in mode or not writes
    if "b" in mode:
        return SocketFile(sock, reads, writes, buffering != 0)
    if buffering == 0:
        raise ValueError("unbuffered streams must be binary")
    return TextFile(sock, reads, writes, mode, encoding, errors, newline)
