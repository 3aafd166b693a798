# SPDX-License-Identifier: MIT
"""MicroPython's own test suite on the firmware, over a terminal, in upstream's three modes.

The modes run at the same time, each on a guest of its own: upstream's harness mostly waits.
"""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from mpfw.guest import upstream

# Tests that a run must at least have performed; upstream's unix port performs 901, 898, 880.
LEAST = {"plain": 865, "via-mpy": 845, "native": 825}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Where each mode leaves what failed tests printed."""
    return tmp_path_factory.mktemp("upstream")


@pytest.fixture(scope="module")
def runs(image, results):
    """Mode -> the future of its totals."""
    source = upstream.source_tree()

    def run(mode):
        with upstream.target(image) as guest:
            return upstream.run_firmware(source, mode, guest, results / mode)

    # More guests than processors would each be slow, and tests here measure time.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {mode: pool.submit(run, mode) for mode in upstream.MODES}


@pytest.mark.timeout(1300)
@pytest.mark.parametrize("mode", upstream.MODES)
def test_no_upstream_test_fails(runs, results, mode):
    totals = runs[mode].result()
    if totals.repeated:
        warnings.warn(f"{mode}: run twice for their timing: {totals.repeated}", stacklevel=1)
    assert not totals.failed, upstream.differences(results / mode)
    assert totals.passed == totals.tests
    assert totals.tests >= LEAST[mode]
