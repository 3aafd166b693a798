# SPDX-License-Identifier: MIT
"""Fixtures of the differential test: the table of purposeful differences, and what compares."""

import pytest

from mpfw.differential import compare, recorded, table

TABLE = table.load()


def pytest_generate_tests(metafunc):
    """`scenario`: all of the setting that the module names; those to be mended have to fail."""
    if "scenario" in metafunc.fixturenames:
        found = metafunc.module.SCENARIOS
        metafunc.parametrize("scenario", [_marked(each) for each in found], ids=lambda s: s.name)


def _marked(scenario):
    why = TABLE.unmended.get(scenario.name)
    marks = [pytest.mark.xfail(reason=why, strict=True, raises=AssertionError)] if why else []
    return pytest.param(scenario, marks=marks)


@pytest.fixture
def agree():
    """agree(scenario, printed): each part printed what a kernel did, or the table excuses it."""

    def check(scenario, printed):
        for part, ours in printed.items():
            kernels = list(recorded.printed(scenario, part).values())
            found = compare.first_difference(kernels, ours, scenario.name, TABLE)
            assert found is None, f"{scenario.name}, {part}: {found}\nall of it:\n{ours}"

    return check
