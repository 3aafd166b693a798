# SPDX-License-Identifier: MIT
"""A pytest plugin: a test in the lab whose guest's console went dead runs once more, and is named.

Under software emulation of KVM an interrupt of a nested guest gets lost once in some hundred
guests, whatever runs in it; a serial port that waits for it stays silent. Only that is retried.
"""

import pytest
from _pytest.runner import runtestprotocol

from mpfw import guest as guests
from mpfw.console import ConsoleTimeout
from mpfw.labhost import LabGuest

STALLED = pytest.StashKey[bool]()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Mark a test that a console in the lab let down."""
    yield
    timed_out = call.excinfo is not None and call.excinfo.errisinstance(ConsoleTimeout)
    if timed_out and not item.stash.get(STALLED, False):
        for guest in list(guests.running):
            if isinstance(guest, LabGuest):
                guest.host.notes.append(f"the console of {item.nodeid} timed out; it ran again")
                item.stash[STALLED] = True


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    """Run a test; and once more, from its fixtures up, if its console in the lab went dead."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if item.stash.get(STALLED, False):
        item._initrequest()  # no fixture's value is kept
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True
