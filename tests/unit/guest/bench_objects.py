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


def given(path, arguments):
    """The arguments of a call: addresses travel as lists, and are tuples."""
    if path.rsplit(".", 1)[-1] in ("bind", "connect", "connect_ex"):
        return [tuple(each) if isinstance(each, list) else each for each in arguments]
    return arguments
