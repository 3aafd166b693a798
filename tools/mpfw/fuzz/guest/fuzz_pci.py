# SPDX-License-Identifier: MIT
"""PCI machines that lie: configuration space, bridges, BARs, capabilities, MSI-X, registers.

An input is one machine: its functions are found, placed, listed, and opened as virtio devices. An
access outside of configuration space and of the BARs of the function that is driven, or more
accesses than any honest machine needs, is an AssertionError.
"""

import bench_clock
import bench_machine
import fuzz_guards
import fuzz_registers  # before all that takes registers from it
import fw_cfg
import hob
import pci
import pci.bridge
import pci.chipset
import pci.function
import pci.msix
import pci.names
import pci.placement
import pci.scan
import virtio
import virtio.pci
from fuzz_space import Space
from portable import micropython
from virtio.device import F_VERSION_1, VirtioDevice

_Q35 = 0x29C08086
_ECAM = 0xB0000000
_GIB = 1 << 30
_MMIO = ((0xC0000000, 0x2C000000), (4 * _GIB, 32 * _GIB))
_MOST = 400000  # accesses of one machine: 256 buses of 32 devices, and what bridges cost
_read = fw_cfg.read


def _largest_first(blocks):
    """As the placement's own, but in one order among equals: MicroPython's sort has none."""

    def order(block):
        return -block.align, block.function.address, -1 if block.bar is None else block.bar.index

    return sorted(blocks, key=order)


pci.placement._largest_first = _largest_first


class Pci:
    """Such machines, one after the other."""

    def __init__(self, kind, source):
        self._source = source
        self.lines = []
        self.inputs = 0
        pci.print = lambda text: self.lines.append("%s" % text)
        fuzz_registers.memory = fuzz_registers.ports = self
        fw_cfg._directory = bytearray()
        hob.resources = self._resources
        bench_clock.looks_take(1000)
        self._chipset = {}
        self._driven = None  # the Space of the function that is driven now,
        self._function = None  # and that function
        self._spaces = []
        self._accesses = 0
        self._selected = 0
        self._many = False  # its functions answer under all eight numbers
        self._extra = -1  # the number of another root bus
        self._kept = False  # a device that did not reset has memory still

    def _resources(self):
        found = [(hob.MMIO, _ECAM, 1 << 28)] if self._ecam else []
        for start, length in _MMIO:
            found.append((hob.MMIO, start, length))
        return found + [(hob.IO, 0, 0x10000)]

    # -- a machine

    def step(self):
        """One machine."""
        source = self._source
        self.inputs += 1
        self._accesses = self._selected = 0
        self._ecam = source.chance(128)
        self._many = source.chance(6)
        self._extra = 9 if source.chance(10) else -1
        fw_cfg._directory = bytearray()
        if self._extra > 0:
            fw_cfg.read = lambda name, limit=0: bytearray([1 + source.below(2)] + [0] * 7)
        else:
            fw_cfg.read = lambda name, limit=0: None
        self._chipset = {0: _Q35 if self._ecam else 0x12378086, 0x60: 0, 0x64: 0}
        self._driven = None
        self._spaces = [Space(source, 2 + i) for i in range(1 + source.below(3))]
        self._slots = {each.device: each for each in self._spaces}
        self._bridges = [each for each in self._spaces if each.bridge]
        for each in self._bridges:
            each.children = [Space(source, 0) for _ in range(source.below(2))]
        pci._devices = None
        self._tell("rescan", pci.rescan)
        for function in pci._devices or ():
            self._look(function)
        if source.chance(10):
            self.lines.append("%r %d" % (pci.devices(), len(pci.find(0x1AF4))))
            virtio.find(19)
            pci.lspci()
        if self._accesses > _MOST:
            raise AssertionError("%d accesses" % self._accesses)
        self._check_bars()
        fuzz_guards.check()

    def _tell(self, what, call, *arguments):
        try:
            found = call(*arguments)
        except OSError as error:
            found = error.args[-1]
        self.lines.append("%s: %s" % (what, found))
        return found

    def _look(self, function):
        source = self._source
        if function.address == (0, 0, 0):
            return
        self._driven = self._at(*function.address)
        self._function = function
        self.lines.append("%r %d" % (function, virtio.pci.device_type(function)))
        self._tell("capabilities", function.capabilities)
        if source.chance(60):
            self._tell("extended", function.extended_capabilities)
            self.lines.append("%r %r" % (function.subsystem, function.bars))
        self._tell("region", function.region, source.below(8), source.word(), source.word())
        if source.chance(160):
            self._tell("virtio", self._drive, virtio.pci.PCITransport(function))
        else:
            self._tell("enable", function.enable, source.chance(128))
            self._tell("vectors", self._route, function)
            function.disable()
        self._driven = None
        if bench_machine.timers():
            raise AssertionError("%d vectors are left" % bench_machine.timers())
        if not self._gone(function) and self._at(*function.address).config[4] & 7:
            raise AssertionError("%s still decodes or masters the bus" % function.slot)

    def _gone(self, function):
        space = self._at(*function.address)
        return space is None or space.gone or space.stubborn or self._several()

    def _several(self):
        """Functions share registers: placing one moves another, and decodes it."""
        return self._many or self._extra > 0

    def _route(self, function):
        msix = function.msix
        if msix is None:
            return None
        msix.route(self._source.below(4))
        return msix.size

    def _drive(self, transport):
        """As a driver does."""
        device = VirtioDevice(transport)
        try:
            device.negotiate(self._source.byte())
            for index in range(self._source.below(4)):
                device.queue(index, 16)
            device.driver_ok()
            device.check()
            if transport.config_size >= 8:
                device.config(0, 8)
            return "%x %d" % (device.features, len(device.queues))
        finally:
            self._kept |= not device.close()

    # -- its registers

    # Native code: most of what a machine costs is looks at slots with nobody in them.

    @micropython.native
    def _at(self, bus, device, number):
        if bus == self._extra:
            bus = 0  # a second root, with the same devices once more
        if number and not self._many:
            return None
        if bus == 0:
            return self._slots.get(device)
        for each in self._bridges:
            if each.secondary() == bus and device < len(each.children):
                return each.children[device]
        return None

    @micropython.native
    def _config(self, where, value, width):
        self._accesses += 1
        if self._accesses > 2 * _MOST:
            raise AssertionError("no end of accesses")
        bus, device, number = where >> 20 & 255, where >> 15 & 31, where >> 12 & 7
        register = where & 0xFFF
        if not bus | device | number:
            if value is not None:
                self._chipset[register] = value
                return None
            return self._chipset.get(register, 0x06000000 if register == 8 else 0)
        space = self._at(bus, device, number)
        if space is None:
            return None if value is not None else (1 << 8 * width) - 1
        if value is None:
            return space.read(register, width)
        space.write(register, value, width)
        return None

    @micropython.native
    def port_read(self, port, width):
        """Configuration data."""
        return self._config(self._port(port), None, width)

    def port_write(self, port, value, width):
        """Configuration address or data."""
        if port == 0xCF8:
            self._selected = value
        else:
            self._config(self._port(port), value, width)

    @micropython.native
    def _port(self, port):
        if port >> 2 != 0xCFC >> 2:
            raise AssertionError("port 0x%x" % port)
        return (self._selected & 0xFFFF00) << 4 | self._selected & 0xFC | port & 3

    @micropython.native
    def mem_read(self, at, width):
        """Configuration space, or a register of the function that is driven."""
        if 0 <= at - _ECAM < 1 << 28:
            return self._config(at - _ECAM, None, width)
        return self._bar(at, width).register_read(at, width, F_VERSION_1)

    def mem_write(self, at, value, width):
        """Likewise."""
        if 0 <= at - _ECAM < 1 << 28:
            self._config(at - _ECAM, value, width)
        else:
            self._bar(at, width).register_write(at, value, width)

    def _bar(self, at, width):
        """Who answers there: the function that is driven, within what was given to its BARs."""
        space = self._driven
        if space is not None:
            for bar in self._function.bars:
                if bar is not None and not bar.io and bar.address is not None:
                    if bar.address <= at and at + width <= bar.address + bar.size:
                        return space
        raise AssertionError("an access to 0x%x, which is nobody's" % at)

    def _check_bars(self):
        """No address was given to two."""
        taken = []
        for function in pci._devices or ():
            for bar in function.bars:
                if bar is not None and bar.address is not None:
                    taken.append((bar.io, bar.address, bar.address + bar.size))
        taken.sort()
        for i in range(1, len(taken)):
            if taken[i][0] == taken[i - 1][0] and taken[i][1] < taken[i - 1][2]:
                raise AssertionError("two BARs at 0x%x" % taken[i][1])

    def words(self):
        """Nothing more to tell."""

    def settle(self):
        """Nothing is kept."""
        pci._devices = None
        fw_cfg.read = _read
        if bench_machine.dma_used() and not self._kept:
            raise AssertionError("DMA memory is left")
