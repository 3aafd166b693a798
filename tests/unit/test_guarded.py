# SPDX-License-Identifier: MIT
"""The guardian, whatever becomes of those who have asked it for programs."""

import os
import signal

import pytest

from mpfw.guest.guarded import Guardian
from mpfw.readable import readable


@pytest.fixture
def guardian():
    made = Guardian()
    yield made
    made.close()


@pytest.fixture
def nowhere():
    """A descriptor for what programs print."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def test_a_program_that_is_let_go_of_with_its_report_unread_harms_no_other(guardian, nowhere):
    """As a guest is that could not begin, was not closed and was collected."""
    program = guardian.start(["sleep", "60"], nowhere)
    assert readable([program], 10)
    del program
    for _ in range(2):
        assert guardian.start(["true"], nowhere).wait(10) == 0


def test_a_program_that_cannot_start_and_that_nobody_waits_for_harms_no_other(guardian, nowhere):
    os.kill(guardian._pid, signal.SIGSTOP)
    program = guardian.start(["/no/such/program"], nowhere)
    del program
    os.kill(guardian._pid, signal.SIGCONT)
    for _ in range(2):
        assert guardian.start(["true"], nowhere).wait(10) == 0


def test_a_program_that_cannot_start_says_why(guardian, nowhere):
    with pytest.raises(FileNotFoundError, match="/no/such/program"):
        guardian.start(["/no/such/program"], nowhere).wait(10)
