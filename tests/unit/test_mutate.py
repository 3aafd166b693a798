# SPDX-License-Identifier: MIT
"""mpfw mutate: what is changed in a module, the table of equivalents, and what a trial says."""

import ast
import random
import subprocess
import sys
import textwrap

import pytest

from mpfw.mutate import equivalent
from mpfw.mutate.cli import SUBJECTS, all_mutants
from mpfw.mutate.mutants import mutants
from mpfw.mutate.session import MODULES, Survey, users

SOURCES = {str(path.relative_to(MODULES)): path.read_text() for path in SUBJECTS}


def changes(text):
    """What becomes of the lines of a text."""
    return [(each.was, each.becomes) for each in mutants("m.py", textwrap.dedent(text))]


@pytest.mark.parametrize(
    "line, becomes",
    [
        ("a < b", ["a <= b"]),
        ("a >= b", ["a > b"]),
        ("a == b != c", ["a != b != c", "a == b == c"]),
        ("a is not b", ["a is b"]),
        ("a not in b", ["a in b"]),
        ("a + b * c", ["a - b * c", "a + b + c"]),
        ("a << b & c", ["a >> b & c", "a << b | c"]),
        ("a and b or c", ["a or b or c", "a and b and c"]),
        ("not (a)", [" (a)"]),
        ("-1", ["1"]),
        ("[7, 0xFF, True]", ["[8, 0xFF, True]", "[7, 0x100, True]", "[7, 0xFF, False]"]),
        ("f'{1}', 'a < b'", []),
    ],
)
def test_an_expression_is_changed_in_each_place_once(line, becomes):
    assert changes(f"x = {line}") == [
        (f"x = {line}", " ".join(f"x = {n}".split())) for n in becomes
    ]


@pytest.mark.parametrize(
    "line, becomes",
    [
        ("f(a)", ["pass"]),
        ("a[b] = c", ["pass"]),
        ("a.b = c", ["pass"]),
        ("a += b", ["pass", "a -= b"]),
        ("raise a", ["pass"]),
        ("a = b", []),
        ("import a", []),
    ],
)
def test_a_statement_that_has_an_effect_goes(line, becomes):
    assert changes(line) == [(line, each) for each in becomes]


def test_a_condition_is_turned_round():
    assert ("if a:", "if not (a):") in changes("if a:\n    b = c\n")


def test_what_people_read_and_what_is_said_of_types_stays():
    text = '''
        """Module: 1 < 2."""

        @one(1)
        def f(a: ptr32, b: int = None) -> list[1]:
            """Function: 1 + 2."""
    '''
    assert changes(text) == []


def test_what_would_compute_the_same_stays():
    assert [each.becomes for each in mutants("m.py", "a[b + w.NEXT - w.LEN] += 1", {"NEXT"})] == [
        "pass",
        "a[b + w.NEXT + w.LEN] += 1",
        "a[b + w.NEXT - w.LEN] -= 1",
        "a[b + w.NEXT - w.LEN] += 2",
    ]


def test_an_operator_is_not_looked_for_in_a_comment():
    text = "x = (\n    a  # this or that\n    or b\n)\n"
    assert changes(text) == [("or b", "and b")]
    assert changes("x = 1  # or 2\n") == [("x = 1", "x = 2")]


def test_lines_that_are_alike_are_told_apart():
    text = "def f():\n    if a:\n        return 0\n    return 0\n"
    found = [each for each in mutants("m.py", text) if each.was == "return 0"]
    assert [(each.line, each.nth, each.function) for each in found] == [(3, 1, "f"), (4, 2, "f")]
    assert found[1].applied(text) == text[:-2] + "1\n"


def test_a_mutant_knows_its_statement():
    text = "x = f(\n    a,\n    1,\n)\n"
    [found] = mutants("m.py", text)
    assert found.line == 3
    assert 1 in found.lines


@pytest.mark.parametrize("path", SOURCES)
def test_every_mutant_of_the_firmware_is_another_module(path):
    source = SOURCES[path]
    same = ast.dump(ast.parse(source))
    found = mutants(path, source)
    assert len({each.key for each in found}) == len(found) > 0
    for each in random.Random(path).sample(found, min(20, len(found))):
        assert ast.dump(ast.parse(each.applied(source))) != same, str(each)


def test_the_table_names_mutants_that_there_are():
    every = all_mutants(SOURCES)
    assert equivalent.stale(equivalent.read(), every) == []


@pytest.mark.parametrize(
    "text, says",
    [
        ('[[equivalent]]\npath = "a"', "lacks 'function'"),
        ("[[equivalent", "table.toml: "),
        (
            '[[equivalent]]\npath = "a"\nfunction = ""\nwas = "1"\nbecomes = "2"\nwhy = ""',
            "does not say why",
        ),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, says):
    table = tmp_path / "table.toml"
    table.write_text(text)
    with pytest.raises(equivalent.TableError, match=says):
        equivalent.read(table)


def test_survivors_are_written_as_the_table_has_them(tmp_path):
    found = mutants("m.py", 'def f():\n    a["\\\\"] += 1\n    a["\\\\"] += 1\n')
    equivalent.write(found, tmp_path / "found.toml")
    assert equivalent.keys(tmp_path / "found.toml") == {each.key for each in found}


def test_a_modules_own_lines_concern_all_its_tests():
    """Also when it was the first of them that imported the module."""
    seen = Survey({"first": 2.0, "other": 1.0}, {"m.py": {1: ["first"], 3: ["first", "other"]}})
    text = "x = const(1)\ndef f(a=0):\n    return 1\nclass C:\n    y = 1\n"
    constant, default, inner, attribute = mutants("m.py", text)
    assert [each.early for each in (constant, default, inner, attribute)] == [1, 1, 0, 1]
    for each in constant, default, inner, attribute:
        assert list(seen.tests(each)) == ["other", "first"]


def test_constants_concern_the_tests_of_the_modules_that_import_them():
    """Their own lines run once, when the first of those is imported."""
    assert users("vsock/pcapng.py") == [
        f"vsock/{name}.py" for name in ("blocks", "notes", "packets", "tap")
    ]
    reached = {"vsock/pcapng.py": {1: [""]}, "vsock/notes.py": {1: [""], 5: ["one"]}}
    seen = Survey({"one": 1.0, "other": 1.0}, {**reached, "vsock/store.py": {1: ["other"]}})
    [constant] = mutants("vsock/pcapng.py", "x = const(1)\n")
    assert list(seen.tests(constant)) == ["one"]


# -- trials, in a process that has not imported the modules

TRIAL = """
import sys
from pathlib import Path
from mpfw.mutate import mutants, session
paths = "virtio/queue.py", "vsock/control.py"
sources = {path: (session.MODULES / path).read_text() for path in paths}
[mutant] = [each for path, source in sources.items() for each in mutants.mutants(path, source)
            if (each.was, each.becomes, each.nth) == (sys.argv[1], sys.argv[2], 1)]
test = "tests/unit/test_virtqueue.py::" + sys.argv[3]
trial = session.Trial(mutant, sources[mutant.path], {test: float(sys.argv[4])})
while not trial.over():
    session.wait([trial])
print(trial.survived(), trial.endless)
"""
COMES_BACK = "test_a_buffer_reaches_the_device_and_comes_back_with_its_length[source]"
ANY_SHAPE = "test_a_chain_of_any_shape[source]"
TEMPLATE = 'block = array("I", bytes(4'  # with less, nobody can import the module
NOTICED, SURVIVED, ENDLESS = "False False\n", "True False\n", "False True\n"
TWO_PARTS = "test_two_readable_buffers_are_one_chain[source]"


@pytest.mark.parametrize(
    "was, becomes, test, seconds, says",
    [
        ("if ahead == 0:", "if ahead != 0:", COMES_BACK, 10, NOTICED),
        ("s[w.Q_FREE] = s[w.Q_FREE] - 2", "pass", TWO_PARTS, 10, NOTICED),
        ("s[w.Q_FREE] = s[w.Q_FREE] - 2", "pass", COMES_BACK, 10, SURVIVED),  # does not come there
        ("count -= 1", "pass", ANY_SHAPE, 0.1, ENDLESS),  # and never ends
        (
            f"{TEMPLATE} * w.BLOCK_WORDS))",
            f"{TEMPLATE} + w.BLOCK_WORDS))",
            COMES_BACK,
            10,
            NOTICED,
        ),
    ],
)
def test_a_trial_says_whether_the_test_notices(was, becomes, test, seconds, says):
    command = [sys.executable, "-c", TRIAL, was, becomes, test, str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == says, done.stderr
