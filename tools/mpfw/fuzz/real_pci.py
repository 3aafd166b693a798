# SPDX-License-Identifier: MIT
"""What a PCI function of ours can lie about: events, interrupts, and registers at a bring-up.

Events and interrupts over vfio-user, registers over QEMU's multi-process protocol, which asks us
for every register.
"""

import itertools
import random
import time

from mpfw.device import pci
from mpfw.device import virtio_pci as v
from mpfw.device.pci_hosts import FunctionHost, ProxyHost, VfioUserHost
from mpfw.device.policy import Polite
from mpfw.device.vsock_pci import EVENT, VsockFunction
from mpfw.fuzz.real_guest import PATIENCE, RealGuest, Wrong
from mpfw.fuzz.real_runner import RealRunner
from mpfw.guest.vsockhost import GUEST_CID
from mpfw.lab import qemus

LOCAL_APIC = 0xFEE00000
_CIDS = (GUEST_CID,) * 6 + (44, 77, 0, 1, 2, 0xFFFFFFFF, 1 << 32 | GUEST_CID)
_EVENT_BUFFERS = 4  # of the driver
_MOMENT = 0.003  # seconds that the driver has to begin anew
_BURST = 20  # interrupts beside one bring-up
_LAST = 255  # vector; those below 16 the local APIC refuses by itself
_FIRST = 16

# Registers that decide something: (offset, bytes).
_VIRTIO = (
    (v.STATUS, 1),
    (v.NUM_QUEUES, 2),
    (v.GENERATION, 1),
    (v.QUEUE_SIZE, 2),
    (v.QUEUE_MSIX, 2),
    (v.QUEUE_ENABLE, 2),
    (v.QUEUE_NOTIFY_OFF, 2),
    (v.DEVICE_FEATURE_SELECT + 4, 4),
    (v.CONFIG_MSIX, 2),
)
_PCI = ((0, 4), (4, 4), (8, 4), (0x0C, 4), (0x10, 4), (0x14, 4), (0x2C, 4), (0x34, 1))


class OfPci(RealRunner):
    """Classes whose device is a PCI function; polite but for what they tell it."""

    vectors = 0

    def host(self, function: VsockFunction) -> FunctionHost:
        """How QEMU is served."""
        raise NotImplementedError

    def qemu(self) -> str:
        """The QEMU that can be served so."""
        raise NotImplementedError

    def open(self) -> RealGuest:
        policy = Polite()
        function = VsockFunction(policy, vectors=self.vectors)
        function.record.keep = False
        guest = RealGuest(self.host(function), policy, self.qemu())
        guest.serve()
        return guest

    @staticmethod
    def function(guest: RealGuest) -> VsockFunction:
        """The guest's device."""
        host = guest.guest.vsock
        assert isinstance(host, FunctionHost) and isinstance(host.function, VsockFunction)
        return host.function


class OfVfioUser(OfPci):
    """With MSI-X, in sid's QEMU."""

    kind = "vfio-user"
    vectors = 4

    def host(self, function: VsockFunction) -> FunctionHost:
        return VfioUserHost(function, self.vectors)

    def qemu(self) -> str:
        return str(qemus.provide("sid"))


class Events(OfVfioUser):
    """The event queue, the configuration, and the status."""

    def tell(self, guest: RealGuest, source: random.Random, count: int) -> int:
        function = self.function(guest)
        for _ in range(count):
            starts = function.device.starts
            if source.choices(_TELL, _WEIGHTS)[0](source, function):
                end = time.monotonic() + _MOMENT
                while function.device.starts == starts and time.monotonic() < end:
                    time.sleep(_MOMENT / 10)
        _have_cid(function, GUEST_CID)
        for _ in range(2):  # the second one tells the CID, if the first found no buffer
            _settle(function)
            function.transport_reset(GUEST_CID)
        _settle(function)
        self.until_it_works(guest)
        return count


def _settle(function: VsockFunction) -> None:
    """Wait until the driver has looked at all events: the buffers are ours again. Raises Wrong."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with function.lock:
            function.take_events()
            if len(function.posted) == _EVENT_BUFFERS and not function.status & v.NEEDS_RESET:
                return
        time.sleep(_MOMENT)
    raise Wrong("the driver does not give its event buffers again")


def _have_cid(function: VsockFunction, cid: int) -> None:
    with function.lock:
        function.config[:] = (cid & (1 << 64) - 1).to_bytes(8, "little")
        function.device.config = bytes(function.config)
        function.generation += 1


def _event(source: random.Random, function: VsockFunction) -> bool:
    """An event of any content, and at times a new CID."""
    if source.random() < 0.1:
        _have_cid(function, source.choice(_CIDS))
    size = 4 if source.random() < 0.98 else source.randrange(9)
    identity = 0 if source.random() < 0.5 else source.getrandbits(32)
    return not function.tell_event(identity.to_bytes(8, "little")[:size])


def _changed(source: random.Random, function: VsockFunction) -> bool:
    """The interrupt of the configuration, with or without a change."""
    if source.random() < 0.3:
        _have_cid(function, source.choice(_CIDS))
    function.config_changed()
    return False


def _needs_reset(source: random.Random, function: VsockFunction) -> bool:
    function.needs_reset()
    return True


def _broken(source: random.Random, function: VsockFunction) -> bool:
    """An entry or an index that cannot be."""
    with function.lock:
        ring = function.ring(EVENT)
        if ring is not None:
            if source.random() < 0.5:
                ring.put(source.getrandbits(source.choice((3, 32))), source.getrandbits(8))
                ring.show()
            else:
                ring.show(source.getrandbits(16))
            ring.ring()
    return True


_TELL = (_event, _changed, _needs_reset, _broken)
_WEIGHTS = (80, 15, 2, 3)


class BringUps(OfPci):
    """Each input is one bring-up; the last one of a batch is honest and must work."""

    rescans = False

    def tell(self, guest: RealGuest, source: random.Random, count: int) -> int:
        function = self.function(guest)
        guest.stop()
        for _ in range(count):
            with function.lock:
                function.lies.clear()
            self.lie(function, source)
            guest.console.start(f"print(bring_up({self.rescans}))", PATIENCE)
            self.meanwhile(function, source)
            guest.console.finish(PATIENCE)
        with function.lock:
            function.lies.clear()
        said = guest.console.exec(f"print(bring_up({self.rescans}))", PATIENCE).strip()
        if said != "works":
            raise Wrong(f"an honest device is not brought up: {said}")
        return count

    def lie(self, function: VsockFunction, source: random.Random) -> None:
        """Prepare the lies of one bring-up."""
        raise NotImplementedError

    def meanwhile(self, function: VsockFunction, source: random.Random) -> None:
        """Do something while the device is brought up."""


class Registers(BringUps):
    """Registers that lie: those of virtio ("config"), or of the configuration space ("pci")."""

    kind = "pci-proxy"

    def __init__(self, name: str):
        super().__init__(name)
        self.rescans = name == "pci"

    def host(self, function: VsockFunction) -> FunctionHost:
        return ProxyHost(function)

    def qemu(self) -> str:
        return str(qemus.provide("bookworm"))

    def lie(self, function: VsockFunction, source: random.Random) -> None:
        for _ in range(source.choice((1, 1, 1, 2, 3, 8))):
            if self.name == "pci":
                at, size = _place(source, _PCI, 0x90)
                function.lie(pci.CONFIG, at, size, _answer(source, size))
            else:
                space = source.choice((v.COMMON,) * 6 + (v.DEVICE, v.ISR))
                known = _VIRTIO if space == v.COMMON else ()
                at, size = _place(source, known, v.PLACES[space][2])
                function.lie(space, at, size, _answer(source, size))


def _place(source: random.Random, known: tuple[tuple[int, int], ...], end: int) -> tuple[int, int]:
    """A register: one that decides something, or any bytes before `end`."""
    if known and source.random() < 0.6:
        return source.choice(known)
    return source.randrange(end), source.choice((1, 1, 2, 4))


def _answer(source: random.Random, size: int) -> pci.Answer:
    """What a register says: a number, other bits than the honest ones, or never the same."""
    bits = 8 * size
    kind = source.random()
    if kind < 0.5:
        few = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF, 0xFFFFFFFF, source.getrandbits(bits))
        return source.choice(few) & (1 << bits) - 1
    mask = source.getrandbits(bits) & source.getrandbits(bits)
    if kind < 0.8:
        return lambda honest: honest ^ mask
    numbers = itertools.count(source.getrandbits(bits))
    if kind < 0.9:
        return lambda honest: next(numbers) & (1 << bits) - 1
    after = source.randrange(4)  # honest reads before it changes
    return lambda honest: honest if next(numbers) % 5 < after else honest ^ mask


class Interrupts(BringUps, OfVfioUser):
    """Interrupts of any vector while the device is brought up and works, and no vectors at all."""

    def lie(self, function: VsockFunction, source: random.Random) -> None:
        if source.random() < 0.3:
            register = source.choice((v.CONFIG_MSIX, v.QUEUE_MSIX))
            function.lie(v.COMMON, register, 2, _answer(source, 2))

    def meanwhile(self, function: VsockFunction, source: random.Random) -> None:
        assert function.bus is not None
        for _ in range(_BURST):
            if source.random() < 0.5:
                function.bus.msi(source.randrange(self.vectors))
            else:
                lowest = source.getrandbits(1) << 8  # delivery mode: fixed, or lowest priority
                vector = source.randint(_FIRST, _LAST) | lowest
                function.bus.write(LOCAL_APIC, vector.to_bytes(4, "little"))
