# SPDX-License-Identifier: MIT
"""QEMU's multi-process protocol: serves a pci.Function to its `x-pci-proxy-dev` (QEMU 7.2).

Messages come over a socket, one after the other: configuration accesses, BAR accesses by bus
address, the guest's memory by descriptor, reset. There is no MSI, and without KVM no interrupt at
all; but every byte that the guest reads of the device is ours, the BAR registers included.
"""

import errno
import os
import socket
import struct
import threading

from mpfw.device.memory import GuestMemory, Region
from mpfw.device.pci import Function

_SYNC_MEMORY, _RETURN, _CONFIG_WRITE, _CONFIG_READ, _BAR_WRITE, _BAR_READ, _IRQ, _RESET = range(8)
_HEADER = struct.Struct("<i4xQ")  # command, bytes that follow
_REPLY = struct.Struct("<i4xQQ")
_CONFIG = struct.Struct("<IIi")  # register, value, bytes
_BAR = struct.Struct("<QQI?3x")  # address, value, bytes, whether it is memory
_DESCRIPTORS = 8  # at most, and as many entries of each of three tables of 64-bit words
_MOST_BYTES = 4096  # of a message; the longest that we know has 192
_ONES = 0xFFFFFFFFFFFFFFFF


class ProxyPeer:
    """The one to whom QEMU speaks, on one end of a socket pair: serves `function`."""

    def __init__(self, function: Function, stream: socket.socket):
        self.memory = GuestMemory()
        self._function = function
        self._stream = stream
        function.bus = self

    def msi(self, entry: int) -> None:
        """There are none here."""

    def write(self, address: int, data: bytes) -> None:
        """A bus master's write reaches RAM only."""
        self.memory.at(address, len(data))[:] = data

    def close(self) -> None:
        """Nothing is served any more."""
        self._stream.close()

    def serve(self) -> bool:
        """Take one message; False if there will be none. Raises OSError."""
        header, descriptors, _, _ = socket.recv_fds(self._stream, _HEADER.size, _DESCRIPTORS)
        if len(header) < _HEADER.size:
            return False
        command, size = _HEADER.unpack(header)
        if size > _MOST_BYTES:
            raise OSError(errno.EMSGSIZE, f"a message of {size} bytes")
        data = b""
        while len(data) < size:
            piece = self._stream.recv(size - len(data))
            if not piece:
                return False
            data += piece
        try:
            if command == _SYNC_MEMORY:
                self._map(data, descriptors)
            elif command != _IRQ:  # QEMU's irqfd needs KVM
                answer = self._answer(command, data)
                self._stream.sendall(_REPLY.pack(_RETURN, 8, answer & _ONES))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _map(self, data: bytes, descriptors: list[int]) -> None:
        words = struct.unpack(f"<{3 * _DESCRIPTORS}Q", data)
        self.memory.regions = []
        for i, descriptor in enumerate(descriptors):
            start, size, offset = words[i::_DESCRIPTORS]
            self.memory.regions.append(Region.map(descriptor, start, size, start, offset))

    def _answer(self, command: int, data: bytes) -> int:
        function = self._function
        if command in (_CONFIG_READ, _CONFIG_WRITE):
            at, value, size = _CONFIG.unpack(data)
            if command == _CONFIG_READ:
                return function.config_read(at, size)
            function.config_write(at, value, size)
        elif command in (_BAR_READ, _BAR_WRITE):
            address, value, size, _ = _BAR.unpack(data)
            found = function.bar_at(address)
            if found is None:
                return _ONES
            if command == _BAR_READ:
                return function.bar_read(*found, size)
            function.bar_write(*found, value, size)
        elif command == _RESET:
            function.reset()
        return 0


class ProxyServer(ProxyPeer):
    """Serves in a thread of its own, until the other end is closed."""

    def __init__(self, function: Function, stream: socket.socket):
        super().__init__(function, stream)
        self.failure: BaseException | None = None  # what ended it, if it was no hangup
        self._thread = threading.Thread(target=self._run, daemon=True, name="pci-proxy")
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        try:
            self._stream.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join()
        super().close()

    def _run(self) -> None:
        try:
            while self.serve():
                pass
        except OSError:
            pass  # QEMU is gone
        except BaseException as error:
            self.failure = error
            raise
        finally:
            self._stream.close()
