# SPDX-License-Identifier: MIT
"""Programs as users of CPython write them: status, standard output, and the last words of standard
error are those that CPython has for the same file. docs/run.md says what differs."""

import subprocess
import sys

import pytest

# name: (program, arguments, standard input)
PROGRAMS = {
    "arguments": ("import sys\nprint(sys.argv)", ["a", "", "x y", "-x", "--timeout", "\n"], b""),
    "flush": ("print(1, 2, sep=', ', end='!', flush=True)\nprint(3, file=None)", [], b""),
    "flush a file": (
        "import io\nf = io.StringIO()\nprint(1, file=f, flush=True)\nprint(repr(f.getvalue()))",
        [],
        b"",
    ),
    "a separator that is none": ("print(1, sep=3)", [], b""),
    "text and bytes by turns": (
        "import sys\nprint('a', end='')\nsys.stdout.flush()\nsys.stdout.buffer.write(b'b')\n"
        "sys.stdout.buffer.flush()\nsys.stdout.write('c\\n')",
        [],
        b"",
    ),
    "isatty": (
        "import sys\nprint([f.isatty() for f in (sys.stdin, sys.stdout, sys.stderr)])",
        [],
        b"",
    ),
    "lines": (
        "import sys\nfor line in sys.stdin: print([ord(c) for c in line])",
        [],
        b"lf\ncrlf\r\ncr\rcr lf\r\r\nlast\r",
    ),
    "readline": (
        "import sys\nprint([sys.stdin.readline() for _ in range(3)], sys.stdin.readlines())",
        [],
        b"one\r\ntwo",
    ),
    "characters": (
        "import sys\nfor n in (3, 1, 100, 1): print(sys.stdin.read(n))",
        [],
        "aé€🐍xyz\r".encode(),
    ),
    "an iterator and input()": ("import sys\nprint(next(sys.stdin), input())", [], b"a\nb\n"),
    "input() keeps CR": ("print([input(), input()])", [], b"a\r\nb\n"),
    "input() at the end": ("print(input())\ninput()", [], b"one"),
    "a long line": ("print(len(input()))", [], b"x" * 1_000_000 + b"\n"),
    "input that nobody reads": ("print('done')", [], b"y" * 1_000_000),
    "bytes of input": (
        "import sys\nprint(sys.stdin.buffer.read(3), sys.stdin.buffer.readline())",
        [],
        b"\0\3\4\r\n\xff",
    ),
    "json": ("import json, sys\nprint(json.load(sys.stdin))", [], b'{"a": [1, 2.5, null]}'),
    "exit()": ("exit(3)", [], b""),
    "quit()": ("quit()", [], b""),
    "exit with two": ("raise SystemExit(1, 2)", [], b""),
    "exit with a list": ("raise SystemExit([1, 2])", [], b""),
    "exit with no int of C": ("import sys\nsys.exit(1 << 70)", [], b""),
    "exit with the least int of C": ("import sys\nsys.exit(-1 << 63)", [], b""),
    "exit with an empty text": ("import sys\nsys.exit('')", [], b""),
    "exit in finally": ("import sys\ntry: sys.exit('a')\nfinally: sys.exit(9)", [], b""),
    "main": (
        "def main():\n    return 5\n\nif __name__ == '__main__':\n    raise SystemExit(main())",
        [],
        b"",
    ),
    "an exception": ("def f():\n    raise ValueError('é')\nf()", [], b""),
    "an exception in asyncio": (
        "import asyncio\nasync def f():\n    raise ValueError(1)\nasyncio.run(f())",
        [],
        b"",
    ),
    "lines that end in CR LF": ("if 1:\r\n    print('''a\r\nb''' == 'a\\nb')\r\n", [], b""),
    "a first line for a shell": (
        "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint('é')",
        [],
        b"",
    ),
    "nothing": ("", [], b""),
}


def last_line(text):
    return text.splitlines()[-1:]


@pytest.mark.parametrize("program, words, stdin", PROGRAMS.values(), ids=PROGRAMS)
def test_as_cpython(quick, write, program, words, stdin):
    script = write("app.py", program)
    command = [sys.executable, "-X", "utf8", script, *words]
    expected = subprocess.run(command, input=stdin, capture_output=True, timeout=60)
    result = quick(script, *words, stdin=stdin)
    assert (result.code, result.out) == (expected.returncode, expected.stdout)
    if b"TypeError" not in expected.stderr:  # its words are MicroPython's own
        assert last_line(result.err) == last_line(expected.stderr)
