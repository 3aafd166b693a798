# SPDX-License-Identifier: MIT
"""Options that go with another one: a command line without that is refused in one sentence."""

import pytest
from click.testing import CliRunner

from mpfw.device.command import device
from mpfw.run.command import run


@pytest.mark.parametrize(
    "command, words",
    [
        (run, ("--snaplen", "9", "app.py")),
        (device, ("--snaplen", "65536", "--socket", "/s", "--uds-path", "/u")),
        (device, ("--capture-size", "9", "--socket", "/s", "--uds-path", "/u")),
    ],
)
def test_what_a_capture_is_like_goes_with_a_capture(command, words):
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 2
    assert (
        result.stderr.splitlines()[-1] == f"Error: {words[0]} goes with --capture: give that, too"
    )
