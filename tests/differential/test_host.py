# SPDX-License-Identifier: MIT
"""Guest and host print what Linux was recorded to print there, over the kernel's vhost-vsock."""

import pytest

from mpfw.differential import catalogue, scenarios
from mpfw.differential.rooms import FirmwareRoom
from mpfw.lab.image import default_suite

pytestmark = pytest.mark.long  # in the lab: minutes

SCENARIOS = catalogue.load(scenarios.HOST)


@pytest.fixture(scope="module")
def room(image):
    with FirmwareRoom(image, default_suite()) as room:
        yield room


def test_both_parts_print_what_they_print_on_linux(scenario, agree):
    agree(scenario)
