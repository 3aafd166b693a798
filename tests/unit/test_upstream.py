# SPDX-License-Identifier: MIT
"""Which of MicroPython's own tests are left out, where."""

from mpfw.guest import upstream


def test_nothing_is_left_out_for_a_cpython_that_upstream_knew():
    assert upstream.outdated((3, 11, 2)) == upstream.outdated((3, 13, 5)) == []


def test_what_cpython_prints_otherwise_is_left_out_from_its_version_on():
    assert upstream.outdated((3, 14, 0)) == upstream.outdated((3, 15, 1)) != []
