# SPDX-License-Identifier: MIT
"""Every program in examples/ does what its docstring says, by the commands that stand there."""

import ast

import pytest
from reading import example
from terminals import Reader

from mpfw import paths

PROGRAMS = sorted((paths.ROOT / "examples").glob("*.py"))
LINES = 40
LONGER = {
    "entropy.py": "a whole driver; docs/virtio.md goes through it",
    "raw.py": "a conversation packet by packet; docs/seeing.md goes through it",
}


def test_there_are_examples():
    assert len(PROGRAMS) >= 12


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_an_example_fits_on_a_page_and_says_how_it_is_run(path):
    assert len(path.read_text().splitlines()) <= LINES or path.name in LONGER
    assert example(path).steps, ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_an_example_does_what_it_says(path, reader: Reader):
    reader.go_through(example(path))
