# SPDX-License-Identifier: MIT
"""The walk over all buses: numbers the bridges and lists every function, depth first.

Numbers are given anew each time, so that it does not matter what an earlier run, before a soft
reset, has left in the bridges.
"""

import fw_cfg
import machine
from micropython import const

from .bridge import Bridge
from .function import probe

_LAST_BUS = const(255)
_NOBODY = const(0xFFFFFFFF)


class Scan:
    """One walk. `functions` holds what was found, in bus order; `roots` the root buses' lists."""

    def __init__(self, access):
        self._access = access
        self._last = 0  # highest bus number in use
        self.functions = []
        self.roots = [self._walk_bus(0, None)]
        self._walk_extra_roots()

    def _walk_bus(self, bus, bridge):
        found = []
        link = bridge is not None and bridge.is_link()
        read32 = self._access.read32
        for device in range(1 if link else 32):
            where = bus << 20 | device << 15
            ids = read32(where)
            if ids == _NOBODY:
                continue  # as most are: no more is spent on them
            function, many = probe(self._access, where, ids, bridge)
            if function is None:
                continue
            found.append(function)
            self.functions.append(function)
            if many:
                for number in range(1, 8):
                    at = where | number << 12
                    function, _ = probe(self._access, at, read32(at), bridge)
                    if function is not None:
                        found.append(function)
                        self.functions.append(function)
        for function in found:
            if isinstance(function, Bridge):
                self._walk_bridge(function)
        return found

    def _walk_bridge(self, bridge):
        if self._last == _LAST_BUS:
            machine.log("pci", "no bus number left for %r" % bridge, "WARNING")
            bridge.number(0, 0)
            return
        self._last += 1
        bridge.number(self._last, _LAST_BUS)
        bridge.devices = self._walk_bus(self._last, bridge)
        bridge.number(bridge.secondary, self._last)

    def _walk_extra_roots(self):
        """QEMU's pxb and pxb-pcie: root buses at numbers that only probing tells."""
        try:
            count = fw_cfg.read("etc/extra-pci-roots", 8)
        except (OSError, ValueError) as error:
            machine.log("pci", str(error), "WARNING")
            count = None
        left = count[0] if count else 0
        bus = self._last + 1
        while left and bus <= _LAST_BUS:
            if self._answers(bus):
                self._last = bus
                self.roots.append(self._walk_bus(bus, None))
                bus = self._last
                left -= 1
            bus += 1

    def _answers(self, bus):
        for device in range(32):
            if self._access.read32(bus << 20 | device << 15) & 0xFFFF not in (0, 0xFFFF):
                return True
        return False
