# SPDX-License-Identifier: MIT
"""A split virtqueue as a device sees it: the driver's chains, the device's lies."""

import mmap
import os
import struct

import pytest

from mpfw.device.firmware import virtio as w
from mpfw.device.memory import GuestMemory, MemoryFault, Region
from mpfw.device.rings import Ring, RingError
from mpfw.readable import readable

SIZE = 8
DESC, AVAIL, USED, DATA = 0x1000, 0x2000, 0x3000, 0x4000
USER = 0x7F0000000000  # where QEMU has the guest's address 0
END = 0x8000


class Driver:
    """The other side of one ring, in memory of this process."""

    def __init__(self, event_idx=False):
        self.memory = GuestMemory([Region(0, END, USER, 0, mmap.mmap(-1, END))])
        self.raw = self.memory.at(0, END)
        self.call = os.eventfd(0, os.EFD_NONBLOCK)
        self.ring = Ring(self.memory, SIZE, USER + DESC, USER + AVAIL, USER + USED)
        self.ring.call = self.call
        self.ring.event_idx = event_idx
        self.index = 0

    def descriptor(self, number, address, length, flags=0, following=0, table=DESC):
        entry = struct.pack("<QIHH", address, length, flags, following)
        at = table + 16 * number
        self.raw[at : at + 16] = entry

    def offer(self, *heads):
        for head in heads:
            self.put16(AVAIL + 4 + 2 * (self.index % SIZE), head)
            self.index = self.index + 1 & 0xFFFF
        self.put16(AVAIL + 2, self.index)

    def give_back(self):
        chain = self.ring.pop()
        assert chain is not None
        self.ring.push(chain, 0)

    def put16(self, at, value):
        self.raw[at : at + 2] = struct.pack("<H", value)

    def used(self):
        index = struct.unpack_from("<H", self.raw, USED + 2)[0]
        return index, [struct.unpack_from("<II", self.raw, USED + 4 + 8 * i) for i in range(SIZE)]

    def interrupted(self):
        ready = bool(readable([self.call], 0))
        if ready:
            os.eventfd_read(self.call)
        return ready


@pytest.fixture
def driver():
    return Driver()


def test_a_chain_is_taken_in_order_and_given_back(driver):
    driver.descriptor(3, DATA, 4, w.DESC_F_NEXT, 5)
    driver.descriptor(5, DATA + 64, 8, w.DESC_F_WRITE)
    driver.raw[DATA : DATA + 4] = b"head"
    driver.offer(3)
    chain = driver.ring.pop()
    assert [(bytes(view), writes) for view, writes in chain.buffers] == [
        (b"head", False),
        (bytes(8), True),
    ]
    assert chain.room == 8
    chain.buffers[1][0][:] = b"answered"
    driver.ring.push(chain, 8)
    assert bytes(driver.raw[DATA + 64 : DATA + 72]) == b"answered"
    assert driver.used()[0] == 1 and driver.used()[1][0] == (3, 8)
    assert driver.ring.pop() is None


def test_an_indirect_table_is_walked(driver):
    driver.descriptor(0, DATA, 32, w.DESC_F_INDIRECT)
    driver.descriptor(0, DATA + 100, 1, w.DESC_F_NEXT, 1, table=DATA)
    driver.descriptor(1, DATA + 101, 2, table=DATA)
    driver.offer(0)
    assert [len(view) for view, _ in driver.ring.pop().buffers] == [1, 2]


@pytest.mark.parametrize(
    "descriptor",
    [
        (0, DATA, 1, w.DESC_F_NEXT, 0),  # its own successor
        (0, DATA, 1, w.DESC_F_NEXT, SIZE),  # beyond the table
        (0, DATA, 0, w.DESC_F_INDIRECT),
        (0, DATA, 15, w.DESC_F_INDIRECT),
    ],
)
def test_a_chain_that_cannot_be_is_an_error(driver, descriptor):
    driver.descriptor(*descriptor)
    driver.offer(0)
    with pytest.raises(RingError):
        driver.ring.pop()


def test_a_head_beyond_the_table_is_an_error(driver):
    driver.offer(SIZE)
    with pytest.raises(RingError):
        driver.ring.pop()


def test_an_index_that_ran_ahead_is_an_error(driver):
    driver.put16(AVAIL + 2, SIZE + 1)
    with pytest.raises(RingError):
        driver.ring.pop()


@pytest.mark.parametrize("address, length", [(END, 1), (END - 4, 5), (1 << 63, 16)])
def test_an_address_outside_memory_is_an_error(driver, address, length):
    driver.descriptor(0, address, length)
    driver.offer(0)
    with pytest.raises(MemoryFault):
        driver.ring.pop()


def test_without_event_indices_the_driver_hears_unless_it_said_no(driver):
    driver.descriptor(0, DATA, 1)
    driver.offer(0, 0)
    driver.give_back()
    driver.ring.interrupt()
    assert driver.interrupted()
    driver.put16(AVAIL, w.AVAIL_F_NO_INTERRUPT)
    driver.give_back()
    driver.ring.interrupt()
    assert not driver.interrupted()


@pytest.mark.parametrize(
    "event, heard", [(0, False), (1, False), (2, True), (3, True), (4, False)]
)
def test_with_event_indices_the_driver_hears_when_its_index_is_passed(event, heard):
    driver = Driver(event_idx=True)
    driver.descriptor(0, DATA, 1)
    driver.offer(0, 0, 0, 0)
    for entries in (2, 2):
        driver.interrupted()
        driver.put16(AVAIL + 4 + 2 * SIZE, event)
        for _ in range(entries):
            driver.give_back()
        driver.ring.interrupt()
    assert driver.interrupted() == heard


def test_asking_says_what_is_there_already(driver):
    driver.ring.event_idx = True
    assert not driver.ring.ask()
    driver.offer(0)
    assert driver.ring.ask()
    assert struct.unpack_from("<H", driver.raw, USED + 4 + 8 * SIZE)[0] == 0


def test_all_that_is_posted_is_given_back_at_once_over_the_rings_end(driver):
    for number in range(SIZE):
        driver.descriptor(number, DATA, 4, w.DESC_F_WRITE)
    for _ in range(3):
        driver.offer(*range(5))
        heads = driver.ring.heads()
        assert heads == list(range(5))
        driver.ring.put_all(heads, 44)
    index, entries = driver.used()
    assert index == 15 and entries[7] == (2, 44) and entries[0] == (3, 44)


def test_indices_wrap_around_at_16_bits():
    driver = Driver()
    driver.descriptor(0, DATA, 1)
    for _ in range(65536 // SIZE + 1):
        driver.offer(*[0] * SIZE)
        driver.ring.put_all(driver.ring.heads(), 0)
    assert driver.used()[0] == SIZE
    assert driver.ring.waiting == 0


def test_a_liar_writes_what_it_likes(driver):
    driver.ring.put(0xFFFFFFFF, 0xFFFFFFFF)
    driver.ring.show(1000)
    assert driver.used()[0] == 1000
    assert driver.used()[1][0] == (0xFFFFFFFF, 0xFFFFFFFF)
    driver.ring.quiet = True
    driver.ring.ring()
    assert not driver.interrupted()


def test_memory_is_searched(driver):
    driver.raw[DATA : DATA + 6] = b"needle"
    assert driver.memory.find(b"needle") == [DATA]


@pytest.mark.parametrize("event_idx", [False, True])
def test_a_report_of_a_queue_shows_who_waits_for_whom(event_idx):
    driver = Driver(event_idx)
    driver.put16(AVAIL + (4 + 2 * SIZE if event_idx else 0), 1)
    for head in range(3):
        driver.descriptor(head, DATA, 16)
    driver.offer(0, 1, 2)
    driver.give_back()
    driver.give_back()
    driver.ring.ask()
    wanted = "driver: 3 available, 2 of them taken; 2 used; "
    if event_idx:
        wanted += "it is to notify us at 2, we are to interrupt at 1"
    else:
        wanted += "used.flags 0, avail.flags 1"
    assert driver.ring.state() == wanted
