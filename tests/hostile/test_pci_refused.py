# SPDX-License-Identifier: MIT
"""A device that cannot be driven is refused with a sentence, and then it is switched off."""

import itertools
import re
import struct
from typing import Any

import pytest
from pci_guest import computes, echoes, proxied, refusal, settled

from mpfw.device import virtio_pci as v
from mpfw.device.pci import COMMAND, COMMAND_MASTER, COMMAND_MEMORY, CONFIG
from mpfw.device.vsock_pci import VsockFunction

_HEADER = 0x0E
_LENGTH = 12  # of a structure, from its capability on
_BAR = 4
FEATURES_OK = 8
FAR = 0xF4  # a capability whose last words lie beyond the 256 registers of conventional PCI


def header(kind):
    return lambda function: function.lie(CONFIG, _HEADER, 1, kind)


def bars(bar):
    def lie(function):
        for at in v.CAPABILITIES.values():
            function.lie(CONFIG, at + _BAR, 1, bar)

    return lie


def config_length(length):
    return lambda function: function.lie(CONFIG, v.CAPABILITIES[v.DEVICE] + _LENGTH, 4, length)


def far(function):
    """The last capability begins so late that its length is register 0x100."""
    _, offset, _ = v.PLACES[v.DEVICE]
    data = struct.pack("<BBBBB3xI", 9, 0, 16, 4, v.BAR, offset)
    function.lie(CONFIG, v.CAPABILITIES[v.ISR] + 1, 1, FAR)
    function.lie(CONFIG, FAR, len(data), int.from_bytes(data, "little"))


def register(at, size, answer):
    return lambda function: function.lie(v.COMMON, at, size, answer)


def counting():
    """A register that is never twice the same."""
    numbers = itertools.count()
    return lambda honest: next(numbers) & 0xFF


def ones(function):
    function.lie(v.COMMON, 0, 56, -1)


# name -> (the machine, what the function is made with, the lies)
CASES: dict[str, tuple[str, dict[str, Any], list[Any]]] = {
    "CardBus header": ("q35", {}, [header(2)]),
    "unknown header": ("q35", {}, [header(0x7F)]),
    "bridge header, third BAR": ("q35", {}, [header(1), bars(2)]),
    "bridge header, last BAR": ("q35", {}, [header(1), bars(5)]),
    "a bridge's class": ("q35", {"class_code": 0x068000}, []),
    "a host bridge's class": ("q35", {"class_code": 0x060000}, []),
    "configuration of 1 byte": ("q35", {}, [config_length(1)]),
    "configuration of 4 bytes": ("q35", {}, [config_length(4)]),
    "configuration of 7 bytes": ("q35", {}, [config_length(7)]),
    "capability beyond the registers": ("pc", {}, [far]),
    "the same with ECAM": ("q35", {}, [far]),
    "no event queue": ("q35", {"sizes": (128, 128, 0)}, []),
    "no VERSION_1": ("q35", {}, [register(4, 4, 0)]),
    "features refused": ("q35", {}, [register(v.STATUS, 1, lambda s: s & ~FEATURES_OK)]),
    "no reset": ("q35", {}, [register(v.STATUS, 1, lambda s: s | 1)]),
    "configuration never stands still": ("q35", {}, [register(v.GENERATION, 1, counting())]),
    "notification outside": ("q35", {}, [register(v.QUEUE_NOTIFY_OFF, 2, 0xFFFF)]),
    "all ones": ("q35", {}, [ones]),
}


def refused(case, **more):
    machine, made, lies = CASES[case]
    function = VsockFunction(**{"vectors": 0, **made, **more})
    for lie in lies:
        lie(function)
    return machine, function


@pytest.mark.parametrize("case", CASES)
def test_is_refused_with_one_sentence(image, case):
    """Once: ten lines of traceback, and errors of the wrong kind."""
    machine, function = refused(case)
    with proxied(image, function, machine=machine) as guest:
        sentence = refusal(guest)
        assert re.search(r"\b00:\d\d\.0\b", sentence), sentence  # which device it is
        computes(guest)


@pytest.mark.parametrize("case", CASES)
def test_what_is_refused_is_switched_off(image, case):
    """Once: it may still master the bus, and was not reset."""
    machine, function = refused(case)
    with proxied(image, function, machine=machine) as guest:
        guest.console.wait_prompt(15)
        assert function.get(COMMAND, 2) & (COMMAND_MASTER | COMMAND_MEMORY) == 0
        assert function.status == 0


@pytest.mark.parametrize("sizes", [(1, 1, 1), (128, 1, 128)], ids=str)
def test_queues_of_one_entry_are_used_or_refused_with_a_sentence(image, sizes):
    """Once: ValueError."""
    function = VsockFunction(vectors=0, sizes=sizes)
    with proxied(image, function) as guest:
        if settled(guest):
            echoes(function)
        computes(guest)


LEAKY = ["no event queue", "configuration of 4 bytes"]


@pytest.mark.parametrize("case", LEAKY)
def test_tries_that_fail_hold_no_memory(image, case):
    """Once: 2.8 MB each, after 19 tries a MemoryError."""
    machine, function = refused(case)
    function.record.keep = False
    code = """
import vsock
seen = {}
for _ in range(60):
    try:
        vsock.get()
    except Exception as error:
        name = type(error).__name__
        seen[name] = seen.get(name, 0) + 1
print(seen)
"""
    with proxied(image, function, machine=machine, memory="64M") as guest:
        guest.console.wait_prompt(15)
        assert guest.console.exec(code) == "{'NotSupported': 60}\n"


SMALL = [(2, 2, 2), (4, 4, 4), (128, 2, 128), (128, 128, 2), (128, 128, 1), (2, 128, 128)]


@pytest.mark.parametrize("sizes", SMALL, ids=str)
def test_small_queues_are_legal(image, sizes):
    """Once: ENOBUFS for four event buffers in a queue of two."""
    function = VsockFunction(vectors=0, sizes=sizes)
    with proxied(image, function) as guest:
        assert settled(guest)
        echoes(function)
        computes(guest)
