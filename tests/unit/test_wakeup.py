# SPDX-License-Identifier: MIT
"""A signal is to be seen by poll(), whenever it comes."""

import os
import signal

import pytest

from mpfw.readable import readable
from mpfw.wakeup import Wakeup


@pytest.fixture
def heard():
    """The signals SIGUSR1 that the handler was called for."""
    numbers = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def wakeup():
    one = Wakeup()
    yield one
    one.close()


def test_a_signal_ends_a_wait_that_begins_after_it(heard, wakeup):
    assert readable([wakeup], 0) == []
    os.kill(os.getpid(), signal.SIGUSR1)
    assert heard == [signal.SIGUSR1]  # a poll that begins now is interrupted by nothing
    assert readable([wakeup], 5) == [wakeup]
    wakeup.drain()
    assert readable([wakeup], 0) == []
    wakeup.drain()


def test_many_signals_are_as_good_as_one(heard, wakeup):
    for _ in range(5000):
        os.kill(os.getpid(), signal.SIGUSR1)
    while readable([wakeup], 0):
        wakeup.drain()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert readable([wakeup], 5) == [wakeup]


def test_who_was_woken_before_is_again(heard):
    first = Wakeup()
    second = Wakeup()
    second.close()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert readable([first], 5) == [first]
    first.close()
    assert signal.set_wakeup_fd(-1) == -1
