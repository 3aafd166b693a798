# SPDX-License-Identifier: MIT
"""Fixtures: devices and drivers, which end with the test."""

import subprocess

import pytest
from places import PROGRAMS, Device, Place


@pytest.fixture
def device(tmp_path):
    """device(*settings, faults=None): a device of this process, until the test's end."""
    running = []

    def device(*settings, faults=None):
        running.append(Device(*settings, faults=faults))
        return running[-1]

    yield device
    for each in running:
        each.close()


@pytest.fixture
def place(tmp_path, device):
    """A device with one guest, CID 3."""
    found = Place(tmp_path)
    with found.opened:
        found.device = device(found.settings())
        yield found


@pytest.fixture
def program(request, tmp_path):
    """The same with a program of its own: `request.param` is one of PROGRAMS."""
    found = Place(tmp_path)
    vm = f"guest-cid=3,socket={found.control},uds-path={found.path}"
    command = [*PROGRAMS[request.param](), "--vm", vm]
    with found.opened, subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield found
        finally:
            process.kill()
