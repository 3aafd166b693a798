# SPDX-License-Identifier: MIT
"""`mpfw expand`: what it makes of @inline functions computes the same as the source does."""

import ast
import importlib
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpfw import paths
from mpfw.expand import ExpandError, expand_tree

STANDINS = """
class micropython:
    @staticmethod
    def viper(function):
        return function
    native = viper
"""
INLINE = "def inline(function):\n    return function\n"
LOW = '''
from device import log
from inline import inline
from micropython import const
from standins import micropython

STEP = const(3)
_TWICE = const(STEP * 2)


@inline
@micropython.viper
def clip(n: int, most: int) -> int:
    """At most `most`, at least 0."""
    if n < 0:
        log("low")
        return 0
    elif n > most:
        return most
    return n


@inline
@micropython.viper
def twice(n: int) -> int:
    total = 0
    while total < n:
        total += STEP
    return total * _TWICE


@inline
@micropython.viper
def note(cell, n: int):
    if n == 7:
        return
    m = int(clip(n, 100))
    cell.append(m)


class Box:
    def __init__(self, n):
        self.n = n

    @inline
    @micropython.viper
    def plus(self, n: int) -> int:
        self.n += 1
        n = int(twice(n))
        return self.n + n


def line():
    return 40
'''
HIGH = '''
from inline import inline
from standins import micropython

from low import Box
from . import lower as named
import low


@micropython.viper
def work(a: int, b: int):
    """Every place where a call may stand."""
    n = 5
    out = []
    box = Box(b)
    r = int(low.clip(a, 50)) + n
    out.append(r)
    if low.clip(b, 9) > 4 and a:
        out.append(1)
    elif int(low.twice(a)) > 30:
        out.append(2)
    for i in range(3):
        low.note(out, a + i)
        n += int(low.twice(i))
        while True:
            if not low.clip(i, 1):
                break
            step = int(Box.plus(box, i))
            out.append(step)
            if step:
                break
    low.clip(a, b)
    r = int(Box.plus(box, 4))
    out.append(r)
    r = named.both(a, b)
    out.append(r)
    return _last(out, n, low.line())


@micropython.viper
def give(a: int) -> int:
    return low.clip(a, 10)


def _last(out, n, m):
    return out, n, m
'''
LOWER = """
from inline import inline
from standins import micropython

import low


@inline
@micropython.viper
def both(a: int, b: int) -> int:
    c = int(low.clip(a, 20))
    d = int(low.clip(b, 20))
    return c * 100 + d


@inline
@micropython.viper
def unused(a: int) -> int:
    return a
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The sample modules: package `high` above `low`."""
    root = tmp_path_factory.mktemp("sources")
    (root / "high").mkdir()
    for name, text in (
        ("high/__init__.py", HIGH),
        ("high/lower.py", LOWER),
        ("low.py", LOW),
        ("inline.py", INLINE),
    ):
        (root / name).write_text(text.lstrip("\n"))
    return root


@pytest.fixture(scope="module")
def both(sources, tmp_path_factory):
    """`high` as it is in the source, and as it is frozen."""
    target = tmp_path_factory.mktemp("target")
    expand_tree(sources, target)
    standins = tmp_path_factory.mktemp("standins")
    (standins / "standins.py").write_text(STANDINS)
    (standins / "micropython.py").write_text("const = int\n")
    (standins / "device.py").write_text("lines = []\nlog = lines.append\n")
    found = []
    for place in (sources, target):
        path = [str(standins), str(place)]
        sys.path[:0] = path
        try:
            high = importlib.import_module("high")
            found.append((high, sys.modules["device"]))
        finally:
            del sys.path[:2]
            for name in ("high", "high.lower", "low", "inline", "standins", "device"):
                sys.modules.pop(name, None)
            sys.modules.pop("micropython", None)
    return found


@given(st.integers(-20, 120), st.integers(-20, 120))
def test_expanded_code_computes_the_same(both, a, b):
    results = []
    for high, device in both:
        device.lines.clear()
        results.append((high.work(a, b), high.give(a), list(device.lines)))
    assert results[0] == results[1]


def test_nothing_is_called_where_it_was_expanded(sources, tmp_path):
    expand_tree(sources, tmp_path)
    text = (tmp_path / "high/__init__.py").read_text()
    called = {ast.unparse(n.func) for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call)}
    assert not called & {"low.clip", "low.twice", "low.note", "Box.plus", "named.both"}
    assert "inline" not in text
    assert not (tmp_path / "inline.py").exists()
    assert "unused" not in (tmp_path / "high/lower.py").read_text()


def test_other_lines_keep_their_numbers(sources, tmp_path):
    expand_tree(sources, tmp_path)
    for name, function in (("low.py", "line"), ("high/__init__.py", "_last")):
        numbers = [
            node.lineno
            for root in (sources, tmp_path)
            for node in ast.parse((root / name).read_text()).body
            if isinstance(node, ast.FunctionDef) and node.name == function
        ]
        assert len(numbers) == 2 and numbers[0] == numbers[1]


def test_files_are_written_when_they_must_be(sources, tmp_path):
    assert expand_tree(sources, tmp_path)
    assert expand_tree(sources, tmp_path) == []
    later = os.stat(tmp_path / "low.py").st_mtime + 2
    os.utime(sources / "low.py", (later, later))
    stale = tmp_path / "gone.py"
    stale.write_text("")
    assert expand_tree(sources, tmp_path) == [tmp_path / "low.py"]
    assert not stale.exists()


HEAD = "from inline import inline\nfrom standins import micropython\n"
VIPER = "@micropython.viper\n"
MARKS = "@inline\n" + VIPER
F = MARKS + "def f(a: int) -> int:\n    return a\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "@inline\n@micropython.viper\ndef f(a: int) -> int:\n    while a:\n        return 1\n"
            "    return 2\n" + VIPER + "def g(a: int):\n    f(a)\n",
            "return inside a loop",
        ),
        (F + VIPER + "def g(a):\n    a[0] += f(1)\n", "after something else"),
        (F + VIPER + "def g(a: int):\n    return f(a, 1)\n", "takes 1 positional"),
        (F + VIPER + "def g(a):\n    return a.b(f(1))\n", "the look-up of a.b"),
        (F + VIPER + "def g(a):\n    return 1 < a[0] < f(1)\n", "in a Compare"),
        (F + VIPER + "def g(a):\n    return [f(i) for i in a]\n", "in a ListComp"),
        (F + VIPER + "def g(a):\n    return lambda: f(a)\n", "in a Lambda"),
        (F + VIPER + "def g(a):\n    return {1: f(a)}\n", "in a Dict"),
        (F + VIPER + "def g(a):\n    return a[f(1):2]\n", "in a Subscript"),
        (F + VIPER + "def g(a):\n    return print(*a, f(1))\n", "in a Starred"),
        (F + VIPER + "def g(a):\n    return print(f(1), **a)\n", "in a Call"),
        (F + VIPER + "def g(a):\n    return f'{f(1)}'\n", "in a JoinedStr"),
        (F + VIPER + "def g(a):\n    return a + (b := f(1))\n", "in a NamedExpr"),
        (F + VIPER + "def g(a):\n    a[f(1)] = a[2] = 1\n", "in a Assign"),
        (F + VIPER + "def g(a):\n    with f(1):\n        pass\n", "in a With"),
        (F + VIPER + "def g(a):\n    del a[f(1)]\n", "in a Delete"),
        (
            F + VIPER + "def g(a):\n    while f(1):\n        pass\n    else:\n        g(a)\n",
            "no else after a while",
        ),
        (F + VIPER + "def g(a):\n    global n\n    n += f(1)\n", "after something else"),
        (
            "limit = 1\n"
            + MARKS
            + "def f() -> int:\n    return limit\n"
            + VIPER
            + "def g(limit: int):\n    f()\n",
            "hides",
        ),
        (
            MARKS
            + "def f(a: int) -> int:\n    if a:\n        return 1\n"
            + VIPER
            + "def g(a: int):\n    f(a)\n",
            "not at its end",
        ),
        (
            MARKS
            + "def f(a: int):\n    from b import c\n    c(a)\n"
            + VIPER
            + "def g(a: int):\n    f(a)\n",
            "has no ImportFrom",
        ),
        (
            MARKS + "def f(a: int, *b):\n    pass\n" + VIPER + "def g(a: int):\n    f(a)\n",
            "positional parameters only",
        ),
        (
            "@inline\n@micropython.viper\ndef f(a: int) -> int:\n    return f(a)\n",
            "expanded in itself",
        ),
        ("@inline\ndef f(a):\n    return a\n" + VIPER + "def g(a):\n    f(a)\n", "not viper"),
        (
            MARKS
            + "def f(a: int):\n    if a:\n        return 1\n    return\n"
            + VIPER
            + "def g(a: int):\n    f(a)\n",
            "returns a value sometimes",
        ),
        (
            "@inline\n@micropython.viper\ndef f(a: int):\n    a += 1\n"
            + VIPER
            + "def g(a: int):\n    return f(a)\n",
            "returns nothing",
        ),
    ],
)
def test_what_cannot_be_expanded_is_an_error_with_its_place(tmp_path, text, why):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/m.py").write_text(HEAD + textwrap.dedent(text))
    with pytest.raises(ExpandError, match=rf"m\.py:\d+: .*{why}"):
        expand_tree(tmp_path / "source", tmp_path / "target")


def test_the_command_leaves_nothing_half_done(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source/m.py").write_text("def f(:\n")
    command = [paths.BUILD / "venv/bin/mpfw", "expand", tmp_path / "source", tmp_path / "target"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1 and "m.py" in result.stderr
    assert not (tmp_path / "target").exists()


def test_all_frozen_modules_can_be_expanded(tmp_path):
    expand_tree(paths.ROOT / "mpy_modules", tmp_path)
    for place in tmp_path.rglob("*.py"):
        compile(place.read_text(), str(place), "exec")
