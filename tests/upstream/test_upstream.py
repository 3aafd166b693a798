# SPDX-License-Identifier: MIT
"""MicroPython's own test suite on the firmware, over a terminal, in upstream's three modes.

The modes run at the same time, each on a guest of its own: upstream's harness mostly waits.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from mpfw import upstream
from mpfw.guest import Guest
from mpfw.machine import Machine

LEAST = 850  # tests that a run must have performed; upstream's unix port performs about 900


@pytest.fixture(scope="module")
def runs(image):
    """Mode -> the future of its totals."""
    source = upstream.source_tree()

    def run(mode):
        with Guest(Machine(image=image, memory="128M"), console="pty") as guest:
            return upstream.run_firmware(source, mode, guest)

    with ThreadPoolExecutor() as pool:
        yield {mode: pool.submit(run, mode) for mode in upstream.MODES}


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("mode", upstream.MODES)
def test_no_upstream_test_fails(runs, mode, record_property):
    totals = runs[mode].result()
    record_property("totals", f"{totals.passed} of {totals.tests}, {len(totals.skipped)} skipped")
    assert not totals.failed, upstream.differences(upstream.RESULTS / f"firmware-{mode}")
    assert totals.passed == totals.tests
    assert totals.tests >= LEAST
