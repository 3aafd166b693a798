# SPDX-License-Identifier: MIT
"""Batches of level real: tell the lies, be honest again, check."""

import random
import time
import traceback
from collections.abc import Callable

from mpfw.device.host import DeviceHost
from mpfw.device.vsock import DeviceError
from mpfw.fuzz import real_inject
from mpfw.fuzz.cases import Case
from mpfw.fuzz.classes import Outcome
from mpfw.fuzz.real_guest import RealGuest, Wrong
from mpfw.guest.console import ConsoleError
from mpfw.guest.errors import GuestError, RemoteError

_STILL = 15.0  # seconds in which the guest must take something
_PROGRAMS = "programs"
_RINGS = "rings"
_TRIES = 50

Open = Callable[[], RealGuest]
_guests: dict[str, RealGuest] = {}  # one of each kind, for all classes that use it


class RealRunner:
    """Batches of one class; a guest is kept until a batch fails."""

    kind = ""  # of the guest

    def __init__(self, name: str):
        self.name = name

    def open(self) -> RealGuest:
        """Boot a guest of that kind."""
        raise NotImplementedError

    def guest(self) -> RealGuest:
        """The guest of that kind, booted if there is none."""
        if self.kind not in _guests:
            _guests[self.kind] = self.open()
        return _guests[self.kind]

    def tell(self, guest: RealGuest, source: random.Random, count: int) -> int:
        """Tell `count` lies and be honest again; how many were told. Raises Wrong."""
        raise NotImplementedError

    @staticmethod
    def until_it_works(guest: RealGuest) -> None:
        """The echo opens what broke; Ctrl-C in the middle of that is another matter."""
        for _ in range(_TRIES):
            try:
                guest.polite_echo()
                return
            except ConnectionResetError:
                time.sleep(0.02)  # the queues have stopped once more
        raise Wrong("the echo does not come back")

    def run(self, seed: int, count: int, measure: bool) -> Outcome:
        """A batch. What a guest's modules reach is not measured here."""
        done, wrong, detail = 0, "", ""
        try:
            guest = self.guest()
            done = self.tell(guest, random.Random(seed), count)
            guest.check()
        except (Wrong, ConsoleError, DeviceError, GuestError, RemoteError, OSError) as error:
            lines = str(error).splitlines() or [repr(error)]
            wrong = lines[-1 if isinstance(error, RemoteError) else 0]
            detail = traceback.format_exc()
            if self.kind in _guests:
                detail += _guests[self.kind].report()
            self.close()
        failure = Case("real", self.name, seed, count, wrong, detail) if wrong else None
        return Outcome(done or count, failure)

    def repeat(self, case: Case) -> Outcome:
        """The batch of that seed, on a new guest."""
        return self.run(case.seed, case.count, False)

    def close(self) -> None:
        """End the guest, which other classes may have ended."""
        guest = _guests.pop(self.kind, None)
        if guest is not None:
            guest.close()


class Injected(RealRunner):
    """Classes that only write into the queues' memory: over vhost-user."""

    kind = "vhost-user"

    def open(self) -> RealGuest:
        policy = real_inject.Injector()
        guest = RealGuest(DeviceHost(policy), policy)
        guest.serve()
        return guest

    def tell(self, guest: RealGuest, source: random.Random, count: int) -> int:
        policy = guest.policy
        assert isinstance(policy, real_inject.Injector)
        if self.name == _PROGRAMS:
            guest.serve(f"programs({source.getrandbits(30)})")
        make = real_inject.ring_lie if self.name == _RINGS else _PACKETS
        policy.inject(source, count, make)
        try:
            while policy.left:
                with policy.device.lock:
                    policy.device.changed.wait_for(lambda: not policy.left, 0.2)
                if policy.left and time.monotonic() - policy.moved_at > _STILL:
                    raise Wrong(f"the guest takes nothing any more, {policy.left} inputs are left")
        finally:
            policy.end()
        if self.name == _RINGS:
            self.until_it_works(guest)
        return count


_PACKETS = real_inject.packets(real_inject.packet)
