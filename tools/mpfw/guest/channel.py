# SPDX-License-Identifier: MIT
"""The host's half of a program's channel: a virtio-console whose ports are its standard streams.

The guest's half is mpy_modules/runner.py; docs/run.md has the protocol, and the statuses.
"""

import struct
from collections.abc import Iterator

IO_PORT = "mpfw.io"  # standard output; standard input the other way
ERR_PORT = "mpfw.err"  # frames: standard error, status
PORTS = (IO_PORT, ERR_PORT)
CAPTURE_PORT = "mpfw.capture"  # of a virtio-console of its own, behind the program's

# Kinds of frames from the guest
ERR = 1  # bytes of standard error
STATUS = 2  # le32 status, le64 bytes of standard output in all; the last frame
STARTED = 3  # the script runs
INPUT_WANTED = 4  # it waits for standard input
PLACE = 5  # le64: so many bytes of standard output came before the errors that follow
# and to it
EOF = 1  # le64: so many bytes are all of standard input

# Exit statuses that are not the script's
RESET = 122  # machine.reset()
CRASHED = 123  # a CPU exception ended it
TIMED_OUT = 124
OURS = 125  # there was no guest, or it did not get as far as the script
SIGNALLED = 128  # and the signal's number

_HEADER = struct.Struct("<II")
_STATUS = struct.Struct("<IQ")


class Frames:
    """Frames out of a stream of bytes."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._left = 0  # bytes of standard error that belong to the frame which came last

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What `data` completes: (kind, bytes). Standard error comes as it does, in parts."""
        self._data += data
        while self._data:
            if self._left:
                part = bytes(self._data[: self._left])
                del self._data[: self._left]
                self._left -= len(part)
                yield ERR, part
                continue
            if len(self._data) < _HEADER.size:
                return
            kind, length = _HEADER.unpack_from(self._data)
            end = _HEADER.size + (0 if kind == ERR else length)
            if end > len(self._data):
                return
            payload = bytes(self._data[_HEADER.size : end])
            del self._data[:end]
            if kind == ERR:
                self._left = length
            else:
                yield kind, payload


def devices(*ports: str) -> list[str]:
    """QEMU's options for some of the ports, whose chardevs have the same names, and for the exit
    status."""
    options = ["-device", "virtio-serial-pci,max_ports=3"]
    for number, name in enumerate(ports, 1):
        options += ["-device", f"virtserialport,chardev={name},name={name},nr={number}"]
    return [*options, "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]


def capture() -> list[str]:
    """QEMU's options for a capture's port, whose chardev has the same name."""
    name = CAPTURE_PORT
    port = f"virtserialport,bus=capture.0,chardev={name},name={name},nr=1"
    return ["-device", "virtio-serial-pci,id=capture,max_ports=2", "-device", port]


def status(payload: bytes) -> tuple[int, int]:
    """What a STATUS frame says: the exit status, the bytes of standard output in all."""
    code, written = _STATUS.unpack(payload)
    return code, written


def place(payload: bytes) -> int:
    """What a PLACE frame says."""
    return int.from_bytes(payload, "little")


def end_of_input(count: int) -> bytes:
    """The frame that says that `count` bytes are all of standard input."""
    return _HEADER.pack(EOF, 8) + struct.pack("<Q", count)
