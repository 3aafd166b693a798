# SPDX-License-Identifier: MIT
"""Configuration space and BARs that lie: the prompt comes, computes, and the machine's other
devices work. Passes with every image that there has been.
"""

import ast
import itertools
import re
import struct

import pytest
from pci_guest import computes, proxied, said, with_msi

from mpfw.device import virtio_pci as v
from mpfw.device.pci import CONFIG
from mpfw.device.vsock_pci import VsockFunction

OTHER = "edu,addr=8"
EDU = """
import pci
from machine import mem32
edu = pci.find(0x1234, 0x11E8)[0]
edu.enable()
at = edu.bars[0].address
mem32[at + 4] = 0x12345678  # it answers with the complement
print(hex(mem32[at]), hex(mem32[at + 4]))
"""
RAM = 64 << 20  # of each guest
_BAR0 = 0x10
_CAPABILITIES = 0x34
_MSIX = 0x84


class Vanishing(VsockFunction):
    """After `left` of the guest's reads it is gone: all ones."""

    left = 0

    def told(self, space, at, size, honest):
        if self.runs and self.left:
            self.left -= 1
            return super().told(space, at, size, honest)
        return (1 << 8 * size) - 1 if self.runs else honest


def unharmed(guest):
    """The prompt comes whatever became of the device, and the other one works."""
    guest.console.expect(rb"READY vsock|>>> ", 20)
    computes(guest)
    assert guest.console.exec(EDU) == "0x10000ed 0xedcba987\n"


def listed(guest):
    """What `pci.lspci()` prints: each capability once."""
    text = guest.console.exec("import pci\npci.lspci()")
    assert text.count("Capability") + text.count("[") < 100
    return text


def apart(guest):
    """(start, bytes) of every memory BAR that was placed; no two have an address in common."""
    code = """
import pci
bars = [bar for f in pci.devices() for bar in f.bars if bar and not bar.io]
print([(bar.address, bar.size) for bar in bars if bar.address is not None])
"""
    places = sorted(ast.literal_eval(guest.console.exec(code)))
    for (start, size), (following, _) in itertools.pairwise(places):
        assert start + size <= following, places
    return places


@pytest.mark.parametrize("left", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 70, 80, 90, 100, 120, 140])
def test_all_ones_from_some_access_on(image, left):
    function = Vanishing(vectors=0)
    function.left = left
    with proxied(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)


def links(first, *following):
    """The capability list: its head, then (register, what follows it)."""

    def lie(function):
        function.lie(CONFIG, _CAPABILITIES, 1, first)
        for at, after in following:
            function.lie(CONFIG, at, 2, 9 | after << 8)

    return lie


LISTS = {
    "to itself": links(0x40, (0x40, 0x40)),
    "in a circle": links(0x40, (0x40, 0x50), (0x50, 0x64), (0x64, 0x40)),
    "into the header": links(0x40, (0x40, 0x10)),
    "to the last register": links(0xFC, (0xFC, 0xFC)),
    "unaligned": links(0x43, (0x40, 0x51), (0x50, 0x42)),
    "no list": links(0),
    "every register": links(0x40, *[(at, at + 4) for at in range(0x40, 0xFC, 4)]),
}


@pytest.mark.parametrize("case", LISTS)
def test_capability_lists_without_an_end(image, case):
    function = VsockFunction(vectors=0)
    LISTS[case](function)
    with proxied(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)
        listed(guest)


def bars(*words):
    """The BAR registers, whatever is written to them."""
    data = b"".join(struct.pack("<I", word) for word in words)
    return lambda function: function.lie(CONFIG, _BAR0, len(data), int.from_bytes(data, "little"))


BARS = {
    "above 2**52": bars(0x4, 0xFFE00000),
    "of 2**63 bytes": bars(0xC, 0x80000000),
    "of 2**62 bytes each": bars(*[0xC, 0xC0000000] * 3),
    "of 2 GiB each": bars(*[0x80000000] * 6),
    "of 1 GiB each": bars(*[0xC0000000] * 6),
    "64 bits wide, all six": bars(*[0xFFFF8004] * 6),
    "below 1 MiB": bars(0xFFFF8002),
    "of a reserved kind": bars(0xFFFF8006),
    "I/O of 64 KiB": bars(0x1),
    "I/O of 32 KiB each": bars(*[0x8001] * 6),
    "of one byte": bars(0xFFFFFFFF),
    "with holes": bars(0xA5A5A000, 0x5A5A0008),
    "that stand still": bars(0xFEBF0000),
    "over the flash": bars(0xFFF00000),
    "over the local APIC": bars(0xFEE00000),
    "at 0": bars(0),
}


@pytest.mark.parametrize("case", BARS)
def test_impossible_bars(image, case):
    function = VsockFunction(vectors=0)
    BARS[case](function)
    with proxied(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)
        listed(guest)
        places = apart(guest)
        assert all(start >= RAM and start + size <= 1 << 52 for start, size in places), places


@pytest.mark.parametrize("structure", v.CAPABILITIES)
@pytest.mark.parametrize("place", [(0x8000, 64), (0x7FF0, 64), (0xFFFFFFF0, 64), (0, 0xFFFFFFFF)])
def test_structures_outside_their_bar(image, structure, place):
    function = VsockFunction(vectors=0)
    offset, length = place
    function.lie(CONFIG, v.CAPABILITIES[structure] + 8, 8, offset | length << 32)
    with proxied(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)
        # Of the ISR status the driver makes no use.
        assert ("lies outside BAR0" in said(guest)) == (structure != v.ISR)


@pytest.mark.parametrize("place", [0x8000, 0x7FF8, 0xFFFFFFF8, 0x4001, 0x4007], ids=hex)
def test_an_msix_table_outside_its_bar(image, place):
    function = VsockFunction(vectors=4)
    function.lie(CONFIG, _MSIX + 4, 4, place)
    with proxied(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)
        assert re.search(r"lies outside BAR0|BAR\d is no memory BAR", said(guest))


@pytest.mark.parametrize("numbers", [0, 0x000100, 0xFF0100, 0x010000, 0xFFFFFF], ids=hex)
def test_a_bridge_that_keeps_its_bus_numbers(image, numbers):
    """It leads back to bus 0, to itself or anywhere, whatever it is told."""
    function = VsockFunction(vectors=0, class_code=0x060400)
    function.lie(CONFIG, 0x0E, 1, 1)
    function.lie(CONFIG, 0x18, 3, numbers)
    with proxied(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)
        listed(guest)


@pytest.mark.parametrize("header", [0x80, 0x81, 0x82, 0xFF], ids=hex)
def test_a_device_that_says_it_has_more_functions(image, header):
    function = VsockFunction(vectors=0)
    function.lie(CONFIG, 0x0E, 1, header)
    with proxied(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)
        listed(guest)


def test_a_vector_that_the_device_does_not_take(image):
    function = VsockFunction()
    function.lie(v.COMMON, v.QUEUE_MSIX, 2, v.NO_VECTOR)
    with with_msi(image, function, devices=(OTHER,)) as guest:
        unharmed(guest)
