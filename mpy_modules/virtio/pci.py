# SPDX-License-Identifier: MIT
"""virtio over PCI (virtio 1.2, 4.1): which functions are devices, where their registers are.

Every structure's BAR, offset and length is the device's word; each is checked against the BAR
before its address is used. Legacy interfaces (virtio before 1.0) are not spoken. The ISR status is
not used: interrupts are MSI-X, or the queues are polled.
"""

from machine import mem8, mem16, mem32
from pci.function import CAP_END, CAP_VENDOR
from portable import const

from .errors import NotSupported
from .memory import Memory
from .transport import Transport

_VENDOR = const(0x1AF4)  # 4.1.2: devices 0x1000 to 0x107F
_FIRST = const(0x1000)
_FIRST_MODERN = const(0x1040)
_LAST = const(0x107F)

_COMMON = const(1)  # cfg_type, 4.1.4
_NOTIFY = const(2)
_DEVICE = const(4)

# struct virtio_pci_cap, from the start of the capability
_CAP_LENGTH = const(2)
_CAP_TYPE = const(3)
_CAP_BAR = const(4)
_CAP_OFFSET = const(8)
_CAP_SIZE = const(12)
_CAP_MULTIPLIER = const(16)  # struct virtio_pci_notify_cap
_CAP_LEAST = const(16)
_BARS = const(6)

# Common configuration structure, 4.1.4.3
_DEVICE_FEATURE_SELECT = const(0x00)
_DEVICE_FEATURE = const(0x04)
_DRIVER_FEATURE_SELECT = const(0x08)
_DRIVER_FEATURE = const(0x0C)
_CONFIG_MSIX = const(0x10)
_STATUS = const(0x14)
_GENERATION = const(0x15)
_QUEUE_SELECT = const(0x16)
_QUEUE_SIZE = const(0x18)
_QUEUE_MSIX = const(0x1A)
_QUEUE_ENABLE = const(0x1C)
_QUEUE_NOTIFY_OFF = const(0x1E)
_QUEUE_DESC = const(0x20)
_QUEUE_DRIVER = const(0x28)
_QUEUE_DEVICE = const(0x30)
_COMMON_SIZE = const(56)  # through queue_device

_LAST_ENTRY = const(0xFFFF)

_memories = {}  # by a function's address; rescan() makes others of the same


def device_type(function):
    """The virtio device type of a pci.Function, or 0 if it is not a virtio device (4.1.2)."""
    if function.vendor != _VENDOR or not _FIRST <= function.device <= _LAST:
        return 0
    if function.device >= _FIRST_MODERN:
        return function.device - _FIRST_MODERN
    return function.subsystem[1]  # a transitional device


def find(wanted):
    """A PCITransport for each virtio device of type `wanted`, in bus order; none is open."""
    import pci

    return [PCITransport(each) for each in pci.devices() if device_type(each) == wanted]


class PCITransport(Transport):
    """A virtio device that is a pci.Function."""

    _selected = None  # the queue that the queue's registers are of

    def __init__(self, function):
        self.function = function
        self._memory = _memories.setdefault(function.address, Memory())

    def __repr__(self):
        return repr(self.function)

    def taken(self):
        return bool(self.function.enabled)

    def open(self):
        """Find the structures in the function's BARs and enable it. Raises NotSupported."""
        function = self.function
        found = {}
        for _, at in function.capabilities(CAP_VENDOR):
            kind = function.read8(at + _CAP_TYPE)
            # The first of each type that is usable counts (4.1.4.1); the others, among them the
            # window into BARs through configuration space (type 5), are for other drivers.
            if kind not in found and kind in (_COMMON, _NOTIFY, _DEVICE):
                place = _read_place(function, at, kind)
                if place:
                    found[kind] = place
        for kind, name in ((_COMMON, "common configuration"), (_NOTIFY, "notification")):
            if kind not in found:
                raise NotSupported(
                    "%r: no modern interface (%s structure); is it disable-modern=on?"
                    % (function, name)
                )
        bar, offset, size, _ = found[_COMMON]
        self._common = _region(function, bar, offset, size)
        bar, offset, self._notify_size, self._multiplier = found[_NOTIFY]
        self._notify = _region(function, bar, offset, self._notify_size)
        self.config_size = 0
        if _DEVICE in found:
            bar, offset, self.config_size, _ = found[_DEVICE]
            self._config = _region(function, bar, offset, self.config_size)
        try:
            function.enable()
        except OSError as error:
            raise NotSupported(error.args[-1])

    def close(self):
        self.function.disable()

    def status(self):
        return mem8[self._common + _STATUS]

    def set_status(self, status):
        mem8[self._common + _STATUS] = status
        self._selected = None  # a reset may select another queue

    def features(self):
        common = self._common
        mem32[common + _DEVICE_FEATURE_SELECT] = 0
        low = mem32[common + _DEVICE_FEATURE]
        mem32[common + _DEVICE_FEATURE_SELECT] = 1
        return low | mem32[common + _DEVICE_FEATURE] << 32

    def set_features(self, features):
        common = self._common
        mem32[common + _DRIVER_FEATURE_SELECT] = 0
        mem32[common + _DRIVER_FEATURE] = features & 0xFFFFFFFF
        mem32[common + _DRIVER_FEATURE_SELECT] = 1
        mem32[common + _DRIVER_FEATURE] = features >> 32

    def generation(self):
        return mem8[self._common + _GENERATION]

    def config32(self, offset):
        return mem32[self._config + offset]

    def queue_size(self, index):
        self._select(index)
        return mem16[self._common + _QUEUE_SIZE]

    def notify_address(self, index):
        """Where queue `index` is notified (4.1.4.4). Raises NotSupported if that is elsewhere."""
        self._select(index)
        at = mem16[self._common + _QUEUE_NOTIFY_OFF] * self._multiplier
        if at + self.notify_bytes > self._notify_size:
            raise NotSupported(
                "%r: notification offset 0x%x lies outside its structure" % (self, at)
            )
        return self._notify + at

    def set_queue(self, index, size, desc, avail, used):
        self._select(index)
        common = self._common
        mem16[common + _QUEUE_SIZE] = size
        for register, address in (
            (_QUEUE_DESC, desc),
            (_QUEUE_DRIVER, avail),
            (_QUEUE_DEVICE, used),
        ):
            mem32[common + register] = address & 0xFFFFFFFF
            mem32[common + register + 4] = address >> 32

    def route_queue(self, index):
        """Entry `index` of the MSI-X table is the queue's; a short table's last one is shared."""
        self._select(index)
        return self._route(_QUEUE_MSIX, index)

    def route_config(self):
        """The last entry of the MSI-X table is for changes of the configuration."""
        return self._route(_CONFIG_MSIX, _LAST_ENTRY)

    def enable_queue(self, index):
        self._select(index)
        mem16[self._common + _QUEUE_ENABLE] = 1

    def _select(self, index):
        if index != self._selected:  # each access may be an exit
            mem16[self._common + _QUEUE_SELECT] = index
            self._selected = index

    def _route(self, register, entry):
        try:
            msix = self.function.msix
            if msix is None:
                return None
            entry = min(entry, msix.size - 1)
            vector = msix.route(entry)
        except OSError as error:
            raise NotSupported("%r has no usable interrupts: %s" % (self, error.args[-1]))
        mem16[self._common + register] = entry
        if mem16[self._common + register] != entry:  # 4.1.5.1.2: the device is out of resources
            raise NotSupported("%r takes no interrupt vector" % self)
        return vector


def _region(function, bar, offset, size):
    """The address of a structure. Raises NotSupported if it is not in its BAR."""
    try:
        return function.region(bar, offset, size)
    except OSError as error:
        raise NotSupported(error.args[-1])


def _read_place(function, at, kind):
    """(BAR, offset, size, multiplier) of one structure, or None if it is not to be used."""
    if at + (_CAP_LEAST if kind != _NOTIFY else _CAP_LEAST + 4) > CAP_END:
        return None  # it is cut off
    bar = function.read8(at + _CAP_BAR)
    offset = function.read32(at + _CAP_OFFSET)
    size = function.read32(at + _CAP_SIZE)
    multiplier = function.read32(at + _CAP_MULTIPLIER) if kind == _NOTIFY else 0
    if bar >= _BARS or function.read8(at + _CAP_LENGTH) < _CAP_LEAST:
        return None  # reserved values: to be ignored
    least = _COMMON_SIZE if kind == _COMMON else 2 if kind == _NOTIFY else 1
    if size < least or offset & (1 if kind == _NOTIFY else 3):
        return None
    if bar >= len(function.bars) or function.bars[bar] is None or function.bars[bar].io:
        return None  # a notification port, for drivers without memory access
    return bar, offset, size, multiplier
