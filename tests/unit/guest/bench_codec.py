# SPDX-License-Identifier: MIT
"""What travels to the bench and back: None, numbers, strings, bytes, tuples, lists, dictionaries.

A message is a line of JSON, then all its bytes objects, one behind the other. Runs under CPython
and MicroPython.
"""

import json

_BYTES = "\0"  # the key of a dictionary that stands for a bytes object: its length
_TUPLE = "\1"  # the same for a tuple: a list of what is in it


def plain(value):
    """The same of those types: tuples become lists, other buffers bytes. Else a TypeError."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    raise TypeError("%s does not travel" % type(value).__name__)


def send(stream, value):
    """Write a message."""
    blobs = []
    line = json.dumps(_without_bytes(value, blobs))
    stream.write(b"".join([line.encode(), b"\n"] + blobs))


def receive(stream):
    """Read a message; EOFError if there are no more."""
    line = stream.readline()
    if not line:
        raise EOFError
    return _with_bytes(json.loads(line), stream)


def _without_bytes(value, blobs):
    if isinstance(value, (bytes, bytearray, memoryview)):
        blobs.append(bytes(value))
        return {_BYTES: len(value)}
    if isinstance(value, tuple):
        return {_TUPLE: [_without_bytes(each, blobs) for each in value]}
    if isinstance(value, list):
        return [_without_bytes(each, blobs) for each in value]
    if isinstance(value, dict):
        return {key: _without_bytes(value[key], blobs) for key in sorted(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError("%s does not travel" % type(value).__name__)


def _with_bytes(value, stream):
    if isinstance(value, list):
        return [_with_bytes(each, stream) for each in value]
    if isinstance(value, dict):
        if _BYTES in value:
            return stream.read(value[_BYTES])
        if _TUPLE in value:
            return tuple(_with_bytes(value[_TUPLE], stream))
        return {key: _with_bytes(value[key], stream) for key in sorted(value)}
    return value
