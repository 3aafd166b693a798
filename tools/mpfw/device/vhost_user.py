# SPDX-License-Identifier: MIT
"""The vhost-user protocol, the back end's part: QEMU asks over a Unix socket, a device answers.

QEMU's docs/interop/vhost-user.rst has the messages. What the device is for is not known here: a
`Served` gets rings that run, and is told of notifications.
"""

import os
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

from mpfw.device.memory import GuestMemory, MemoryFault, Region
from mpfw.device.rings import Ring

# Requests of the front end.
GET_FEATURES, SET_FEATURES, SET_OWNER, RESET_OWNER = 1, 2, 3, 4
SET_MEM_TABLE = 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE = 8, 9, 10, 11
SET_VRING_KICK, SET_VRING_CALL, SET_VRING_ERR = 12, 13, 14
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM = 15, 16, 17
SET_VRING_ENABLE = 18
SET_BACKEND_REQ_FD = 21
GET_CONFIG, SET_CONFIG = 24, 25

CONFIG_CHANGE_MSG = 2  # a request of the back end, on its own socket

F_PROTOCOL_FEATURES = 1 << 30  # beside the device's feature bits
PROTOCOL_F_MQ = 1 << 0
PROTOCOL_F_REPLY_ACK = 1 << 3
PROTOCOL_F_BACKEND_REQ = 1 << 5
PROTOCOL_F_CONFIG = 1 << 9

_HEADER = struct.Struct("<III")  # request, flags, bytes of payload
_VERSION, _VERSION_MASK, _REPLY, _NEED_REPLY = 0x1, 0x3, 0x4, 0x8
_NO_FD = 0x100  # beside a ring's number: no descriptor came
_MOST_FDS = 16
_MOST_BYTES = 4096  # of a message's payload; the longest that we know has 264
_MOST_CONFIG = 256  # bytes of it that a message has
_MOST_QUEUES = 256
_MOST_ENTRIES = 32768  # of a queue (2.7)
_OFFERED = PROTOCOL_F_MQ | PROTOCOL_F_REPLY_ACK | PROTOCOL_F_BACKEND_REQ | PROTOCOL_F_CONFIG
_U64, _STATE, _ADDR = struct.Struct("<Q"), struct.Struct("<II"), struct.Struct("<II4Q")
_REGION, _CONFIG = struct.Struct("<4Q"), struct.Struct("<III")


class ProtocolError(Exception):
    """QEMU said something that this back end does not understand; or it hung up."""


class Served(Protocol):
    """The device behind the protocol."""

    features: int  # bits that it offers
    config: bytes

    def accept(self, features: int) -> None:
        """The driver has taken these."""

    def start_ring(self, index: int, ring: Ring) -> None:
        """A queue runs now, or has a new call descriptor."""

    def stop_ring(self, index: int) -> None:
        """It runs no more: nobody touches it from now on."""


class _Vring:
    """What QEMU has said about one queue."""

    def __init__(self) -> None:
        self.size = self.base = 0
        self.addresses: tuple[int, int, int] | None = None  # desc, avail, used
        self.kick = self.call = self.err = -1
        self.ring: Ring | None = None


class BackEnd:
    """One front end's connection; serve() answers one message."""

    def __init__(self, connection: socket.socket, served: Served, most: int = _MOST_ENTRIES):
        """`most`: entries that a queue may have."""
        self.connection = connection
        self.hung_up = False  # by QEMU
        self._most = most
        self._served = served
        self._memory = GuestMemory()
        self._features = 0
        self._came, self._fds = bytearray(), list[int]()  # of the message that is coming
        self._vrings: dict[int, _Vring] = {}
        self._requests: socket.socket | None = None  # ours to QEMU
        self._handlers: dict[int, Callable[[bytes, list[int]], bytes | None]] = {
            GET_FEATURES: lambda _, fds: _U64.pack(served.features | F_PROTOCOL_FEATURES),
            SET_FEATURES: self._set_features,
            SET_OWNER: lambda _, fds: None,
            RESET_OWNER: lambda _, fds: None,
            SET_MEM_TABLE: self._set_memory,
            SET_VRING_NUM: self._set_size,
            SET_VRING_ADDR: self._set_addresses,
            SET_VRING_BASE: self._set_base,
            GET_VRING_BASE: self._stop,
            SET_VRING_KICK: self._set_kick,
            SET_VRING_CALL: self._set_call,
            SET_VRING_ERR: self._set_err,
            GET_PROTOCOL_FEATURES: lambda _, fds: _U64.pack(_OFFERED),
            SET_PROTOCOL_FEATURES: self._set_protocol,
            GET_QUEUE_NUM: lambda _, fds: _U64.pack(_MOST_QUEUES),
            SET_VRING_ENABLE: lambda _, fds: None,  # QEMU's stop and start say all we need
            SET_BACKEND_REQ_FD: self._set_requests,
            GET_CONFIG: self._get_config,
            SET_CONFIG: lambda _, fds: None,
        }

    @property
    def memory(self) -> GuestMemory:
        """The guest's memory, as QEMU has last told."""
        return self._memory

    def serve(self) -> None:
        """Read a message and answer it; if it is not all there yet, go on at the next call.

        Raises ProtocolError.
        """
        if not self._receive(_HEADER.size):
            return
        request, flags, size = _HEADER.unpack_from(self._came)
        if flags & _VERSION_MASK != _VERSION:
            raise ProtocolError(f"version {flags & _VERSION_MASK} of the protocol")
        if size > _MOST_BYTES:
            raise ProtocolError(f"a message of {size} bytes, at most {_MOST_BYTES} are known")
        if not self._receive(_HEADER.size + size):
            return
        payload, self._came = bytes(self._came[_HEADER.size :]), bytearray()
        fds, self._fds = self._fds, []
        handler = self._handlers.get(request)
        try:
            if handler is None:
                raise ProtocolError(f"message {request} is unknown here")
            answer = handler(payload, fds)
        except MemoryFault as error:
            raise ProtocolError(f"a queue outside of memory: {error}") from None
        finally:
            _close(fds)  # what nobody has taken
        if answer is None and flags & _NEED_REPLY:
            answer = _U64.pack(0)
        if answer is not None:
            self._answer(_HEADER.pack(request, _VERSION | _REPLY, len(answer)) + answer)

    def config_changed(self) -> None:
        """Tell QEMU that the configuration is another one: it asks for it and tells the guest."""
        if self._requests is None:
            raise ProtocolError("QEMU has not said where it takes requests")
        self._requests.sendall(_HEADER.pack(CONFIG_CHANGE_MSG, _VERSION, 0))

    def close(self) -> None:
        """Stop all queues and hang up."""
        for index in list(self._vrings):
            self._halt(index)
            vring = self._vrings.pop(index)
            _close([fd for fd in (vring.kick, vring.call, vring.err) if fd >= 0])
        if self._requests is not None:
            self._requests.close()
        _close(self._fds)
        self._fds = []
        self._memory.place([])
        self.connection.close()

    def _answer(self, message: bytes) -> None:
        try:
            # Others are served meanwhile: who does not read his answers is not waited for.
            self.connection.sendall(message, socket.MSG_DONTWAIT)
        except BlockingIOError:
            raise ProtocolError("QEMU does not read the answers to its messages") from None
        except OSError as error:
            self.hung_up = True
            raise ProtocolError(f"QEMU hung up: {error}") from None

    # -- messages ---------------------------------------------------------------------------------

    def _receive(self, n: int) -> bool:
        """Read on until `n` bytes of the message are here; False: they are not yet.

        Descriptors come with a message's first byte.
        """
        while len(self._came) < n:
            missing = n - len(self._came)
            try:
                # Not recv_fds, which forgets its flags in CPython 3.11.
                more, sent, _, _ = self.connection.recvmsg(
                    missing, socket.CMSG_LEN(4 * _MOST_FDS), socket.MSG_DONTWAIT
                )
            except BlockingIOError:
                return False
            except OSError as error:
                self.hung_up = True
                raise ProtocolError(f"QEMU hung up: {error}") from None
            for level, kind, data in sent:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    self._fds += struct.unpack(f"{len(data) // 4}i", data)
            if not more:
                self.hung_up = True
                raise ProtocolError("QEMU hung up")
            self._came += more
        return True

    def _set_features(self, payload: bytes, fds: list[int]) -> None:
        asked = _unpack(_U64, payload)[0] & ~F_PROTOCOL_FEATURES
        if asked & ~self._served.features:
            raise ProtocolError(f"features {asked:#x}: {self._served.features:#x} are offered")
        self._features = asked
        self._served.accept(self._features)

    def _set_protocol(self, payload: bytes, fds: list[int]) -> None:
        asked = _unpack(_U64, payload)[0]
        if asked & ~_OFFERED:
            raise ProtocolError(f"protocol features {asked:#x}: {_OFFERED:#x} are offered")

    def _set_memory(self, payload: bytes, fds: list[int]) -> None:
        count = _unpack(_STATE, payload)[0]
        if len(fds) != count:
            raise ProtocolError(f"{count} regions of memory with {len(fds)} descriptors")
        regions = []
        try:
            for number, descriptor in enumerate(fds):
                where = _REGION.unpack_from(payload, _STATE.size + number * _REGION.size)
                regions.append(Region.map(descriptor, *where))
        except (OSError, ValueError, OverflowError, struct.error) as error:
            raise ProtocolError(f"memory that cannot be mapped: {error}") from None
        self._memory.place(regions)

    def _vring(self, index: int) -> _Vring:
        if index >= _MOST_QUEUES:
            raise ProtocolError(f"queue {index}: there are {_MOST_QUEUES}")
        return self._vrings.setdefault(index, _Vring())

    def _set_size(self, payload: bytes, fds: list[int]) -> None:
        index, size = _unpack(_STATE, payload)
        if not 0 < size <= self._most:
            raise ProtocolError(f"a queue of {size} entries: {self._most} at most")
        self._vring(index).size = size

    def _set_base(self, payload: bytes, fds: list[int]) -> None:
        index, base = _unpack(_STATE, payload)
        self._vring(index).base = base & 0xFFFF

    def _set_addresses(self, payload: bytes, fds: list[int]) -> None:
        index, _, desc, used, avail, _ = _unpack(_ADDR, payload)
        self._vring(index).addresses = desc, avail, used

    def _set_kick(self, payload: bytes, fds: list[int]) -> None:
        index, kick = _descriptor(payload, fds)
        vring = self._vring(index)
        self._halt(index)
        if vring.kick >= 0:
            os.close(vring.kick)
        vring.kick = kick
        if vring.addresses is None or kick < 0:
            return
        if not vring.size:
            raise ProtocolError(f"queue {index} starts without a size")
        vring.ring = Ring(self._memory, vring.size, *vring.addresses, vring.base)
        vring.ring.event_idx = bool(self._features & F_EVENT_IDX)
        vring.ring.kick, vring.ring.call, vring.ring.err = kick, vring.call, vring.err
        self._served.start_ring(index, vring.ring)

    def _set_call(self, payload: bytes, fds: list[int]) -> None:
        index, call = _descriptor(payload, fds)
        vring = self._vring(index)
        old, vring.call = vring.call, call
        if vring.ring is not None:
            vring.ring.call = call
            vring.ring.ring()  # one may have gone to the old descriptor
        if old >= 0:
            os.close(old)

    def _set_err(self, payload: bytes, fds: list[int]) -> None:
        index, err = _descriptor(payload, fds)
        vring = self._vring(index)
        old, vring.err = vring.err, err
        if vring.ring is not None:
            vring.ring.err = err
        if old >= 0:
            os.close(old)

    def _stop(self, payload: bytes, fds: list[int]) -> bytes:
        index, _ = _unpack(_STATE, payload)
        vring = self._vring(index)
        self._halt(index)
        return _STATE.pack(index, vring.base)

    def _halt(self, index: int) -> None:
        vring = self._vring(index)
        if vring.ring is not None:
            self._served.stop_ring(index)
            vring.base = vring.ring.taken
            ring = vring.ring
            ring.kick = ring.call = ring.err = -1  # somebody may still have it
            vring.ring = None

    def _set_requests(self, payload: bytes, fds: list[int]) -> None:
        if len(fds) != 1:
            raise ProtocolError(f"{len(fds)} descriptors for our requests")
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        try:
            self._requests = socket.socket(fileno=fds[0])
        except OSError as error:
            raise ProtocolError(f"a descriptor for our requests: {error}") from None
        fds.clear()

    def _get_config(self, payload: bytes, fds: list[int]) -> bytes:
        offset, size, flags = _unpack(_CONFIG, payload)
        if size > _MOST_CONFIG:
            raise ProtocolError(f"{size} bytes of configuration: {_MOST_CONFIG} at most")
        data = self._served.config[offset : offset + size]
        return _CONFIG.pack(offset, size, flags) + data.ljust(size, b"\0")


F_EVENT_IDX = 1 << 29  # virtio 1.2, chapter 6


def _unpack(form: struct.Struct, payload: bytes) -> tuple[Any, ...]:
    if len(payload) < form.size:
        raise ProtocolError(f"a payload of {len(payload)} bytes, {form.size} are due")
    return form.unpack_from(payload)


def _descriptor(payload: bytes, fds: list[int]) -> tuple[int, int]:
    """A ring's number and the descriptor that came for it, -1 if none did."""
    value: int = _unpack(_U64, payload)[0]
    if value & _NO_FD or not fds:
        return value & 0xFF, -1
    kind = os.readlink(f"/proc/self/fd/{fds[0]}")
    if kind != "anon_inode:[eventfd]":  # others may block, or cannot be waited for
        raise ProtocolError(f"queue {value & 0xFF} gets {kind}, which is no eventfd")
    return value & 0xFF, fds.pop(0)


def _close(fds: list[int]) -> None:
    for descriptor in fds:
        os.close(descriptor)
