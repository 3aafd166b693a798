# SPDX-License-Identifier: MIT
"""One batch, in either engine: from its bytes to its transcript, or to what went wrong."""

import gc
import sys

import bench_machine
import fuzz_guards
import virtio
import vsock
from bench_objects import offered
from fuzz_config import Config
from fuzz_fw_cfg import FwCfg
from fuzz_pci import Pci
from fuzz_queue import Queue
from fuzz_road import Road
from fuzz_source import Source
from sockets import descriptors

_WORLDS = {"config": Config, "fw_cfg": FwCfg, "pci": Pci}  # all others are Road's
_ram = bench_machine.ram
_find = virtio.find
fuzz_guards.install()


def _power_off():
    """Stop the devices of before and forget everything: others use this bench, too."""
    bench_machine.at_fence = None
    bench_machine.ram = _ram
    virtio.find = _find
    for function in bench_machine.at_reset:
        function()
    vsock._stacks.clear()
    vsock.datagrams(False)
    descriptors._sockets.clear()
    descriptors._kept.clear()
    bench_machine.reset()
    fuzz_guards.forget()


@offered
def fuzz(kind, data, count):
    """A batch: `count` inputs or some more, or fewer when its bytes are over.

    Gives [inputs, transcript, what went wrong or None, heap]; `heap` is how many bytes the batch
    has left behind, where that can be told.
    """
    lines = []
    failure = None
    inputs = 0
    source = Source(data)
    try:
        for make, share in _worlds(kind, count):
            _power_off()
            world = make(kind, source)
            world.lines[:0] = lines
            lines = world.lines
            while world.inputs < share and not source.over():
                world.step()
            inputs += world.inputs
            world.words()
            world.settle()
            fuzz_guards.check(True)
    except Exception as error:
        failure = _text(error)
    try:
        _power_off()
    except Exception as error:
        failure = failure or _text(error)
    text = "\n".join(lines)
    world = source = lines = None
    return [inputs, text.encode(), failure, _left()]


def _worlds(kind, count):
    """What a batch is made of: worlds, and inputs of each."""
    if kind == "rings":
        return (Queue, count // 4), (Road, count - count // 4)
    return ((_WORLDS.get(kind, Road), count),)


def _left():
    if not bench_machine.NATIVE:
        return 0
    gc.collect()
    return gc.mem_alloc()


def _text(error):
    if not bench_machine.NATIVE:
        import traceback

        return "".join(traceback.format_exception(error))
    import io

    text = io.StringIO()
    sys.print_exception(error, text)
    return text.getvalue()
