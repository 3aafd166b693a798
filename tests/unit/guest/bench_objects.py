# SPDX-License-Identifier: MIT
"""What a test can call, by name (see bench_agent.py)."""

objects = {}


def offered(function):
    """The mark of functions that a test calls, a decorator."""
    objects[function.__name__] = function
    return function


def find(path):
    """The object of a path such as "q.add1"."""
    names = path.split(".")
    found = objects[names[0]]
    for name in names[1:]:
        found = getattr(found, name)
    return found
