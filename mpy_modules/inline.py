# SPDX-License-Identifier: MIT
"""Marks small functions that the build puts in the place of their calls.

A call from one viper function to another costs 0.2 us under TCG and 0.035 for each argument, as
much as the work of many of them, because every argument becomes an object and an integer again.
So `mpfw expand` writes the bodies of marked functions into the viper functions that call them,
before the modules are frozen (tools/mpfw/expand/ says what it asks of both). The mark itself
does nothing: without that step, and under CPython, these are ordinary functions.
"""


def inline(function):
    """The mark, a decorator."""
    return function
