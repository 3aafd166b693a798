# SPDX-License-Identifier: MIT
"""A device in a thread for a guest of a test: its packets are seen, expected, tampered with."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mpfw.device.faults.injector import Injector
from mpfw.device.faults.rules import DIRECTIONS, Rule, from_mapping, matching
from mpfw.device.packets import Packet
from mpfw.device.settings import VHOST_USER, Settings
from mpfw.device.switch import Switch
from mpfw.guest import carriers
from mpfw.guest.vsockhost import GUEST_CID, DatagramVsock, VhostUserVsock
from mpfw.trace.tracer import OPS

_WORDS = {number: word for word, number in DIRECTIONS.items()}
_OP_NAMES = {number: name for name, number in OPS.items()}
_SHOWN = 50  # packets in a report


class NotSeen(AssertionError):
    """A packet that was expected has not passed: which, and what has."""


@dataclass(frozen=True)
class Seen:
    """A packet as the guest has sent it, or as it came to the guest; `packet` has the header's
    fields by their names."""

    direction: str  # "to-guest", "from-guest"
    packet: Any

    @property
    def op(self) -> str:
        """Its operation by name."""
        return _OP_NAMES.get(self.packet.op, f"op {self.packet.op}")

    @property
    def payload(self) -> bytes:
        """Its data."""
        data: bytes = self.packet.payload()
        return data

    def __str__(self) -> str:
        return f"{self.direction} {self.packet!r}"


class ScriptedDevice(DatagramVsock):
    """`mpfw device` in a thread of this process, what mpfw.Guest takes as `device`.

    Any thread may use it, before the guest is started and while it runs. `packets` are all that
    have passed, `rules` those in force, `log` what they did.
    """

    kind = "device"
    name = "mpfw device"

    def __init__(self, seed: int = 0, cid: int = GUEST_CID, carrier: str = ""):
        """`seed`: of the rules' random numbers. `carrier`: a device of QEMU's that passes on what
        `vhost-user-vsock-pci` keeps, a key of carriers.CARRIERS."""
        super().__init__(carrier, cid=cid)
        self.packets: list[Seen] = []
        self.said: list[str] = []  # what `mpfw device` would say on standard error
        self._faults = Injector(seed)
        self._passed = threading.Condition()
        self._expected = 0  # packets that expect() has been through
        self._switch: Switch | None = None
        self._thread: threading.Thread | None = None

    # -- for tests --------------------------------------------------------------------------------

    def fault(self, do: str, **keys: Any) -> Rule:
        """A rule more, by the keys that docs/faults.md has, from now on. Raises RuleError."""
        number = len(self._faults.rules) + 1
        rule = from_mapping({"do": do, **keys}, f"fault {number}", number, self._faults.seed)
        self._faults.rules.append(rule)
        return rule

    def heal(self) -> None:
        """No rules any more; packets that wait go on when their time comes."""
        self._faults.rules.clear()

    @property
    def rules(self) -> list[Rule]:
        return list(self._faults.rules)

    @property
    def faults(self) -> list[str]:
        """What rules have done, a line each."""
        return list(self._faults.log)

    def expect(self, op: str | None = None, timeout: float = 10, **keys: Any) -> Seen:
        """The next packet, behind the one that was expected before, with this `op` and what else
        `keys` say: direction, guest_port, peer_port. Waits up to `timeout` seconds for it.

        Raises NotSeen, and RuleError if the keys are none.
        """
        wanted = keys if op is None else {"op": op, **keys}
        match = matching(wanted, "expect")
        with self._passed:

            def found() -> Seen | None:
                while self._expected < len(self.packets):
                    seen = self.packets[self._expected]
                    self._expected += 1
                    if match.wants(DIRECTIONS[seen.direction], seen.packet, ""):
                        return seen
                return None

            start = self._expected
            seen = self._passed.wait_for(found, timeout)
            if seen is None:
                self._expected = start
                raise NotSeen(self._missing(wanted, timeout, start))
            return seen

    def _missing(self, wanted: dict[str, Any], timeout: float, start: int) -> str:
        what = ", ".join(f"{key} = {value!r}" for key, value in wanted.items()) or "anything"
        others = "".join(f"\n  {seen}" for seen in self.packets[start:][-_SHOWN:])
        return f"no packet with {what} in {timeout} s; there were:{others or ' none'}"

    # -- what mpfw.Guest asks ---------------------------------------------------------------------

    @property
    def devices(self) -> tuple[str, ...]:
        return super().devices if self.carrier else VhostUserVsock.devices.__get__(self)

    @property
    def options(self) -> tuple[str, ...]:
        return super().options if self.carrier else VhostUserVsock.options.__get__(self)

    def start(self, directory: Path) -> None:
        self._control = directory / f"vhost-user-{self.cid}"
        self._path = directory / f"vsock-{self.cid}"
        spoken = carriers.CARRIERS.get(self.carrier, VHOST_USER)
        settings = Settings(self.cid, str(self._control), str(self._path), carrier=spoken)
        self._switch = Switch([settings], self.said.append, self._faults)
        self._switch.tap(self._see)
        self._switch.open()
        self._thread = threading.Thread(target=self._switch.run, name="mpfw device", daemon=True)
        self._thread.start()
        self.connect()

    def stop(self) -> None:
        if self._switch is not None and self._thread is not None:
            self._switch.stop()
            self._thread.join()
            self._switch.close()
            self._switch = self._thread = None

    def log(self) -> str:
        """What a report says of it."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield from map(str, self.packets[-_SHOWN:])
        yield from self.faults[-_SHOWN:]
        yield from self.said

    def _see(self, direction: int, header: memoryview, views: list[memoryview]) -> None:
        packet = Packet(b"".join(views))
        packet.header[:] = header
        with self._passed:
            self.packets.append(Seen(_WORDS[direction], packet))
            self._passed.notify_all()
