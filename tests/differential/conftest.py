# SPDX-License-Identifier: MIT
"""Fixtures of the differential test: the table of purposeful differences, and what compares."""

import pytest

from mpfw.differential import compare, table

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


@pytest.fixture(scope="module")
def printed(request, room):
    """printed(scenario): what its parts printed; the module's chosen ones run in few goes."""
    wanted = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if item.module is request.module
    ]
    running, seen = room.run_all(wanted), {}

    def of(scenario):
        while scenario.name not in seen:
            each, parts = next(running)
            seen[each.name] = parts
        return seen[scenario.name]

    return of


@pytest.fixture
def agree(printed, room):
    """agree(scenario): each part printed what a kernel did, or the table excuses it."""

    def check(scenario):
        ours = printed(scenario)

        def again():
            ours.update(room.run(scenario))
            return ours

        for part, found in compare.confirmed(scenario, ours, again, TABLE):
            raise AssertionError(f"{scenario.name}, {part}: {found}\nall of it:\n{ours[part]}")

    return check
