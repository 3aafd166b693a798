# SPDX-License-Identifier: MIT
"""Reads captures of vsock, whoever wrote them: pcapng and pcap, of either byte order, from files
or as they come."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from mpfw.capture.sinks import CaptureError
from mpfw.capture.writer import IN, OUT
from mpfw.device.firmware import module

_p = module("vsock.pcapng")
_PCAP = {b"\xa1\xb2\xc3\xd4": (">", 1000), b"\xa1\xb2\x3c\x4d": (">", 1)} | {
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}  # magic -> byte order, nanoseconds of a tick
_PCAP_HEAD, _PCAP_PACKET = 24, 16  # bytes
_LINK_MASK = 0xFFFF
_MOST = 1 << 24  # bytes of a block that can be meant
_LENGTH_AT = 28  # in the monitor's header: of the packet's
_BINARY = 0x80  # of a resolution: a power of two
_MICROSECOND = 1000


@dataclass(frozen=True)
class Record:
    """One packet of a capture."""

    when_ns: int  # since 1970
    direction: str  # IN, OUT as whoever captured saw it; "" if the file does not say
    header: bytes  # the packet's, all that there was of it; b"" if it is not virtio's
    payload: bytes  # as much as the capture has of it
    length: int  # bytes of payload that there were
    dropped: int  # packets that were lost before this one
    monitor: bytes  # what the capture says before the header


@dataclass
class _Interface:
    link: int
    tick: int  # nanoseconds; 0: `per` of them are a second
    per: int = 0

    def nanoseconds(self, ticks: int) -> int:
        return ticks * self.tick if self.tick else ticks * 10**9 // self.per


def read(file: BinaryIO) -> Iterator[Record]:
    """The packets in a capture. Raises CaptureError where it is none, or ends in the middle."""
    magic = file.read(4)
    if magic in _PCAP:
        yield from _read_pcap(file, *_PCAP[magic])
    elif magic == struct.pack("<I", _p.SECTION):
        yield from _Sections(file).records()
    else:
        raise CaptureError("this is no capture: neither pcapng nor pcap")


def _read_pcap(file: BinaryIO, order: str, tick: int) -> Iterator[Record]:
    link = struct.unpack(order + "I", _exactly(file, _PCAP_HEAD - 4)[-4:])[0] & _LINK_MASK
    _check(link)
    while head := file.read(_PCAP_PACKET):
        if len(head) < _PCAP_PACKET:
            raise CaptureError("the capture ends within a packet")
        seconds, fraction, kept, whole = struct.unpack(order + "4I", head)
        data = _exactly(file, kept)
        yield _record(seconds * 10**9 + fraction * tick, "", data, whole, 0)


class _Sections:
    """The blocks of a pcapng file."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._order = "<"
        self._interfaces: list[_Interface] = []

    def records(self) -> Iterator[Record]:
        kind = _p.SECTION
        while True:
            content = self._section() if kind == _p.SECTION else self._block()
            if kind == _p.INTERFACE:
                self._interfaces.append(self._interface(content))
            elif kind == _p.PACKET:
                yield self._packet(content)
            head = self._file.read(4)
            if not head:
                return
            kind = self._number(head + bytes(4 - len(head)))

    def _number(self, word: bytes) -> int:
        number: int = struct.unpack(self._order + "I", word)[0]
        return number

    def _section(self) -> bytes:
        """A section's head, which says in which byte order it is."""
        size, magic = _exactly(self._file, 4), _exactly(self._file, 4)
        self._order = "<" if struct.unpack("<I", magic)[0] == _p.BYTE_ORDER else ">"
        self._interfaces = []
        return self._rest(self._number(size) - 4)

    def _block(self) -> bytes:
        return self._rest(self._number(_exactly(self._file, 4)))

    def _rest(self, size: int) -> bytes:
        """What is in a block of which type and length have been read."""
        if not _p.AROUND <= size <= _MOST or size % 4:
            raise CaptureError(f"the capture is damaged: a block of {size} bytes")
        return _exactly(self._file, size - 8)[:-4]

    def _interface(self, content: bytes) -> _Interface:
        link = struct.unpack_from(self._order + "H", content)[0]
        value = self._options(content[8:]).get(_p.INTERFACE_RESOLUTION, b"\x06")[0]
        if value & _BINARY:
            return _Interface(link, 0, 1 << (value & ~_BINARY))
        if value > _p.NANOSECONDS:
            return _Interface(link, 0, 10**value)
        return _Interface(link, 10 ** (_p.NANOSECONDS - value))

    def _packet(self, content: bytes) -> Record:
        number, high, low, kept, whole = struct.unpack_from(self._order + "5I", content)
        if number >= len(self._interfaces) or kept > len(content) - 20:
            raise CaptureError("the capture is damaged: a packet that cannot be")
        interface = self._interfaces[number]
        _check(interface.link)
        options = self._options(content[20 + (kept + 3 & ~3) :])
        flags = self._number(options.get(_p.PACKET_FLAGS, bytes(4))) & 3
        direction = {_p.INBOUND: IN, _p.OUTBOUND: OUT}.get(flags, "")
        lost = struct.unpack(self._order + "Q", options.get(_p.PACKET_DROPPED, bytes(8)))[0]
        when = interface.nanoseconds(high << 32 | low)
        return _record(when, direction, content[20 : 20 + kept], whole, lost)

    def _options(self, data: bytes) -> dict[int, bytes]:
        found = {}
        while len(data) >= 4:
            code, length = struct.unpack_from(self._order + "HH", data)
            if code == _p.OPT_END:
                break
            found[code] = data[4 : 4 + length]
            data = data[4 + (length + 3 & ~3) :]
        return found


def _record(when: int, direction: str, data: bytes, whole: int, dropped: int) -> Record:
    if len(data) < _p.MONITOR_LEN:
        raise CaptureError("the capture is damaged: a packet without the monitor's header")
    monitor, rest = data[: _p.MONITOR_LEN], data[_p.MONITOR_LEN :]
    transport, length = struct.unpack_from("<HH", monitor, _LENGTH_AT - 2)
    if transport != _p.TRANSPORT_VIRTIO:
        return Record(when, direction, b"", b"", 0, dropped, monitor)
    behind = max(0, whole - _p.MONITOR_LEN - length)
    return Record(when, direction, rest[:length], rest[length:], behind, dropped, monitor)


def _check(link: int) -> None:
    if link != _p.LINK_VSOCK:
        raise CaptureError(f"this is a capture of something else: its link type is {link}")


def _exactly(file: BinaryIO, n: int) -> bytes:
    data = b""
    while len(data) < n:
        part = file.read(n - len(data))
        if not part:
            raise CaptureError("the capture ends within a packet")
        data += part
    return data
