# SPDX-License-Identifier: MIT
"""The reader of documents finds what is wrong with them."""

import textwrap

import pytest
from comparing import printed, same
from reading import example, help_examples, sections
from terminals import Mismatch, Reader


def section(text: str):
    (found,) = sections("page", text)
    return found


@pytest.mark.parametrize(
    "shown, line",
    [
        ("took 12 ms, 3.5 MB/s", "took 9.25 ms, 110 MB/s"),
        ("at 25ea7f", "at 0216d3d"),
        ("gdb -cd ... -x", "gdb -cd /a/b c -x"),
        ("/tmp/mpfw-1/gdb", "/tmp/other/place"),
        ("MicroPython v1.25.0", "MicroPython v1.26.1-preview"),
        ("a   b", "a b"),
    ],
)
def test_what_varies_may_differ(shown, line):
    assert same([shown], [line])


@pytest.mark.parametrize(
    "shown, line",
    [("port 80", "port 81"), ("12 bytes", "13 bytes"), ("a.b", "axb"), ("a", "a b"), ("a b", "a")],
)
def test_everything_else_is_as_it_is_shown(shown, line):
    assert not same([shown], [line])


def test_dots_stand_for_any_number_of_lines():
    assert same(["a", "...", "z"], ["a", "z"])
    assert same(["a", "...", "z"], ["a", "b", "c", "z"])
    assert not same(["a", "...", "z"], ["a", "b"])
    assert not same(["a"], ["a", "b"])
    assert not same([], ["a"])


def test_what_a_shell_says_of_its_jobs_is_left_out():
    assert printed("[1] 4711\r\nup\r\n[1]+  Done   mpfw run\r\n\r\n") == ["up"]


def test_sessions_lists_and_files_are_told_apart():
    found = section(
        textwrap.dedent("""\
        # A
        ```python
        # one.py
        print(1)
        ```
        ```console 2
        $ mpfw run \\
            one.py   # a remark
        1
        >>> 2
        ```
        text

            make image    # listed
            not a command
        """)
    )
    assert found.files == {"one.py": "# one.py\nprint(1)\n"}
    run, prompt, make = found.steps
    assert (run.typed, run.shown, run.terminal) == (
        "mpfw run \\\n    one.py   # a remark",
        ["1"],
        "2",
    )
    assert (prompt.prompt, prompt.typed, prompt.shown) == (">>> ", "2", [])
    assert (make.typed, make.shown) == ("make image    # listed", None)


def test_a_docstring_and_a_help_text_have_commands(tmp_path):
    (tmp_path / "e.py").write_text('"""One.\n\nRun:\n\n    $ mpfw doctor\n    ok\n"""\n')
    (step,) = example(tmp_path / "e.py").steps
    assert (step.typed, step.shown) == ("mpfw doctor", ["ok"])
    text = "Usage\n\n  Examples:\n    mpfw run a  b\n    mpfw run c\n"
    assert [step.typed for step in help_examples("mpfw run", text).steps] == [
        "mpfw run a",
        "mpfw run c",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "    $ echo one; echo two\n    one\n    two\n    $ echo three\n    three\n",
        "    $ cat\n    ...\n",
        "    $ false; echo $?\n    1\n",
        "    $ (sleep 0.3; echo late) &\n    late\n    $ echo after\n    after\n",
        "```console 1\n$ echo here; cat\nhere\n```\n```console 2\n$ echo there\nthere\n```\n",
        "    $ python3 -q -u -c 'print(input(\">>> \"))'\n    >>> typed\n    ...\n",
    ],
)
def test_a_document_that_is_right_is_gone_through(reader: Reader, text):
    reader.go_through(section(text), 10)


@pytest.mark.parametrize(
    "text, why",
    [
        ("    $ echo one\n    two\n", "shown is\ntwo\nprinted is\none"),
        ("    $ echo one\n", "shown is\nnothing\nprinted is\none"),
        ("    $ echo one\n    one\n    two\n", "printed is\none"),
        ("    $ echo one; exit_with 2\n    ...\n", "status 127"),
        ("    $ false\n", "ends with status 1, which is not shown"),
        ("    $ echo up &\n    down\n    $ echo\n", "shown is\ndown"),
    ],
)
def test_a_document_that_is_wrong_is_found_out(reader: Reader, text, why):
    with pytest.raises(Mismatch) as caught:
        reader.go_through(section(text), 2)
    assert why in str(caught.value) and "page, line 1: $ " in str(caught.value)
