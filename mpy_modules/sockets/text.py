# SPDX-License-Identifier: MIT
"""Text of a socket's file: UTF-8, and the two other encodings that programs ask for."""

_LATIN = ("latin-1", "latin1", "latin_1", "iso-8859-1", "iso8859-1")
_ASCII = ("ascii", "us-ascii")
_UTF_8 = ("utf-8", "utf8", "utf_8")
_UNKNOWN = "\ufffd"


def check(encoding):
    """Raises LookupError for an encoding that is none of these."""
    if encoding.lower() not in _UTF_8 + _LATIN + _ASCII:
        raise LookupError("unknown encoding: %s (utf-8, latin-1 and ascii there are)" % encoding)


def encoded(text, encoding):
    """A text as bytes. Raises UnicodeError."""
    name = encoding.lower()
    if name in _LATIN or name in _ASCII:
        most = 255 if name in _LATIN else 127
        if any(ord(letter) > most for letter in text):
            raise UnicodeError("%s has no such character" % encoding)
        return bytes([ord(letter) for letter in text])
    return text.encode()


def decoded(data, encoding, errors):
    """Bytes as a text. Raises UnicodeError, unless `errors` is "replace" or "ignore"."""
    name = encoding.lower()
    if name in _LATIN:
        return "".join([chr(byte) for byte in data])
    try:
        if name in _ASCII and any(byte > 127 for byte in data):
            raise UnicodeError("%s has no such character" % encoding)
        return str(data, "utf-8")
    except UnicodeError:
        if errors not in ("replace", "ignore"):
            raise
    other = _UNKNOWN if errors == "replace" else ""
    parts = []
    while data:
        size = 1 if name in _ASCII else _size(data[0])
        try:
            parts.append(str(data[:size], "utf-8"))
        except UnicodeError:
            size = 1
            parts.append(other)
        data = data[size:]
    return "".join(parts)


def incomplete(data, encoding):
    """True if the bytes end inside a character."""
    name = encoding.lower()
    if name in _LATIN or name in _ASCII:
        return False
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0xC0:
            return back < _size(byte)
        if byte < 0x80:
            return False
    return False


def _size(byte):
    """Bytes of a character of UTF-8 that begins so."""
    return 1 if byte < 0xC0 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
