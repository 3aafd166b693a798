# SPDX-License-Identifier: MIT
"""The firmware prints what Linux was recorded to print: both ends in one script, no device."""

import pytest

from mpfw.differential import catalogue, scenarios
from mpfw.differential.rooms import FirmwareRoom

SCENARIOS = catalogue.load(scenarios.LOOPBACK)


@pytest.fixture(scope="module")
def room(image):
    with FirmwareRoom(image) as room:
        yield room


def test_script_prints_what_it_prints_on_linux(scenario, agree):
    agree(scenario)
