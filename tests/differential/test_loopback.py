# SPDX-License-Identifier: MIT
"""The firmware prints what Linux was recorded to print: both ends in one script, no device."""

import pytest

from mpfw.differential import generate, scenarios
from mpfw.differential.rooms import FirmwareRoom

SCENARIOS = scenarios.load(wanted=scenarios.LOOPBACK) + generate.recorded_batches()


@pytest.fixture(scope="module")
def room(image):
    with FirmwareRoom(image) as room:
        yield room


def test_script_prints_what_it_prints_on_linux(scenario, room, agree):
    agree(scenario, room.run(scenario))
