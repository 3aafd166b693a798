# SPDX-License-Identifier: MIT
"""The fast level of `mpfw fuzz`: a short run of all classes, and that it can fail."""

import re

import pytest
from click.testing import CliRunner, Result

from mpfw.fuzz.classes import choose
from mpfw.fuzz.cli import fuzz

CLASSES = [each.name for each in choose("fast")]


def mpfw_fuzz(*arguments: str) -> Result:
    return CliRunner().invoke(fuzz, arguments)


@pytest.mark.timeout(900)
def test_a_short_run_finds_nothing_and_reaches_what_a_host_can_reach():
    done = mpfw_fuzz("--count", "200000")
    assert done.exit_code == 0, done.output
    rows = {line.split()[0]: line for line in done.output.splitlines()}
    assert set(CLASSES) <= set(rows)
    reached = re.search(r"([\d.]+) %$", rows["all"])
    assert reached and float(reached[1]) >= 95, done.output


@pytest.mark.parametrize("name", CLASSES)
def test_a_batch_follows_from_its_seed(name):
    """In one engine or the other, whatever ran before."""
    runner = choose("fast", [name])[0].open()
    try:
        for seed in (5, 6, 5):
            outcome = runner.run(seed, 60, False)
            assert outcome.failure is None and outcome.inputs >= 60
    finally:
        runner.close()
