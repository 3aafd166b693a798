# SPDX-License-Identifier: MIT
"""A PCI function that is a process of ours: configuration space and BARs, each access a call.

QEMU's other side is proxy.py or vfio_user.py. What a register answers can be a lie (`lie`): the
table of lies is looked at with every access, and an honest function is one without any.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mpfw.device.memory import GuestMemory

CONFIG = "config"  # the space of configuration registers; a subclass names those in its BARs
COMMAND = 0x04
COMMAND_MEMORY = 2
COMMAND_MASTER = 4
_STATUS = 0x06
_CLASS = 0x08
_HEADER = 0x0E
_BAR0 = 0x10
_SUBSYSTEM = 0x2C
_CAPABILITIES = 0x34
_SPACE = 256

Answer = int | Callable[[int], int]  # what is read; or a function of the honest value


class Bus(Protocol):
    """What a function reaches: the guest's memory, and its interrupts."""

    memory: GuestMemory

    def msi(self, entry: int) -> None:
        """Signal an entry of the MSI-X table; nothing happens where there is none."""

    def write(self, address: int, data: bytes) -> None:
        """Write as a bus master, such as an MSI of one's own. Raises NotImplementedError."""


@dataclass
class Lie:
    """Registers from `at` on, `size` bytes, answer `answer`; `told` counts how often."""

    space: str
    at: int
    size: int
    answer: Answer
    told: int = 0


@dataclass(frozen=True)
class Access:
    """An access by the guest; `value` is what was written, or None for a read."""

    space: str
    at: int
    size: int
    value: int | None


@dataclass
class Record:
    """What the guest did, in order; `keep` may be switched off for floods."""

    accesses: list[Access] = field(default_factory=list)
    keep: bool = True

    def add(self, space: str, at: int, size: int, value: int | None) -> None:
        """Note an access."""
        if self.keep:
            self.accesses.append(Access(space, at, size, value))

    def written(self, space: str, at: int) -> list[int]:
        """The values written to one register, in order."""
        return [
            one.value
            for one in self.accesses
            if one.space == space and one.at == at and one.value is not None
        ]


class Function:
    """One function with 32-bit memory BARs; `bars` is register -> size in bytes.

    `lock` is held while an access is served. `runs` tells whether the guest has begun to look:
    before that QEMU itself reads the registers, and hears no lies.
    """

    def __init__(
        self,
        vendor: int,
        device: int,
        class_code: int,
        bars: dict[int, int],
        lock: threading.Condition | None = None,
    ):
        """`lock`: what is held and notified, if it is shared with somebody."""
        self.lock = lock or threading.Condition()
        self.bus: Bus | None = None
        self.bars = bars
        self.runs = False
        self.lies: list[Lie] = []
        self.record = Record()
        self._config = bytearray(_SPACE)
        self._mask = bytearray(_SPACE)
        self._last_capability = 0
        self.put(0, vendor | device << 16, 4)
        self.put(_CLASS, class_code << 8 | 1, 4)
        self.put(_SUBSYSTEM, 0x1100 << 16 | 0x1AF4, 4)
        self.allow(COMMAND, 2, 0x0407)
        for index, size in bars.items():
            self.allow(_BAR0 + 4 * index, 4, -size)

    # -- making it --------------------------------------------------------------------------------

    def put(self, at: int, value: int, size: int) -> None:
        """Set a register of the configuration."""
        self._config[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")

    def get(self, at: int, size: int) -> int:
        """A register of the configuration, honestly."""
        return int.from_bytes(self._config[at : at + size], "little")

    def allow(self, at: int, size: int, mask: int) -> None:
        """Let the guest write those bits."""
        self._mask[at : at + size] = (mask & (1 << 8 * size) - 1).to_bytes(size, "little")

    def capability(self, at: int, identity: int, data: bytes) -> None:
        """Append a capability, at the register `at`, to the list."""
        self._config[at : at + 2 + len(data)] = bytes([identity, 0]) + data
        self.put(self._last_capability + 1 if self._last_capability else _CAPABILITIES, at, 1)
        self.put(_STATUS, 0x10, 2)
        self._last_capability = at

    def lie(self, space: str, at: int, size: int, answer: Answer) -> Lie:
        """From now on the registers answer so, once the guest runs. Later lies win."""
        told = Lie(space, at, size, answer)
        with self.lock:
            self.lies.append(told)
        return told

    def wait(self, condition: Callable[[], object], timeout: float = 10) -> None:
        """Wait until `condition` holds, looked at after every access. Raises TimeoutError."""
        with self.lock:
            if not self.lock.wait_for(lambda: bool(condition()), timeout):
                raise TimeoutError(f"what was waited for did not come in {timeout} s")

    # -- what QEMU calls --------------------------------------------------------------------------

    def config_read(self, at: int, size: int) -> int:
        """The guest, or QEMU, reads the configuration."""
        with self.lock:
            if (at, size) == (0, 4):  # QEMU itself reads it in other pieces
                self.runs = True
            self.record.add(CONFIG, at, size, None)
            return self.told(CONFIG, at, size, self.get(at, size))

    def config_write(self, at: int, value: int, size: int) -> None:
        """The same, written."""
        with self.lock:
            self.record.add(CONFIG, at, size, value)
            for i, byte in enumerate((value & (1 << 8 * size) - 1).to_bytes(size, "little")):
                mask = self._mask[at + i]
                self._config[at + i] = self._config[at + i] & ~mask | byte & mask

    def bar_read(self, bar: int, offset: int, size: int) -> int:
        """A read inside a BAR."""
        return 0

    def bar_write(self, bar: int, offset: int, value: int, size: int) -> None:
        """A write inside a BAR."""

    def reset(self) -> None:
        """The machine is reset: what the guest has set is gone."""
        with self.lock:
            for i, mask in enumerate(self._mask):
                self._config[i] &= ~mask

    # -- for servers and subclasses ---------------------------------------------------------------

    def bar_at(self, address: int) -> tuple[int, int] | None:
        """The BAR that decodes a bus address, and the offset in it."""
        for bar, size in self.bars.items():
            start = self.get(_BAR0 + 4 * bar, 4) & ~15
            if start <= address < start + size:
                return bar, address - start
        return None

    def told(self, space: str, at: int, size: int, honest: int) -> int:
        """What is read: the honest value, with the bytes of the lies that lie in it."""
        if not self.runs:
            return honest
        value = bytearray(honest.to_bytes(size, "little"))
        for lie in self.lies:
            first, last = max(at, lie.at), min(at + size, lie.at + lie.size)
            if lie.space != space or first >= last:
                continue
            lie.told += 1
            within = int.from_bytes(value[first - at : last - at], "little")
            answer = lie.answer(within) if callable(lie.answer) else lie.answer
            whole = (answer & (1 << 8 * lie.size) - 1).to_bytes(lie.size, "little")
            value[first - at : last - at] = whole[first - lie.at : last - lie.at]
        return int.from_bytes(value, "little")
