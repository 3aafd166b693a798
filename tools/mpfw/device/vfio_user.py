# SPDX-License-Identifier: MIT
"""The vfio-user protocol (QEMU's docs/interop/vfio-user.rst): serves a pci.Function to QEMU's
`vfio-user-pci` (QEMU 10.1 on), with MSI-X and with writes as a bus master.

QEMU emulates the BAR registers, the MSI-X table and the links of the capability list; all other
registers, and everything in BARs but that table, are the function's.
"""

import errno
import os
import socket
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from mpfw.device.memory import GuestMemory, Region
from mpfw.device.pci import Function

# Commands
_VERSION, _DMA_MAP, _DMA_UNMAP, _INFO, _REGION_INFO, _REGION_FDS, _IRQ_INFO, _SET_IRQS = range(
    1, 9
)
_READ, _WRITE, _DMA_READ, _DMA_WRITE, _RESET = range(9, 14)

_HEADER = struct.Struct("<HHIII")  # message id, command, bytes with this, flags, errno
_REPLY, _TYPE, _NO_REPLY, _ERROR = 1, 0xF, 0x10, 0x20
_MAP = struct.Struct("<IIQQQ")  # size, flags, offset in the descriptor, address, bytes
_UNMAP = struct.Struct("<IIQQ")
_DEVICE_INFO = struct.Struct("<IIII")
_REGION = struct.Struct("<IIIIQQ")  # size, flags, index, capabilities, bytes, offset
_IRQ = struct.Struct("<IIII")  # size, flags, index, count
_IRQS = struct.Struct("<IIIII")  # size, flags, index, start, count
_ACCESS = struct.Struct("<QII")  # offset, region, bytes
_DMA = struct.Struct("<QQ")  # address, bytes

_REGIONS = 9  # BARs, ROM, configuration, VGA
_CONFIG = 7
_CONFIG_BYTES = 256
_IRQ_KINDS = 5
_MSIX = 2
_EVENTFD, _NO_RESIZE = 1, 8  # flags of an interrupt's kind
_DATA_NONE, _DATA_EVENTFD = 1, 4  # flags of setting interrupts
_PCI_AND_RESET = 3
_DESCRIPTORS = 16
_MOST_BYTES = 1 << 21  # of a message; we have said that its data have half as many
_PATIENCE = 10.0  # seconds that QEMU has to do a write
CAPABILITIES = b'{"capabilities":{"max_msg_fds":16,"max_data_xfer_size":1048576}}\0'


@dataclass(frozen=True)
class _Message:
    number: int
    command: int
    flags: int
    data: bytes
    descriptors: list[int]


class VfioUserPeer:
    """The one to whom QEMU speaks: serves `function`, with `vectors` entries of MSI-X, on a
    connection of QEMU's, in the thread that made it."""

    def __init__(self, function: Function, stream: socket.socket | None, vectors: int):
        self.memory = GuestMemory()
        self.vectors = vectors
        self._function = function
        self._wires: dict[int, int] = {}  # entry -> eventfd
        self._sending = threading.Lock()
        self._number = 0  # of our last message
        self._unanswered: dict[int, threading.Event] = {}  # writes of ours, by their number
        self._stream = stream
        self._thread = threading.current_thread()
        function.bus = self

    # -- the function's bus -----------------------------------------------------------------------

    def msi(self, entry: int) -> None:
        """Signal an entry of the MSI-X table, if the guest has enabled it."""
        wire = self._wires.get(entry)
        if wire is not None:
            os.eventfd_write(wire, 1)

    def write(self, address: int, data: bytes) -> None:
        """Write as a bus master, anywhere: to the local APIC it is an MSI of one's own.

        Returns when it is done; in the middle of an access at once, since QEMU does nothing else
        until that is answered. Raises OSError if QEMU is gone.
        """
        self._number = self._number % 0xFFFF + 1
        number = self._number
        done = self._unanswered[number] = threading.Event()
        self._send(number, _DMA_WRITE, _DMA.pack(address, len(data)) + data, 0)
        if threading.current_thread() is self._thread:
            return
        if not done.wait(_PATIENCE):
            raise OSError(errno.ETIMEDOUT, "QEMU does not answer a write as a bus master")

    def close(self) -> None:
        """Nothing is served any more."""
        if self._stream is not None:
            self._stream.close()
        for wire in self._wires.values():
            os.close(wire)
        self._wires.clear()

    # -- the wire ---------------------------------------------------------------------------------

    def serve(self) -> bool:
        """Take one message; False if there will be none. Raises OSError."""
        message = self._receive()
        if message is None:
            return False
        if not self._take_reply(message):
            answer = self._answer(message.command, message.data, message.descriptors)
            if not message.flags & _NO_REPLY:
                self._send(message.number, message.command, answer, _REPLY)
        return True

    def _receive(self) -> _Message | None:
        """One message off the wire, None if QEMU has hung up."""
        assert self._stream is not None
        raw, descriptors, _, _ = socket.recv_fds(self._stream, _HEADER.size, _DESCRIPTORS)
        data = raw + self._read(_HEADER.size - len(raw)) if raw else b""
        if len(data) < _HEADER.size:
            return None
        number, command, size, flags, _ = _HEADER.unpack(data)
        if size > _MOST_BYTES:
            raise OSError(errno.EMSGSIZE, f"a message of {size} bytes")
        data = self._read(size - _HEADER.size)
        whole = len(data) == size - _HEADER.size
        return _Message(number, command, flags, data, descriptors) if whole else None

    def _read(self, count: int) -> bytes:
        """So many bytes, or fewer if the wire ends."""
        assert self._stream is not None
        data = b""
        while len(data) < count and (piece := self._stream.recv(count - len(data))):
            data += piece
        return data

    def _take_reply(self, message: _Message) -> bool:
        """Whether the message was the answer to a write of ours."""
        if message.flags & _TYPE != _REPLY:
            return False
        done = self._unanswered.pop(message.number, None)
        if done is not None:
            done.set()
        return True

    def _send(self, number: int, command: int, data: bytes | None, flags: int) -> None:
        """A message; a reply without data is an error."""
        error = errno.ENOTSUP if data is None else 0
        flags |= _ERROR if data is None else 0
        data = data or b""
        header = _HEADER.pack(number, command, _HEADER.size + len(data), flags, error)
        with self._sending:
            if self._stream is not None:
                self._stream.sendall(header + data)

    def _answer(self, command: int, data: bytes, descriptors: list[int]) -> bytes | None:
        """The reply to a command, None for an error; takes the descriptors."""
        if command == _SET_IRQS:
            return self._set_irqs(data, descriptors)
        try:
            return self._answer_plain(command, data, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _answer_plain(self, command: int, data: bytes, descriptors: list[int]) -> bytes | None:
        if command == _VERSION:
            return data[:4] + CAPABILITIES
        if command == _DMA_MAP:
            _, _, offset, address, size = _MAP.unpack(data)
            if descriptors:  # else it is no RAM
                region = Region.map(descriptors[0], address, size, address, offset)
                self.memory.regions.append(region)
            return b""
        if command == _DMA_UNMAP:
            _, _, address, size = _UNMAP.unpack_from(data)
            gone = (address, size)
            left = [one for one in self.memory.regions if (one.guest, one.size) != gone]
            self.memory.regions = left
            return data
        if command == _INFO:
            return _DEVICE_INFO.pack(_DEVICE_INFO.size, _PCI_AND_RESET, _REGIONS, _IRQ_KINDS)
        if command == _REGION_INFO:
            return self._region_info(data)
        if command == _IRQ_INFO:
            _, _, kind, _ = _IRQ.unpack_from(data)
            count = self.vectors if kind == _MSIX else 0
            return _IRQ.pack(_IRQ.size, _EVENTFD | _NO_RESIZE if count else 0, kind, count)
        if command in (_READ, _WRITE):
            return self._access(command, data)
        if command == _RESET:
            self._function.reset()
            return b""
        return None

    def _region_info(self, data: bytes) -> bytes:
        index = _REGION.unpack_from(data)[2]
        size = _CONFIG_BYTES if index == _CONFIG else self._function.bars.get(index, 0)
        flags = 3 if size else 0  # readable, writable
        return _REGION.pack(_REGION.size, flags, index, 0, size, 0)

    def _access(self, command: int, data: bytes) -> bytes:
        offset, region, size = _ACCESS.unpack_from(data)
        function = self._function
        header = data[: _ACCESS.size]
        if command == _WRITE:
            value = int.from_bytes(data[_ACCESS.size :], "little")
            if region == _CONFIG:
                function.config_write(offset, value, size)
            else:
                function.bar_write(region, offset, value, size)
            return header
        if region == _CONFIG:
            value = function.config_read(offset, size)
        else:
            value = function.bar_read(region, offset, size)
        return header + value.to_bytes(size, "little")

    def _set_irqs(self, data: bytes, descriptors: list[int]) -> bytes:
        _, flags, kind, start, count = _IRQS.unpack_from(data)
        ours = kind == _MSIX and (flags & _DATA_EVENTFD or flags & _DATA_NONE and not count)
        entries = range(start, start + count) if count else list(self._wires)
        for entry in entries if ours else ():
            if entry in self._wires:
                os.close(self._wires.pop(entry))
        if ours:
            self._wires.update(zip(range(start, start + count), descriptors, strict=False))
        else:
            for descriptor in descriptors:
                os.close(descriptor)
        return b""


class VfioUserServer(VfioUserPeer):
    """Waits for QEMU at a Unix socket and serves it in a thread of its own until it leaves."""

    def __init__(self, function: Function, path: Path, vectors: int):
        super().__init__(function, None, vectors)
        self.failure: BaseException | None = None  # what ended it, if it was no hangup
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._run, daemon=True, name="vfio-user")
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        for end in (self._listener, self._stream):
            try:
                if end is not None:
                    end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join()
        self._listener.close()
        super().close()

    def _run(self) -> None:
        try:
            self._stream, _ = self._listener.accept()
            with self._stream:
                while self.serve():
                    pass
        except OSError:
            pass  # QEMU is gone, or never came
        except BaseException as error:
            self.failure = error
            raise
