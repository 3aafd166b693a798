# SPDX-License-Identifier: MIT
"""`mpfw expand`: an @inline call may stand in most places, and all is evaluated in its order."""

import ast
import subprocess

import pytest
from expand_trees import lay, run
from hypothesis import given
from hypothesis import strategies as st

from mpfw import paths
from mpfw.expand import expand_tree

INLINE = "def inline(function):\n    return function\n"
VIPER = """
class micropython:
    @staticmethod
    def viper(function):
        return function
"""
LOW = '''
from inline import inline
from viper import micropython

lines = []


def plain(n):
    """A call that stays one."""
    lines.append(("plain", n))
    return n


def pair(m, n, k=0):
    lines.append(("pair", m, n, k))
    return m - n + k


@inline
@micropython.viper
def note(n: int) -> int:
    lines.append(n)
    return n


@inline
@micropython.viper
def clip(n: int) -> int:
    """More than one return."""
    if n > 5:
        lines.append("high")
        return 5
    elif n < 2:
        return note(n) + 2
    return n


@inline
@micropython.viper
def both(m: int, n: int) -> int:
    lines.append((m, n))
    return note(m) - clip(n)


class Cell:
    def __init__(self):
        self.n = 3

    @inline
    @micropython.viper
    def add(self, n: int) -> int:
        self.n = (self.n + n) & 7
        return self.n
'''
HEAD = """
from low import Cell, both, lines, pair, plain
from viper import micropython
import low


"""


def tree(root, text):
    """The sample modules and `high.py`, under `root`/source, and frozen, under `root`/target."""
    files = {"inline.py": INLINE, "viper.py": VIPER, "low.py": LOW, "high.py": HEAD + text}
    expand_tree(lay(root / "source", files), root / "target")
    return root


# What may be part of an expression, `{0}` and such being others.
LEAVES = ["1", "a", "cell.n", "out[a & 3]", "low.note(2)", "Cell.add(cell, 3)", "plain(4)"]
SHAPES = [
    "({0} - {1})",
    "({0} < {1})",
    "-{0}",
    "(not {0})",
    "low.note({0})",
    "low.clip({0})",
    "both({0}, {1})",
    "Cell.add(cell, {0})",
    "pair({0}, {1})",
    "pair({0}, n={1}, k={0})",
    "low.pair({0}, low.note({1}))",
    "({0} and {1})",
    "({0} or {1} or {0})",
    "({0} and low.note({1}) and {0})",
    "({0} if {1} else low.clip({0}))",
    "({0}, {1})[low.note(1) & 1]",
    "[{0}, {1}][0]",
    "({0} < low.clip({1}) < 4)",
]
STATEMENTS = [
    ["a = {0}"],
    ["a -= {0}"],
    ["out[{0} & 3] = {1}"],
    ["cell.n = {0}"],
    ["low.note({0})"],
    ["lines.append(a)", "{0}"],
    ["if {0}:", "    a = {1}"],
    ["if {0} and low.note({1}):", "    a = 1", "else:", "    a = {0}"],
    ["if not ({0} or low.note({1})):", "    a = {1}", "elif {1} and low.clip({0}):", "    a = 2"],
    ["if low.note({0}) and {1} and both(a, {0}):", "    a += 1"],
    ["for i in range({0} & 3):", "    lines.append(i)"],
    [
        *("left = 3", "while left and low.note({0}) and {1}:", "    left -= 1"),
        *("    if {0}:", "        continue", "    if {1}:", "        break", "    a += 1"),
    ],
    ["left = 3", "while low.note(left) and ({0} or both(left, {1})):", "    left -= 1"],
    ["try:", "    a = {0}", "finally:", "    low.note({1})"],
    ["if a == {0}:", "    raise ValueError({1})"],
    ["assert {0} or low.note({1}), a"],
    ["if low.clip({0}) > 4:", "    return {1}"],
]


def expressions():
    """Expressions with calls, inlined and not."""

    def larger(parts):
        return st.builds(
            lambda shape, *parts: shape.format(*parts), st.sampled_from(SHAPES), parts, parts
        )

    return st.recursive(st.sampled_from(LEAVES), larger, max_leaves=6)


def statements():
    """Lists of lines, each a statement with two expressions."""
    return st.builds(
        lambda lines, *parts: [each.format(*parts) for each in lines],
        st.sampled_from(STATEMENTS),
        expressions(),
        expressions(),
    )


WORK = """
@micropython.viper
def calls(a: int, cell, out):
{}
    return a


def work():
    found = []
    for a in (0, 1, 6):
        cell = Cell()
        out = [5, 0, 2, 1]
        lines.clear()
        try:
            value = calls(a, cell, out)
        except (ValueError, AssertionError, TypeError, IndexError) as error:
            value = repr(error)
        found.append((value, cell.n, out, list(lines)))
    return found
"""


@given(st.lists(statements(), min_size=1, max_size=3))
def test_whatever_is_expanded_does_the_same_in_the_same_order(tmp_path_factory, body):
    lines = "\n".join(f"    {line}" for each in body for line in each)
    root = tree(tmp_path_factory.mktemp("any"), WORK.format(lines))
    assert run(root / "source", "high.work") == run(root / "target", "high.work")
    frozen = ast.parse((root / "target/high.py").read_text())
    calls = {ast.unparse(node.func) for node in ast.walk(frozen) if isinstance(node, ast.Call)}
    assert not calls & {"low.note", "low.clip", "both", "Cell.add"}


TYPED = """
@micropython.viper
def order(a: int, data) -> int:
    p = ptr32(data)
    p[both(a, 1)] = low.note(p[0] + low.clip(a))
    if p[0] > 3 and low.note(a) > 1:
        a += p[low.clip(a)] + low.clip(p[0])
    if p[1] == 3 or both(a, low.note(2)) < 4 or a == 3:
        a -= 1
    else:
        a += 1
    while a > 100 and low.note(a) > 3 and not low.clip(a) == 2:
        a -= int(low.pair(a, low.note(3)))
        if a == 7:
            continue
    for i in range(low.clip(a)):
        a += low.note(i) if i > 2 else low.clip(a)
    return low.note(a) + low.note(a + 1) * low.clip(a and low.note(4))
"""


def test_what_is_expanded_is_viper_code_still(tmp_path):
    root = tree(tmp_path, TYPED)
    text = (root / "target/high.py").read_text().replace("from viper import", "import")
    (root / "high.py").write_text(text)
    mpy_cross = paths.BUILD / "mpy-cross/mpy-cross"
    command = [mpy_cross, "-march=x64", "-msmall-int-bits=63", root / "high.py"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "while True" in text and "_kept_1 = p" in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("if a and low.note(1): a = 2", "if a: if low_note: a = 2"),
        ("while a and low.note(1): a -= 1", "while True: if not a: break if not low_note: break"),
    ],
)
def test_a_condition_costs_no_variable_where_none_is_needed(tmp_path, line, expected):
    root = tree(tmp_path, f"@micropython.viper\ndef work(a: int):\n    {line}\n")
    words = (root / "target/high.py").read_text().split("def work")[1]
    assert "_kept" not in words
    for each in ("while True", "if not a", "break") if "while" in expected else ("if a:",):
        assert each in words


BASE = """
def deep(n):
    return n + 100
"""
ONE = """
from base import deep
from inline import inline
from viper import micropython


@inline
@micropython.viper
def first(n: int) -> int:
    return int(deep(n))


@inline
@micropython.viper
def spare(n: int) -> int:
    return n


@inline
@micropython.viper
def other(n: int) -> int:
    return n + 5
"""
TWO = """
import one
from inline import inline
from viper import micropython


@inline
@micropython.viper
def second(n: int) -> int:
    return one.first(n) + 1
"""
THREE = """
import two
from base import deep
from one import (
    other as another,
    spare,
)
from viper import micropython


def imports():
    from two import second as first

    return first(1) + another(1)


@micropython.viper
def work():
    def first(n):
        return n

    return two.second(1), first(2), spare(3), imports(), lately()


@micropython.viper
def hidden(two):
    return two.second(1)


@micropython.viper
def lately():
    import two as late

    deep = 1
    return late.second(deep)
"""


def test_a_class_of_which_all_is_expanded_is_still_one(tmp_path):
    text = """
class Both:
    @micropython.viper
    def work(self):
        return low.note(1)


def work():
    return Both().work()
"""
    root = tree(tmp_path, text)
    assert run(root / "source", "high.work") == run(root / "target", "high.work") == 1


def test_a_name_is_what_it_is_in_its_own_module(tmp_path):
    modules = {"base": BASE, "one": ONE, "two": TWO, "three": THREE}
    files = {"inline.py": INLINE, "viper.py": VIPER}
    source = lay(tmp_path / "source", files | {f"{k}.py": text for k, text in modules.items()})
    expand_tree(source, tmp_path / "target")
    expected = (102, 2, 3, 108, 102)
    assert run(source, "three.work") == run(tmp_path / "target", "three.work") == expected
    frozen = (tmp_path / "target/three.py").read_text()
    assert "return two.second(1)" in frozen and "spare(" not in frozen
    assert "late.second" not in frozen
    assert "spare" not in (tmp_path / "target/one.py").read_text()
    assert frozen.split("\n").index("def imports():") == 9
