# SPDX-License-Identifier: MIT
"""What socket.makefile() returns: a file object over a socket, in bytes or in text (UTF-8)."""


class SocketFile:
    """Reads are not buffered: nothing is taken from the socket that was not asked for."""

    def __init__(self, sock, mode, encoding):
        for letter in mode:
            if letter not in "rwb":
                raise ValueError("invalid mode %r (only r, w, b allowed)" % mode)
        self.mode = mode
        self._sock = sock
        self._binary = "b" in mode
        self._reads = "r" in mode or "w" not in mode
        self._writes = "w" in mode
        self._encoding = encoding or "utf-8"
        sock._files += 1

    def __enter__(self):
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

    @property
    def closed(self):
        return self._sock is None

    @property
    def name(self):
        return self._open().fileno()

    def readable(self):
        return self._reads

    def writable(self):
        return self._writes

    def seekable(self):
        return False

    def fileno(self):
        return self._open().fileno()

    def _open(self):
        if self._sock is None:
            raise ValueError("I/O operation on closed file")
        return self._sock

    def _text(self, data):
        if data is None or self._binary:
            return data
        return data.decode(self._encoding)

    def read(self, size=-1):
        """`size` bytes (in text: bytes that make whole characters), or all until the end."""
        sock = self._open()
        if size is None:
            size = -1
        data = sock.read(size)
        if not self._binary and size > 0:
            # Complete the last character, up to three more bytes.
            while data and _incomplete(data):
                more = sock.recv(1)
                if not more:
                    break
                data += more
        return self._text(data)

    def readinto(self, buffer):
        return self._open().readinto(buffer)

    def readline(self, size=-1):
        return self._text(self._open().readline(size))

    def readlines(self, hint=-1):
        return list(self)

    def write(self, data):
        """Send all of it; returns its length."""
        if not self._binary:
            data = data.encode(self._encoding)
        self._open().sendall(data)
        return len(data)

    def writelines(self, lines):
        for line in lines:
            self.write(line)

    def flush(self):
        """Nothing waits here."""

    def close(self):
        """Close; the socket too, if it was waiting for this."""
        sock, self._sock = self._sock, None
        if sock is not None:
            sock._files -= 1
            if sock._close_later and not sock._files:
                sock.close()


def _incomplete(data):
    """True if the bytes end inside a UTF-8 character."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            return back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
        if byte < 0x80:
            return False
    return False
