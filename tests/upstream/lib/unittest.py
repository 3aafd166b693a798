# SPDX-License-Identifier: MIT
"""As much of unittest as MicroPython's own test suite uses, for targets that have none.

Upstream's run-tests.py reads the last lines that main() prints. Trusts the tests to be upstream's.
"""

import sys


class SkipTest(Exception):
    """Raised to skip the running test."""


class _Raises:
    def __init__(self, expected):
        self.expected = expected
        self.exception = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        assert kind is not None, f"no {self.expected} was raised"
        self.exception = value
        return issubclass(kind, self.expected)


class TestCase:
    """A test's methods are those whose names begin with "test"."""

    def setUp(self):
        """Before each test."""

    def tearDown(self):
        """After each test, passed or not."""

    def skipTest(self, reason):
        """Skip the test that calls it."""
        raise SkipTest(reason)

    def assertEqual(self, first, second, msg=None):
        """first == second"""
        assert first == second, msg or f"{first!r} is not {second!r}"

    def assertNotEqual(self, first, second, msg=None):
        """first != second"""
        assert first != second, msg or f"{first!r} is {second!r}"

    def assertTrue(self, value, msg=None):
        """bool(value)"""
        assert value, msg or f"{value!r} is not true"

    def assertFalse(self, value, msg=None):
        """not value"""
        assert not value, msg or f"{value!r} is not false"

    def assertIn(self, member, container, msg=None):
        """member in container"""
        assert member in container, msg or f"{member!r} is not in {container!r}"

    def assertIsInstance(self, value, kind, msg=None):
        """isinstance(value, kind)"""
        assert isinstance(value, kind), msg or f"{value!r} is no {kind!r}"

    def assertRaises(self, expected, function=None, *args, **kwargs):
        """A context manager, or a call that must raise `expected`."""
        if function is None:
            return _Raises(expected)
        with _Raises(expected):
            function(*args, **kwargs)


def skip(reason):
    """Decorator: do not run the test."""

    def replacement(*args):
        raise SkipTest(reason)

    return lambda function: replacement


def skipIf(condition, reason):
    """Decorator: do not run the test if `condition` holds."""
    return skip(reason) if condition else lambda function: function


def skipUnless(condition, reason):
    """Decorator: run the test only if `condition` holds."""
    return skipIf(not condition, reason)


def _run(case, name):
    """Run one test; returns its outcome."""
    try:
        case.setUp()
        try:
            getattr(case, name)()
        finally:
            case.tearDown()
    except SkipTest:
        return "skipped"
    except AssertionError as error:
        sys.print_exception(error)
        return "failures"
    except Exception as error:
        sys.print_exception(error)
        return "errors"
    return "passed"


def main(module="__main__"):
    """Run every TestCase of `module`; print a summary in unittest's format."""
    counts = {"passed": 0, "failures": 0, "errors": 0, "skipped": 0}
    for kind in list(vars_of(module).values()):
        if not (isinstance(kind, type) and issubclass(kind, TestCase)) or kind is TestCase:
            continue
        if hasattr(kind, "setUpClass"):
            kind.setUpClass()
        case = kind()
        for name in dir(case):
            if name.startswith("test"):
                outcome = _run(case, name)
                print(name, "...", outcome)
                counts[outcome] += 1
        if hasattr(kind, "tearDownClass"):
            kind.tearDownClass()
    print("-" * 70)
    print(f"Ran {sum(counts.values())} tests\n")
    if counts["failures"] or counts["errors"]:
        print("FAILED (failures={failures}, errors={errors})".format(**counts))
    else:
        print("OK (skipped={})".format(counts["skipped"]) if counts["skipped"] else "OK")


def vars_of(module):
    """The names in a module."""
    return __import__(module).__dict__
