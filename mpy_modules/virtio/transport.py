# SPDX-License-Identifier: MIT
"""Where a virtio device's registers are (virtio 1.2, 4.1.4): its vendor capabilities, checked.

Every structure's BAR, offset and length is the device's word; each is checked against the BAR
before its address is used. Legacy interfaces (virtio before 1.0) are not spoken.
"""

from micropython import const
from pci.function import CAP_VENDOR

from .errors import NotSupported

_COMMON = const(1)  # cfg_type, 4.1.4
_NOTIFY = const(2)
_DEVICE = const(4)

# struct virtio_pci_cap, from the start of the capability
_LENGTH = const(2)
_TYPE = const(3)
_BAR = const(4)
_OFFSET = const(8)
_SIZE = const(12)
_MULTIPLIER = const(16)  # struct virtio_pci_notify_cap

_COMMON_SIZE = const(56)  # through queue_device, 4.1.4.3


class Transport:
    """The addresses of a device's structures; `config` is 0 where there is none.

    The ISR status is not used: interrupts are MSI-X, or the queues are polled.
    """

    def __init__(self, function):
        self.slot = function.slot
        found = {}
        for _, at in function.capabilities(CAP_VENDOR):
            kind = function.read8(at + _TYPE)
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
        function.enable()
        bar, offset, size, _ = found[_COMMON]
        self.common = function.region(bar, offset, size)
        bar, offset, self._notify_size, self._multiplier = found[_NOTIFY]
        self._notify = function.region(bar, offset, self._notify_size)
        self.config = self.config_size = 0
        if _DEVICE in found:
            bar, offset, self.config_size, _ = found[_DEVICE]
            self.config = function.region(bar, offset, self.config_size)

    def notify_address(self, notify_off):
        """The address that notifies the queue with that queue_notify_off (4.1.4.4)."""
        at = notify_off * self._multiplier
        if at + 2 > self._notify_size:
            raise NotSupported(
                "%s: notification offset 0x%x lies outside its structure" % (self.slot, at)
            )
        return self._notify + at


def _read_place(function, at, kind):
    """(BAR, offset, size, multiplier) of one structure, or None if it is not to be used."""
    bar = function.read8(at + _BAR)
    offset = function.read32(at + _OFFSET)
    size = function.read32(at + _SIZE)
    multiplier = function.read32(at + _MULTIPLIER) if kind == _NOTIFY else 0
    if bar > 5 or function.read8(at + _LENGTH) < 16:
        return None  # reserved values: to be ignored
    least = _COMMON_SIZE if kind == _COMMON else 2 if kind == _NOTIFY else 1
    if size < least or offset & (1 if kind == _NOTIFY else 3):
        return None
    if function.bars[bar] is None or function.bars[bar].io:
        return None  # a notification port, for drivers without memory access
    return bar, offset, size, multiplier
