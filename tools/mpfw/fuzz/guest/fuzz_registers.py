# SPDX-License-Identifier: MIT
"""`machine.mem8`, `machine.port8` and the like: whoever is `memory` and `ports` answers.

To be imported before the modules that take them from `machine`.
"""

import sys

import bench_machine
from portable import addressof

memory = None  # has mem_read(at, width), mem_write(at, value, width)
ports = None  # has port_read(port, width), port_write(port, value, width)


class _Memory:
    def __init__(self, width):
        self._width = width

    def __getitem__(self, at):
        return memory.mem_read(at, self._width)

    def __setitem__(self, at, value):
        memory.mem_write(at, value & (1 << 8 * self._width) - 1, self._width)


class _Ports:
    def __init__(self, width):
        self._width = width

    def __getitem__(self, port):
        return ports.port_read(port, self._width)

    def __setitem__(self, port, value):
        ports.port_write(port, value & (1 << 8 * self._width) - 1, self._width)


for _bits in (8, 16, 32, 64):
    setattr(bench_machine, "mem%d" % _bits, _Memory(_bits // 8))
    setattr(bench_machine, "port%d" % _bits, _Ports(_bits // 8))


class _Errno:
    """The unix port's errno has not all of them."""


for _number, _name in ((22, "EINVAL"), (28, "ENOSPC")):
    setattr(_Errno, _name, _number)
if bench_machine.NATIVE:
    sys.modules["errno"] = _Errno
bench_machine.hobs = lambda: b""
if not bench_machine.NATIVE:
    bench_machine.addressof = addressof  # what they import as uctypes is the bench's, too
